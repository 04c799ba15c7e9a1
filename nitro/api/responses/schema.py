"""The reply of `POST /v1/responses`, as msgspec structs: a response, and the items of its output. Events: events.py.

Shapes: `openai/types/responses/` of the Python SDK 3.54. What came with the request, and goes back with the reply, is
JSON that nobody opens again.
"""

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType, field

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


def as_json(text: bytes) -> Any:
    """A field's default: a factory, since the OpenAPI document cannot show a Raw."""
    return field(default_factory=lambda: Raw(text))


class ResponseTopLogprob(Struct):
    """A token and its log probability. `bytes` is empty where the token adds nothing to the text."""

    token: str
    logprob: float
    bytes: list[int]


class ResponseLogprob(ResponseTopLogprob):
    """A token of the answer, and the most likely tokens at its place."""

    top_logprobs: list[ResponseTopLogprob]


class OutputText(Struct, tag="output_text"):
    """The text of a message."""

    text: str
    logprobs: list[ResponseLogprob] = []
    annotations: list[Any] = []


class SummaryText(Struct, tag="summary_text"):
    """What the model thought, where a summary was asked for: all of it."""

    text: str


class ReasoningText(Struct, tag="reasoning_text"):
    """What the model thought, where no summary was asked for."""

    text: str


class MessageItem(Struct, tag="message"):
    """The answer in words."""

    id: str
    status: ItemStatus
    content: list[OutputText]
    role: Literal["assistant"] = "assistant"


class ReasoningItem(Struct, tag="reasoning"):
    """What the model thought, in one of two places. `encrypted_content`: if asked for."""

    id: str
    status: ItemStatus
    summary: list[SummaryText] = []
    content: list[ReasoningText] | UnsetType = UNSET
    encrypted_content: str | UnsetType = UNSET


class FunctionCallItem(Struct, tag="function_call"):
    """A call of a function. `arguments`: JSON. `namespace`: that the function was offered in."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str
    namespace: str | UnsetType = UNSET


class CustomToolCallItem(Struct, tag="custom_tool_call"):
    """A call of a custom tool, whose input is text."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    input: str
    namespace: str | UnsetType = UNSET


Part = OutputText | ReasoningText
Item = MessageItem | ReasoningItem | FunctionCallItem | CustomToolCallItem


class InputTokensDetails(Struct):
    """`cached_tokens`: of the prompt, that were not computed again. `cache_write_tokens`: that a later one may find."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(Struct):
    """`reasoning_tokens`: of what the model thought."""

    reasoning_tokens: int


class ResponseUsage(Struct):
    """Token counts."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseError(Struct):
    """Why a response has failed. `code`: one of the few that clients know."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str
    param: str | None = None


class IncompleteDetails(Struct):
    """Why a response ends early."""

    reason: Literal["max_output_tokens"]


class Response(Struct, kw_only=True):
    """A response, in any of its states. From `background` on: as the request has it, or the defaults."""

    id: str
    created_at: int
    status: Status
    model: str
    output: list[Item] = []
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: ResponseUsage | None = None
    completed_at: int | None = None
    background: bool = False
    conversation: Raw = as_json(b"null")
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: Raw = as_json(b"{}")
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    reasoning: Raw = as_json(b'{"effort":null,"summary":null}')
    safety_identifier: str | None = None
    service_tier: str = "default"
    store: bool = True
    temperature: float | None = None
    text: Raw = as_json(b'{"format":{"type":"text"}}')
    tool_choice: Raw = as_json(b'"auto"')
    tools: Raw = as_json(b"[]")
    top_logprobs: int = 0
    top_p: float | None = None
    truncation: str = "disabled"
    user: str | None = None
    object: Literal["response"] = "response"
