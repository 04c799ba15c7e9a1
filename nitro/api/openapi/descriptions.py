"""What each parameter of a request means, in a line: for the OpenAPI document and for docs/parameters.md.

Types stand in `openai`, bounds in `prompts`, what an engine has in its runner; here are words, and which capability of
`GET /v1/models` tells whether a parameter works.
"""

from nitro.engines.types import SAMPLERS

PARAMETERS: dict[str, str] = {
    "messages": "The conversation. A last message of the assistant's is continued.",
    "prompt": "A text, texts, token ids, or lists of them.",
    "model": "The served model's id, or nothing. Any other name is answered, too, and listed in x-nitro-ignored.",
    # the answer
    "max_completion_tokens": "The most tokens of an answer; what is left of the context by default, and for -1.",
    "max_tokens": "The same by its older name. 0 on text completions scores the prompt.",
    "min_tokens": "No end of the model's own before so many tokens; a stop string still ends it.",
    "ignore_eos": "No end but by max_tokens or a stop string.",
    "n": "Answers to one prompt. Number i is drawn with seed + i.",
    "best_of": "So many answers are drawn, and the n likeliest told. Not with `stream`.",
    "stop": "A text or up to 16 at which the answer ends; none of it is told.",
    "stream": "Server-sent events, a chunk each, and [DONE].",
    "stream_options": "include_usage: the last chunk has usage, and no choices.",
    "echo": "The text begins with the prompt.",
    "suffix": "What is to follow the text that is asked for, where the model's vocabulary has tokens for that.",
    "logprobs": "How likely the model itself found each token. On text completions a number: of likeliest tokens, too.",
    "top_logprobs": "So many of the likeliest tokens beside each. Needs logprobs.",
    "prediction": "What the answer may well be. It changes no answer; it may come sooner.",
    "continue_final_message": "false: the assistant's last message is not continued.",
    # how tokens are drawn, in this order
    "seed": "The same seed and prompt give the same tokens on the same server. Taken modulo 2³¹.",
    "logit_bias": "By token id or text, added to its logit; -100 bans it.",
    "repetition_penalty": "Logits of tokens that were said are divided by it, negative ones multiplied. 1: off.",
    "repeat_penalty": "repetition_penalty by llama-server's name.",
    "frequency_penalty": "Taken off a token's logit for each time that it was said.",
    "presence_penalty": "Taken off the logit of a token that was said.",
    "repeat_last_n": "How many tokens back penalties look, the prompt included. -1: all.",
    "dry_multiplier": "Of the penalty for a token that makes a repetition longer. 0: off.",
    "dry_base": "DRY: to the power of the repetition's length beyond the allowed one.",
    "dry_allowed_length": "DRY: repetitions up to this length cost nothing.",
    "dry_penalty_last_n": "DRY: how many tokens back it looks. -1: all.",
    "dry_sequence_breakers": "DRY: texts beyond which no repetition goes.",
    "top_n_sigma": "Tokens whose logit is at most so many standard deviations below the best. 0: off.",
    "top_k": "The likeliest so many tokens. 0: off.",
    "typical_p": "The share of tokens whose surprise is nearest to the mean.",
    "top_p": "The likeliest tokens that have this share together.",
    "min_p": "Tokens with at least this share of the likeliest one's.",
    "xtc_probability": "With which those above the threshold are out, but the least likely of them. 0: off.",
    "xtc_threshold": "XTC: the share that a token must have. Above 0.5: off.",
    "temperature": "0: always the likeliest token.",
    "dynatemp_range": "The temperature goes so far down and up, with the entropy. 0: off.",
    "dynatemp_exponent": "Dynamic temperature: of the entropy's share.",
    "mirostat": "Version 1 or 2, in place of the filters. 0: off.",
    "mirostat_tau": "Mirostat: the surprise to keep to, in bits.",
    "mirostat_eta": "Mirostat: how fast it gets there.",
    # what the answer must be
    "response_format": "text, json_object, or json_schema, which is enforced.",
    "json_schema": "The answer is JSON that keeps this schema.",
    "grammar": "The answer keeps this grammar, in GBNF or Lark.",
    "regex": "The answer matches this regular expression as a whole.",
    "choice": "The answer is one of these texts.",
    # tools
    "tools": "Functions that the model may call.",
    "tool_choice": "none, auto, required, a function by name, or allowed_tools.",
    "parallel_tool_calls": "Whether one answer may have several calls.",
    "functions": "tools, in the deprecated form.",
    "function_call": "tool_choice, in the deprecated form.",
    # reasoning and the template
    "reasoning_effort": "A variable of the chat template; none switches reasoning off.",
    "reasoning_format": "both: reasoning is told as `reasoning`, too. It is never in the content.",
    "enable_thinking": "A variable of the chat template.",
    "thinking_budget": "The most tokens of reasoning, which is ended then.",
    "chat_template_kwargs": "Variables of the chat template.",
    # of this server
    "cache_prompt": "false: nothing that was computed before is used.",
    "return_tokens": "The reply has the ids of its tokens.",
    "timings_per_token": "Each chunk has timings.",
    "audio": "Settings of a spoken answer.",
    "modalities": 'Kinds of answer; ["text"] is what there is.',
    "web_search_options": "A search of the web.",
}

# By parameter: the capability that tells whether it works, beside those of SAMPLERS, which are named like it.
_CAPABILITIES = {
    "messages": "chat",
    "prompt": "completions",
    **dict.fromkeys(("response_format", "json_schema", "grammar", "regex", "choice"), "structured_output"),
    **dict.fromkeys(("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"), "tools"),
    **dict.fromkeys(("reasoning_effort", "reasoning_format", "enable_thinking", "thinking_budget"), "reasoning"),
}
TUNED = {"dry_": "dry_multiplier", "mirostat_": "mirostat", "xtc_": "xtc_probability", "dynatemp_": "dynatemp_range"}


def capability(name: str) -> str | None:
    """What of a model's capabilities tells whether the parameter works; None: it does with every model."""
    if name in SAMPLERS:
        return name
    return _CAPABILITIES.get(name) or next((of for prefix, of in TUNED.items() if name.startswith(prefix)), None)
