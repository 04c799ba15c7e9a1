"""Names at the top of a request that would change the answer or the reply, and are not here: a 400 by name.

`neutral` are the values by which a name asks for nothing. That is what its own server does by default, if it is what
this one does.
"""

from typing import Any

from nitro.api.names import Known, Refused
from nitro.api.openai.names.sources import (
    ANTHROPIC,
    LLAMA_SERVER,
    MLX_LM,
    OLLAMA,
    OPENAI,
    OPENROUTER,
    OTHERS,
    SGLANG,
    VLLM,
)

OFF = (False,)
ON = (True,)
NONE: tuple[Any, ...] = ([],)
EMPTY: tuple[Any, ...] = ("", [], {})
ZERO = (0,)

# by source: the name, the values by which it asks for nothing, and what to use instead
_OPENAI: dict[str, tuple[tuple[Any, ...], str]] = {
    "audio": ((), "Answers are text."),
    "modalities": ((["text"], []), 'Only ["text"] is.'),
    "web_search_options": ((), "Offer a tool that searches, in `tools`."),
    "moderation": ((), ""),
    "verbosity": (("medium",), "Say in the messages how long the answer is to be."),
    # of the Responses API
    "input": ((), "The conversation goes into `messages`."),
    "instructions": (EMPTY, "They go into a system message."),
    "text": (({}, {"format": {"type": "text"}}), "Use `response_format`."),
    "truncation": (("disabled",), "A prompt that does not fit is a 400."),
    "include": (NONE, "Use `logprobs`."),
    "previous_response_id": ((), "Send the whole conversation."),
    "conversation": ((), "Send the whole conversation."),
    "background": (OFF, ""),
    "max_tool_calls": ((), ""),
}
_VLLM: dict[str, tuple[tuple[Any, ...], str]] = {
    "allowed_token_ids": (NONE, "Use `choice`, `regex` or `grammar`."),
    "bad_words": (NONE, "Use `logit_bias`, which bans tokens by id or text."),
    "logits_processors": (NONE, ""),
    "logprob_token_ids": (NONE, "Use `top_logprobs`."),
    "prompt_logprobs": ((), "Text completions have `echo` with `logprobs`."),
    "truncate_prompt_tokens": ((), "A prompt that does not fit is a 400."),
    "skip_special_tokens": (ON, "Special tokens are never part of the text."),
    "spaces_between_special_tokens": (ON, "Special tokens are never part of the text."),
    "detokenize": (ON, "Use `return_tokens`."),
    "return_token_ids": (OFF, "Use `return_tokens`."),
    "return_tokens_as_token_ids": (OFF, "Use `return_tokens`."),
    "return_token_offsets": (OFF, ""),
    "return_prompt_text": (OFF, ""),
    "use_beam_search": (OFF, "Use `n`, or `best_of` of text completions."),
    "length_penalty": ((1,), ""),
    "early_stopping": (OFF, ""),
    "watermarking": (OFF, ""),
    "repetition_detection": ((), "Use `repetition_penalty`, or `dry_multiplier`."),
    "priority": (ZERO, "Requests are served in the order in which they come."),
    "cache_salt": ((), "Use `cache_prompt`: false."),
    "kv_transfer_params": ((), ""),
    "ec_transfer_params": ((), ""),
    "vllm_xargs": (({},), ""),
    "mm_processor_kwargs": (({},), ""),
    "media_io_kwargs": (({},), ""),
    "prompt_embeds": ((), ""),
    "guided_whitespace_pattern": ((), "White space between JSON tokens is the grammar's own."),
    "chat_template": ((), "Start the server with --chat-template FILE."),
}
_SGLANG: dict[str, tuple[tuple[Any, ...], str]] = {
    "stop_regex": (EMPTY, "Use `stop`."),
    "separate_reasoning": (ON, "Reasoning is never in the content."),
    "stream_reasoning": (ON, "A stream has reasoning as it comes, or use `include_reasoning`: false."),
    "lora_path": ((), "Choose an adapter by its name, as `model`."),
    "session_params": (({},), ""),
    "return_hidden_states": (OFF, ""),
    "return_routed_experts": (OFF, ""),
    "routed_experts_start_len": (ZERO, ""),
    "return_cached_tokens_details": (OFF, "`usage.prompt_tokens_details` has the cached tokens."),
    "return_prompt_token_ids": (OFF, ""),
    "return_meta_info": (OFF, "`timings` and `usage` are in every reply."),
    "task": ((), ""),
    "custom_logit_processor": ((), ""),
    "custom_params": (({},), ""),
    "input_ids": ((), "Text completions take token ids as `prompt`."),
    "images_config": (({},), ""),
    "max_dynamic_patch": ((), ""),
    "min_dynamic_patch": ((), ""),
    "use_audio_in_video": (OFF, ""),
    "extra_key": ((), "Use `cache_prompt`: false."),
    "ngram_corpus_id": ((), ""),
    "bootstrap_host": ((), ""),
    "bootstrap_port": ((), ""),
    "bootstrap_room": ((), ""),
    "routed_dp_rank": ((), ""),
    "disagg_prefill_dp_rank": ((), ""),
    "data_parallel_rank": ((), ""),
    "sampling_params": (({},), "Its fields go to the top of the request."),
}
_LLAMA_SERVER: dict[str, tuple[tuple[Any, ...], str]] = {
    "samplers": ((), "The order of the samplers is fixed; see above."),
    "min_keep": ((0, 1), ""),
    "post_sampling_probs": (OFF, "Use `logprobs`."),
    "adaptive_target": ((-1,), ""),
    "adaptive_decay": ((), ""),
    "tfs_z": ((1,), "Use `min_p`."),
    "penalize_nl": (ON, "Penalties count line breaks, too."),
    "penalty_prompt": (EMPTY, ""),
    "n_indent": (ZERO, ""),
    "t_max_predict_ms": ((0, -1), ""),
    "t_max_prompt_ms": ((0, -1), ""),
    "response_fields": (NONE, ""),
    "return_progress": (OFF, "Use `timings_per_token`."),
    "verbose": (OFF, ""),
    "grammar_lazy": (OFF, "Use `tools`."),
    "grammar_triggers": (NONE, "Use `tools`."),
    "grammar_type": (EMPTY, ""),
    "chat_format": ((), "Start the server with --tool-format."),
    "chat_parser": (EMPTY, "Start the server with --tool-format."),
    "generation_prompt": (EMPTY, "End with an assistant message, which is continued."),
    "parse_tool_calls": (ON, ""),
    "reasoning_in_content": (OFF, "Reasoning is never in the content."),
    "thinking_forced_open": (OFF, ""),
    "reasoning_control": (OFF, "Use `thinking_budget`."),
    "reasoning_budget_start_tag": (EMPTY, ""),
    "reasoning_budget_end_tag": (EMPTY, ""),
    "reasoning_budget_end_tags": (EMPTY, ""),
    "reasoning_budget_message": (EMPTY, ""),
    "reasoning_budget_arm_immediately": (OFF, ""),
    "image_data": (NONE, ""),
    "system_prompt": (EMPTY, "It goes into a system message."),
    "input_prefix": (EMPTY, "Text completions have `prompt` and `suffix`."),
    "input_suffix": (EMPTY, "Text completions have `prompt` and `suffix`."),
    "input_extra": (NONE, ""),
}
_OLLAMA: dict[str, tuple[tuple[Any, ...], str]] = {
    "num_ctx": ((), "Start the server with --context."),
    "images": (NONE, ""),
    "raw": (OFF, "Text completions have no template."),
    "template": (EMPTY, "Start the server with --chat-template FILE."),
    "context": (NONE, "Send the whole conversation."),
    "_debug_render_only": (OFF, ""),
    "penalize_newline": (ON, "Penalties count line breaks, too."),
}
_MLX_LM: dict[str, tuple[tuple[Any, ...], str]] = {
    "adapters": ((), "Choose an adapter by its name, as `model`."),
    "role_mapping": (({},), "The model's chat template says how roles are written."),
}
_OPENROUTER: dict[str, tuple[tuple[Any, ...], str]] = {
    "transforms": (NONE, "A prompt that does not fit is a 400."),
    "plugins": (NONE, ""),
    "stop_server_tools_when": (NONE, ""),
    "image_config": (({},), ""),
    "top_a": (ZERO, "Use `min_p`."),
    "debug": (({}, {"echo_upstream_body": False}), ""),
}
_ANTHROPIC: dict[str, tuple[tuple[Any, ...], str]] = {
    "system": (EMPTY, "It goes into a system message."),
    "mcp_servers": (NONE, "Offer `tools`."),
    "container": ((), ""),
    "context_management": ((), ""),
    "output_config": (({},), "Use `reasoning_effort`, or `response_format`."),
}
_OTHERS: dict[str, tuple[tuple[Any, ...], str]] = {
    "extra_body": (({},), "Its fields go to the top of the request."),
    "safe_prompt": (OFF, ""),
    "raw_mode": (OFF, ""),
    "do_sample": (ON, "Use `temperature`: 0."),
    "num_beams": ((1,), "Use `n`."),
    "num_return_sequences": ((1,), "Use `n`."),
    "no_repeat_ngram_size": (ZERO, "Use `dry_multiplier`."),
    "max_length": ((), "Use `max_tokens`."),
}
_BY_SOURCE = {
    OPENAI: _OPENAI,
    VLLM: _VLLM,
    SGLANG: _SGLANG,
    LLAMA_SERVER: _LLAMA_SERVER,
    OLLAMA: _OLLAMA,
    MLX_LM: _MLX_LM,
    OPENROUTER: _OPENROUTER,
    ANTHROPIC: _ANTHROPIC,
    OTHERS: _OTHERS,
}
# who else has one of these
_ALSO = {
    "return_token_ids": (SGLANG,),
    "skip_special_tokens": (SGLANG,),
    "cache_salt": (SGLANG,),
    "priority": (SGLANG,),
    "chat_template": (OTHERS,),
    "instructions": (OTHERS,),
    "tfs_z": (OLLAMA,),
    "verbosity": (OPENROUTER,),
    "modalities": (OPENROUTER,),
}

