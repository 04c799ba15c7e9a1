"""The Messages API's requests, as msgspec structs. Tools are open objects: see tools.py.

Shapes: Anthropic's API reference and the types of its Python SDK 2.14. A struct declares what works; its table `known`
has what is harmless or refused: see names.py. Every optional field takes null.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from msgspec import Struct

from nitro.api.anthropic import names
from nitro.api.names import Known
from nitro.api.openai.requests import SamplingRequest
from nitro.api.prefix_cache import CacheControl
from nitro.parameters import Param

ROLES = ("user", "assistant", "system")
THINKING_TYPES = ("enabled", "adaptive", "disabled")
DISPLAYS = ("summarized", "omitted")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
CLEARINGS = ("never", "next_user_message")

_tools = partial(Param, capability="tools")
_reasoning = partial(Param, capability="reasoning")


class ToolChange(Struct):
    """The tool of a `tool_addition` or `tool_removal`: one that is offered, by its name, or one that comes with it."""

    known: ClassVar[Mapping[str, Known]] = names.TOOL_CHANGE

    type: str
    name: str | None = None
    definition: dict[str, Any] | None = None


class Source(Struct):
    """Where an image is: in base64, or behind an address."""

    known: ClassVar[Mapping[str, Known]] = names.SOURCE

    type: str | None = None
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class ResultBlock(Struct):
    """A block in the result of a tool."""

    known: ClassVar[Mapping[str, Known]] = names.RESULT_BLOCK

    type: str
    text: str | None = None
    source: Source | None = None
    tool_name: str | None = None
    cache_control: CacheControl | None = None


class Block(Struct):
    """A block of a message's content; which fields count depends on its type."""

    known: ClassVar[Mapping[str, Known]] = names.BLOCK

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | ResultBlock | list[ResultBlock] | None = None
    is_error: bool | None = None
    tool: ToolChange | None = None
    source: Source | None = None
    cache_control: CacheControl | None = None


class Turn(Struct):
    """One turn of a conversation. A system message may stand anywhere."""

    known: ClassVar[Mapping[str, Known]] = names.MESSAGE

    role: Annotated[str, Param("Who the message is from.", choices=ROLES)]
    content: str | list[Block] | None = None
    clear_at: Annotated[
        str | None,
        Param(
            "Of a system message. `next_user_message`: it is left out once the user has spoken again.",
            choices=CLEARINGS,
        ),
    ] = None


class SystemBlock(Struct):
    """A block of the system prompt, which is a text."""

    known: ClassVar[Mapping[str, Known]] = names.TEXT

    text: str
    type: str | None = None
    cache_control: CacheControl | None = None


class Thinking(Struct):
    """Whether the model reasons, how long, and what of it the reply shows."""

    known: ClassVar[Mapping[str, Known]] = names.THINKING

    type: Annotated[
        str,
        _reasoning("`enabled` and `adaptive` switch reasoning on, `disabled` switches it off.", choices=THINKING_TYPES),
    ]
    budget_tokens: Annotated[
        int | None, _reasoning("Of `enabled`: end the reasoning after at most this many tokens.", ge=1)
    ] = None
    display: Annotated[
        str | None,
        _reasoning(
            "`omitted`: thinking blocks have no text; their signature carries it, for the next request.",
            choices=DISPLAYS,
        ),
    ] = None


class OutputConfig(Struct):
    """How much the model puts into its answer, and what form that has."""

    known: ClassVar[Mapping[str, Known]] = names.OUTPUT_CONFIG

    effort: Annotated[str | None, _reasoning("Passed to the chat template as `reasoning_effort`.", choices=EFFORTS)] = (
        None
    )
    format: Annotated[
        dict[str, Any] | None,
        Param("`json_schema`: the answer is JSON that matches `schema`.", capability="structured_output"),
    ] = None


class ToolChoice(Struct):
    """Which tools may or must be called."""

    type: Annotated[str, _tools("Which tools may or must be called.", choices=("auto", "any", "tool", "none"))]
    name: Annotated[str | None, _tools("Of `tool`: which one.")] = None
    disable_parallel_tool_use: Annotated[bool | None, _tools("At most one call in an answer.")] = None


class ContextManagement(Struct):
    """What is to be left out of a long conversation."""

    edits: list[dict[str, Any]] | None = None


class MessagesRequest(SamplingRequest, frozen=True, kw_only=True):
    """`POST /v1/messages`."""

    known: ClassVar[Mapping[str, Known]] = names.REQUEST

    model: Annotated[str | None, Param("The name of a model, as in chat completions.")] = None
    messages: Annotated[
        list[Turn],
        Param(
            "The conversation: texts, calls of tools and their results, thinking. If the last message is the "
            "assistant's, it is continued.",
            capability="chat",
        ),
    ]
    max_tokens: Annotated[
        int | None,
        Param("Required. At most this many tokens are generated, and never more than fit. 0: none.", ge=0),
    ] = None
    system: Annotated[
        str | list[SystemBlock] | None,
        Param("The system prompt. A line `x-anthropic-billing-header: …` at its head is left out."),
    ] = None
    stop_sequences: Annotated[
        list[str] | None, Param("Up to 16 strings, at which the text ends. The reply says which it was.")
    ] = None
    stream: Annotated[
        bool | None, Param("Stream the answer: server-sent events, the last of which is message_stop.")
    ] = None
    thinking: Annotated[
        Thinking | None,
        _reasoning(
            "`type`: `enabled`, `adaptive` or `disabled`. `budget_tokens`: the most that the reasoning has. `display`: "
            "`omitted` leaves its text to the signature."
        ),
    ] = None
    output_config: Annotated[
        OutputConfig | None,
        Param(
            "`effort`: passed to the chat template as `reasoning_effort`. `format`: a `json_schema`, which is enforced."
        ),
    ] = None
    tools: Annotated[
        list[dict[str, Any]] | None,
        _tools(
            "Tools with an `input_schema`. Others, which a server would have to run, are left out and listed, or "
            "refused."
        ),
    ] = None
    tool_choice: Annotated[
        ToolChoice | None, _tools("`auto`, `any`, `none`, or one `tool` by its name; `disable_parallel_tool_use`.")
    ] = None
    context_management: Annotated[
        ContextManagement | None,
        Param("`clear_thinking_20251015` works. Other edits have no effect, and are listed."),
    ] = None
    cache_control: Annotated[
        CacheControl | None,
        Param(
            "The whole prompt stays in the cache for `ttl`: `5m` or `1h`. On a block or a tool: what comes before it."
        ),
    ] = None
    keep_alive: Annotated[
        float | str | None, Param("How long the model stays loaded once it is idle, as in chat completions.")
    ] = None
