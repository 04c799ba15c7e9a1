"""Names for what we have, at the top of a request: each sets a field of ours, with its bounds and its meaning."""

from nitro.api.names import Harmless, Known, Mapped, Opened, Refused
from nitro.api.openai.names import translations
from nitro.api.openai.names.sources import (
    ANTHROPIC,
    LLAMA_SERVER,
    LM_STUDIO,
    MLX_LM,
    OLLAMA,
    OPENAI,
    OPENROUTER,
    OTHERS,
    SGLANG,
    VLLM,
)
from nitro.engines.sampling_params import SPEC

NO_LIMIT = (-1, -2)  # llama-server's and Ollama's

STRUCTURED_OUTPUTS: dict[str, Known] = {
    "json": Mapped(sources=(VLLM,), to="json_schema", translate=translations.schema),
    "regex": Mapped(sources=(VLLM,), to="regex"),
    "choice": Mapped(sources=(VLLM,), to="choice"),
    "grammar": Mapped(sources=(VLLM,), to="grammar"),
    "json_object": Mapped(
        sources=(VLLM,), to="response_format", translate=translations.json_object, note='`{"type": "json_object"}`.'
    ),
    "structural_tag": Refused(sources=(VLLM,), note="Use `tools`."),
    "whitespace_pattern": Refused(sources=(VLLM,), note="White space between JSON tokens is the grammar's own."),
    "disable_any_whitespace": Refused(sources=(VLLM,), neutral=(False,)),
    "disable_additional_properties": Mapped(sources=(VLLM,), to="disable_additional_properties"),
    "disable_fallback": Harmless(sources=(VLLM,), note="There is one grammar engine."),
}

COMMON: dict[str, Known] = {
    "n_predict": Mapped(sources=(LLAMA_SERVER,), to="max_tokens", neutral=NO_LIMIT),
    "num_predict": Mapped(sources=(OLLAMA,), to="max_tokens", neutral=NO_LIMIT),
    "max_new_tokens": Mapped(sources=(SGLANG, OTHERS), to="max_tokens"),
    "max_output_tokens": Mapped(sources=(OPENAI,), to="max_tokens", note="Of the Responses API."),
    "max_tokens_to_sample": Mapped(sources=(ANTHROPIC,), to="max_tokens"),
    "min_new_tokens": Mapped(sources=(SGLANG, OTHERS), to="min_tokens"),
    "n_cmpl": Mapped(sources=(LLAMA_SERVER,), to="n"),
    "stop_sequences": Mapped(sources=(ANTHROPIC,), to="stop"),
    "no_stop_trim": Mapped(sources=(SGLANG,), to="include_stop_str_in_output"),
    "random_seed": Mapped(sources=(OTHERS,), to="seed", note="Mistral's."),
    "sampling_seed": Mapped(sources=(SGLANG,), to="seed"),
    "repetition_context_size": Mapped(
        sources=(MLX_LM,), to="repeat_last_n", translate=translations.window, note="One window for all three penalties."
    ),
    "presence_context_size": Mapped(sources=(MLX_LM,), to="repeat_last_n", translate=translations.window),
    "frequency_context_size": Mapped(sources=(MLX_LM,), to="repeat_last_n", translate=translations.window),
    "guided_json": Mapped(sources=(VLLM,), to="json_schema", translate=translations.schema),
    "guided_regex": Mapped(sources=(VLLM,), to="regex"),
    "guided_choice": Mapped(sources=(VLLM,), to="choice"),
    "guided_grammar": Mapped(sources=(VLLM,), to="grammar"),
    "guided_json_object": Mapped(sources=(VLLM,), to="response_format", translate=translations.json_object),
    "structured_outputs": Opened(
        sources=(VLLM, OPENROUTER),
        inside=STRUCTURED_OUTPUTS,
        neutral=(True, False),
        translate=translations.no_object,
        note="Its names set what they do at the top. OpenRouter's true and false only choose a provider.",
    ),
    "ttl": Mapped(sources=(LM_STUDIO,), to="keep_alive"),
    "ebnf": Mapped(sources=(SGLANG,), to="grammar"),
    "format": Mapped(
        sources=(OLLAMA,),
        to="json_schema",
        translate=translations.output_format,
        neutral=("",),
        note='"json" is `response_format`.',
    ),
}