COMMON: dict[str, Known] = {
    name: Refused(sources=(source, *_ALSO.get(name, ())), neutral=neutral, note=note)
    for source, rows in _BY_SOURCE.items()
    for name, (neutral, note) in rows.items()
}
OPTIONS: dict[str, Known] = {name: COMMON[name] for name in ("num_ctx", "tfs_z", "penalize_newline")}

# What only the other route has. Its `prompt` or `messages` beside ours has no effect, and that is told.
_CHAT_ONLY = "Chat completions have it."
_TEXT_ONLY = "Text completions have it."
CHAT: dict[str, Known] = {
    "suffix": Refused(sources=(OPENAI,), neutral=("",), note=_TEXT_ONLY),
    "add_special_tokens": Refused(sources=(VLLM,), neutral=OFF, note="The chat template writes them."),
    "echo": Refused(sources=(VLLM, LLAMA_SERVER), neutral=OFF, note=_TEXT_ONLY),
    "best_of": Refused(sources=(VLLM,), neutral=(1,), note=_TEXT_ONLY),
}
COMPLETION: dict[str, Known] = {
    "add_special_tokens": Refused(sources=(VLLM,), neutral=ON, note="Send the prompt as token ids."),
    "top_logprobs": Refused(sources=(OPENAI,), neutral=ZERO, note="Use `logprobs`, which is a number here."),
    "tools": Refused(sources=(OPENAI,), neutral=NONE, note=_CHAT_ONLY),
    "tool_choice": Refused(sources=(OPENAI,), neutral=("none", "auto"), note=_CHAT_ONLY),
    "parallel_tool_calls": Refused(sources=(OPENAI,), neutral=ON + OFF, note=_CHAT_ONLY),
    "functions": Refused(sources=(OPENAI,), neutral=NONE, note=_CHAT_ONLY),
    "function_call": Refused(sources=(OPENAI,), neutral=("none", "auto"), note=_CHAT_ONLY),
    "continue_final_message": Refused(sources=(VLLM,), neutral=ON + OFF, note=_CHAT_ONLY),
    "reasoning_effort": Refused(sources=(OPENAI,), neutral=("none",), note=_CHAT_ONLY),
    "reasoning_format": Refused(sources=(LLAMA_SERVER,), neutral=("auto",), note=_CHAT_ONLY),
    "include_reasoning": Refused(sources=(VLLM, OPENROUTER), neutral=ON, note=_CHAT_ONLY),
    "enable_thinking": Refused(sources=(OTHERS,), neutral=OFF, note=_CHAT_ONLY),
    "thinking_budget": Refused(sources=(OTHERS,), neutral=(-1,), note=_CHAT_ONLY),
    "chat_template_kwargs": Refused(sources=(VLLM,), neutral=({},), note=_CHAT_ONLY),
    **{
        name: Refused(sources=sources, neutral=neutral, note=_CHAT_ONLY)
        for name, neutral, sources in (
            ("reasoning", ({},), (OPENROUTER,)),
            ("thinking", (False, {"type": "disabled"}), (ANTHROPIC,)),
            ("think", OFF, (OLLAMA,)),
            ("thinking_token_budget", (-1,), (VLLM,)),
            ("thinking_budget_tokens", (-1,), (LLAMA_SERVER,)),
            ("reasoning_budget", (-1,), (LLAMA_SERVER,)),
            ("reasoning_budget_tokens", (-1,), (LLAMA_SERVER,)),
            ("add_generation_prompt", ON + OFF, (VLLM,)),
            ("documents", NONE, (VLLM,)),
        )
    },
}
