"""The OpenAI API's requests, as msgspec structs.

A struct declares what is supported; its table `known` has the names of other servers: see names/. Every optional field
takes null. Shapes: the OpenAI API reference; the extensions have llama-server's and vLLM's names.

A parameter's type, bounds and description stand here and nowhere else; those of sampling stand in
engines/sampling_params.py.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Struct

from nitro.api.names import Known
from nitro.api.openai.names import inside, tables
from nitro.api.prefix_cache import CacheBreakpoint, CacheControl, CacheOptions
from nitro.engines.sampling_params import SamplingOptions
from nitro.parameters import Param, parameters

MAX_CHOICES = 128
MAX_LOGPROBS = 20
MAX_STOPS = 16
MAX_STOP_TOKENS = 256
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
REASONING_FORMATS = ("auto", "deepseek", "both")

_structured = partial(Param, capability="structured_output")
_tools = partial(Param, capability="tools")
_reasoning = partial(Param, capability="reasoning")

ServiceTier = Literal["auto", "default", "flex", "priority", "scale"]
SERVICE_TIER = "`flex` gives way to others; `priority` goes before them, for who may. All else means `default`."


class ImageUrl(Struct):
    """An image: a `data:` URI, base64, or an address."""

    known: ClassVar[Mapping[str, Known]] = inside.IMAGE_URL

    url: str | None = None
    detail: str | None = None


class InputAudio(Struct):
    """A sound in base64, or where it is."""

    known: ClassVar[Mapping[str, Known]] = inside.IMAGE_URL

    data: str | None = None
    format: str | None = None
    url: str | None = None


class Part(Struct):
    """One part of a message's content. A part without a type is text."""

    known: ClassVar[Mapping[str, Known]] = inside.PART

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: str | ImageUrl | None = None
    image: str | None = None
    detail: str | None = None
    input_audio: InputAudio | None = None
    audio_url: str | InputAudio | None = None
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class Message(Struct):
    """One message of a conversation."""

    known: ClassVar[Mapping[str, Known]] = inside.MESSAGE

    role: Annotated[str, Param("Who the message is from.", choices=ROLES)]
    content: str | Part | list[str | Part] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    function_call: dict[str, Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class Prediction(Struct):
    """Predicted outputs: text that the answer is expected to contain."""

    content: str | Part | list[str | Part]
    type: str | None = None


class LoraScale(Struct):
    """An adapter that is applied."""

    id: int
    scale: float = 0.0  # as llama-server has it


class StreamOptions(Struct):
    """Options of a stream."""

    known: ClassVar[Mapping[str, Known]] = inside.STREAM_OPTIONS

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class SamplingRequest(SamplingOptions, frozen=True):
    """How tokens are drawn: the sampling parameters, and what an API adds to them."""

    logit_bias: Annotated[
        dict[str, float | bool] | list[list[str | int | float | bool]] | None,
        Param("Add a number to the logits of tokens, by id or text, before all else. -100 or false: ban the token."),
    ] = None
    seed: Annotated[
        int | None,
        Param("Fixes the draws; only `nitro serve --deterministic` fixes the logits, too. Taken modulo 2³¹."),
    ] = None
    min_tokens: Annotated[
        int | None, Param("Do not end the answer before this many tokens. Stop strings still end it.", ge=0)
    ] = None
    ignore_eos: Annotated[
        bool | None, Param("Do not let the model end the answer: only `max_tokens` and stop strings do.")
    ] = None


class CommonRequest(SamplingRequest, frozen=True):
    """What chat and text completions have in common."""

    model: Annotated[
        str | None,
        Param(
            "The name of a model. Where one is offered, any name is answered, and listed in the header x-nitro-ignored."
        ),
    ] = None
    stream: Annotated[bool | None, Param("Stream the answer: server-sent events, the last of which is [DONE].")] = None
    stream_options: Annotated[
        StreamOptions | None,
        Param("`include_usage`: a last chunk has the usage. `continuous_usage_stats`: each has it, as far as it is."),
    ] = None
    max_tokens: int | None = None  # its bounds differ
    n: Annotated[
        int | None, Param("How many answers to generate. Answer i is drawn with seed + i.", ge=1, le=MAX_CHOICES)
    ] = None
    stop: Annotated[
        str | list[str] | None,
        Param(
            f"A string, or up to {MAX_STOPS}, at which the content ends. Not looked for in reasoning and tool calls."
        ),
    ] = None
    stop_token_ids: Annotated[
        list[int] | None,
        Param(f"Up to {MAX_STOP_TOKENS} token ids, at which the answer ends. Its text does not contain that token."),
    ] = None
    include_stop_str_in_output: Annotated[
        bool | None, Param("End the answer with the stop string, or with the text of the stop token.")
    ] = None
    prediction: Annotated[Prediction | None, Param("Expected text. Never changes the answer; may speed it up.")] = None
    response_format: Annotated[
        dict[str, Any] | None, _structured("`text`, `json_object`, or `json_schema`, which is enforced.")
    ] = None
    json_schema: Annotated[dict[str, Any] | None, _structured("The answer is JSON that matches this schema.")] = None
    grammar: Annotated[str | None, _structured("The answer matches this grammar, in GBNF or Lark.")] = None
    regex: Annotated[str | None, _structured("The whole answer matches this regular expression.")] = None
    choice: Annotated[list[str] | None, _structured("The answer is one of these strings.")] = None
    disable_additional_properties: Annotated[
        bool | None,
        _structured("false: objects may have properties that their schema does not list, as in JSON Schema."),
    ] = None
    cache_prompt: Annotated[
        bool | None, Param("false: compute the whole prompt, and reuse nothing from earlier requests.")
    ] = None
    prompt_cache_key: Annotated[
        str | None,
        Param("The prompt stays in the prefix cache, in place of that of the last request with the same key."),
    ] = None
    prompt_cache_retention: Annotated[
        str | None,
        Param(
            "The prompt stays in the prefix cache for so long after its last use; 30 minutes in memory.",
            choices=("in_memory", "24h"),
        ),
    ] = None
    prompt_cache_options: Annotated[
        CacheOptions | None,
        Param("`ttl`: the same, as in 30m. `mode`: `explicit`, only what `prompt_cache_breakpoint` marks stays."),
    ] = None
    cache_control: Annotated[
        CacheControl | None,
        Param("`ttl`, 5m or 1h: the same. In messages, parts and tools it marks the end of a prefix that stays."),
    ] = None
    lora: Annotated[
        list[LoraScale] | None,
        Param("LoRA adapters to apply, each by its `id` in `GET /lora-adapters`, at its `scale`. The others are not."),
    ] = None
    return_tokens: Annotated[bool | None, Param("Add the token ids of the answer to the reply.")] = None
    timings_per_token: Annotated[bool | None, Param("Add timings to each chunk, not only to the last.")] = None
    keep_alive: Annotated[
        float | str | None,
        Param("How long the model stays loaded once it is idle: seconds, or as in 5m; 0: not at all; -1: for ever."),
    ] = None
    service_tier: Annotated[ServiceTier | None, Param(SERVICE_TIER)] = None


class ChatRequest(CommonRequest, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    known: ClassVar[Mapping[str, Known]] = tables.CHAT

    messages: Annotated[
        list[Message],
        Param("The conversation. If the last message is the assistant's, it is continued.", capability="chat"),
    ]
    continue_final_message: Annotated[
        bool | None, Param("false: answer after the assistant's last message instead of continuing it.")
    ] = None
    max_completion_tokens: Annotated[
        int | None,
        Param("At most this many tokens are generated. By default, and for -1, what fits.", ge=1, unlimited=True),
    ] = None
    max_tokens: Annotated[
        int | None, Param("The older name of `max_completion_tokens`.", ge=1, unlimited=True, older=True)
    ] = None
    logprobs: Annotated[
        bool | None,
        Param("Add each token's log probability, as the model alone gives it: no sampling parameter changes it."),
    ] = None
    top_logprobs: Annotated[
        int | None,
        Param("Add this many of the most likely tokens at each place. Needs `logprobs`.", ge=0, le=MAX_LOGPROBS),
    ] = None
    tools: Annotated[list[dict[str, Any]] | None, _tools("Functions that the model may call.")] = None
    tool_choice: Annotated[
        str | dict[str, Any] | None,
        _tools("`none`, `auto`, `required`, one function by its name, or `allowed_tools`."),
    ] = None
    parallel_tool_calls: Annotated[bool | None, _tools("Whether one answer may contain several calls.")] = None
    functions: Annotated[list[dict[str, Any]] | None, _tools("The deprecated form of `tools`.", older=True)] = None
    function_call: Annotated[
        str | dict[str, Any] | None, _tools("The deprecated form of `tool_choice`.", older=True)
    ] = None
    reasoning_effort: Annotated[
        str | None, _reasoning("Passed to the chat template. `none` switches reasoning off.")
    ] = None
    reasoning_format: Annotated[
        str | None,
        _reasoning(
            "`both`: repeat the field `reasoning_content` as `reasoning`. Reasoning is never in the content.",
            choices=REASONING_FORMATS,
        ),
    ] = None
    include_reasoning: Annotated[
        bool | None, _reasoning("false: leave the reasoning out of the reply. The model reasons all the same.")
    ] = None
    enable_thinking: Annotated[
        bool | None, _reasoning("Passed to the chat template, to switch reasoning on or off.")
    ] = None
    thinking_budget: Annotated[
        int | None, _reasoning("End the reasoning after at most this many tokens. -1: no limit.", ge=0, unlimited=True)
    ] = None
    chat_template_kwargs: Annotated[dict[str, Any] | None, Param("More variables to pass to the chat template.")] = None


class CompletionRequest(CommonRequest, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    known: ClassVar[Mapping[str, Known]] = tables.COMPLETION

    prompt: Annotated[
        str | list[str | int | list[int]],
        Param("A text, token ids, or a list of either.", capability="completions"),
    ]
    max_tokens: Annotated[
        int | None,
        Param(
            "At most this many tokens are generated. By default, and for -1, what fits. 0: only score the prompt.",
            ge=0,
            unlimited=True,
        ),
    ] = None
    best_of: Annotated[
        int | None,
        Param("Generate this many answers and return the `n` most likely. Not with `stream`.", ge=1, le=MAX_CHOICES),
    ] = None
    echo: Annotated[bool | None, Param("Begin the text of the answer with the prompt.")] = None
    logprobs: Annotated[
        int | None,
        Param(
            "Add each token's log probability, and this many of the most likely tokens at each place.",
            ge=0,
            le=MAX_LOGPROBS,
        ),
    ] = None
    suffix: Annotated[
        str | None, Param("The text that follows the answer, if the vocabulary has tokens to fill in the middle.")
    ] = None


PARAMETERS: Mapping[str, Param] = {**parameters(CompletionRequest), **parameters(ChatRequest)}


def capability(name: str) -> str | None:
    """The key of a model's capabilities that says whether this parameter works; None: it does with every model."""
    return PARAMETERS[name].capability


class LoadRequest(Struct, frozen=True, kw_only=True):
    """`POST /v1/models/load`."""

    model: Annotated[str, Param("The name of a model of `GET /v1/models`.")]
    options: Annotated[
        dict[str, Any] | None, Param("Options of `nitro serve` for this model alone, as in `context` or `gpu_layers`.")
    ] = None
    defaults: Annotated[dict[str, Any] | None, Param("Sampling parameters for requests that do not set them.")] = None
    keep_alive: Annotated[
        float | str | None, Param("Idle time after which it is unloaded: seconds, or as in 5m; -1: never.")
    ] = None
    pin: Annotated[bool | None, Param("Never unload it to make room.")] = None


class LoadAdapterRequest(Struct, frozen=True, kw_only=True):
    """`POST /v1/load_lora_adapter`: vLLM's."""

    lora_name: Annotated[str, Param("What the adapter is called, as a model.")]
    lora_path: Annotated[str, Param("A file or folder on the server's machine.")]
    base_model_name: Annotated[
        str | None, Param("The name of the model that it is of. Default: the model of requests that name none.")
    ] = None
    load_inplace: Annotated[bool | None, Param("Take the place of the adapter of this name, if there is one.")] = None


class UnloadAdapterRequest(Struct, frozen=True, kw_only=True):
    """`POST /v1/unload_lora_adapter`: vLLM's."""

    lora_name: Annotated[str, Param("The name of an adapter.")]
    lora_int_id: Annotated[int | None, Param("Its number in `GET /lora-adapters`, if it is to be checked.")] = None


class UnloadRequest(Struct, frozen=True, kw_only=True):
    """`POST /v1/models/unload`."""

    model: Annotated[str, Param("The name of a model.")]
    force: Annotated[bool | None, Param("Also if requests run, which end with an error.")] = None