OPTIONS: dict[str, Known] = {  # Ollama's `options`, besides what is harmless or refused
    **{name: Mapped(sources=(OLLAMA,), to=name) for name in (*SPEC, "seed", "stop")},
    "num_predict": COMMON["num_predict"],
}

_AS_IT_IS = "Reasoning is returned as it is."
REASONING: dict[str, Known] = {
    "effort": Mapped(sources=(OPENAI, OPENROUTER, OLLAMA, SGLANG), to="reasoning_effort"),
    "max_tokens": Mapped(sources=(OPENROUTER,), to="thinking_budget"),
    "enabled": Mapped(sources=(OPENROUTER, SGLANG), to="enable_thinking"),
    "exclude": Mapped(
        sources=(OPENROUTER,), to="include_reasoning", translate=translations.not_("include_reasoning"), note="Negated."
    ),
    "summary": Refused(sources=(OPENAI,), neutral=("auto", "none", "detailed"), note=_AS_IT_IS),
    "generate_summary": Refused(sources=(OPENAI,), neutral=("auto", "detailed"), note=_AS_IT_IS),
    "mode": Refused(sources=(OPENROUTER,), neutral=("standard",)),
    "context": Refused(sources=(OPENROUTER,), note="Send the reasoning back in `reasoning_content` of the messages."),
}

THINKING: dict[str, Known] = {
    "type": Mapped(
        sources=(ANTHROPIC, OTHERS),
        to="enable_thinking",
        translate=translations.thinking_type,
        note="`enabled` and `disabled`; `adaptive` and `auto` leave it to the template.",
    ),
    "budget_tokens": Mapped(sources=(ANTHROPIC,), to="thinking_budget"),
    "display": Refused(sources=(ANTHROPIC,), neutral=("summarized",), note="Use `include_reasoning`."),
    "clear_thinking": Mapped(sources=(OTHERS,), to="chat_template_kwargs.clear_thinking", note="GLM's."),
}

CHAT: dict[str, Known] = {
    "reasoning": Opened(sources=(OPENAI, OPENROUTER, OLLAMA), inside=REASONING, translate=translations.no_object),
    "thinking": Opened(
        sources=(ANTHROPIC, OTHERS), inside=THINKING, translate=translations.thinks, note="Or true or false."
    ),
    "think": Mapped(
        sources=(OLLAMA,),
        to="enable_thinking",
        translate=translations.think,
        note="A text is `reasoning_effort`.",
    ),
    "thinking_token_budget": Mapped(sources=(VLLM,), to="thinking_budget"),
    "thinking_budget_tokens": Mapped(sources=(LLAMA_SERVER,), to="thinking_budget"),
    "reasoning_budget": Mapped(sources=(LLAMA_SERVER,), to="thinking_budget"),
    "reasoning_budget_tokens": Mapped(sources=(LLAMA_SERVER,), to="thinking_budget"),
    "add_generation_prompt": Mapped(
        sources=(LLAMA_SERVER, VLLM),
        to="continue_final_message",
        translate=translations.not_("continue_final_message"),
        note="Negated.",
    ),
    "documents": Mapped(sources=(VLLM, OTHERS), to="chat_template_kwargs.documents", neutral=([],)),
    "n_probs": Mapped(
        sources=(LLAMA_SERVER,),
        to="top_logprobs",
        translate=translations.chat_probabilities,
        neutral=(0,),
        note="And `logprobs`.",
    ),
}

COMPLETION: dict[str, Known] = {
    "max_completion_tokens": Mapped(sources=(OPENAI, LLAMA_SERVER), to="max_tokens", neutral=NO_LIMIT),
    "n_probs": Mapped(sources=(LLAMA_SERVER,), to="logprobs", neutral=(0,)),
}
