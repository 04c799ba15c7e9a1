"""The events of a streamed response, as msgspec structs.

    response.created, response.queued where it waits in the background, response.in_progress
    (response.output_item.added
       message        content_part.added,           output_text.delta …,             output_text.done, content_part.done
       reasoning      reasoning_summary_part.added, reasoning_summary_text.delta …,  ….done, reasoning_summary_part.done
                   or content_part.added,           reasoning_text.delta …,          reasoning_text.done, ….done
       function_call  function_call_arguments.delta …,    function_call_arguments.done
       custom call    custom_tool_call_input.delta …,     custom_tool_call_input.done
     response.output_item.done)*
    response.completed or response.incomplete or, at any time, response.failed

Shapes: `openai/types/responses/response_*_event.py` of the Python SDK 3.54. `sequence_number` counts from 0.
"""

from msgspec import Struct

from nitro.api.responses.schema import Item, Part, Response, ResponseLogprob, SummaryText


class Event(Struct, kw_only=True):
    """What all have. The renderer numbers them."""

    sequence_number: int = 0


class _OfResponse(Event, kw_only=True):
    response: Response


class Queued(_OfResponse, tag="response.queued"):
    """It waits: for responses in the background."""


class Created(_OfResponse, tag="response.created"):
    """The first event."""


class InProgress(_OfResponse, tag="response.in_progress"):
    """It is computed."""


class Completed(_OfResponse, tag="response.completed"):
    """The last: the answer is whole."""


class Incomplete(_OfResponse, tag="response.incomplete"):
    """The last: the answer was cut."""


class Failed(_OfResponse, tag="response.failed"):
    """The last: there is no more of the answer."""


class StreamError(Event, kw_only=True, tag="error"):
    """The only one, where there is no response yet."""

    code: str | None
    message: str
    param: str | None


class _OfOutput(Event, kw_only=True):
    output_index: int


class ItemAdded(_OfOutput, tag="response.output_item.added"):
    """An item begins, empty."""

    item: Item


class ItemDone(_OfOutput, tag="response.output_item.done"):
    """The item, whole."""

    item: Item


class _OfItem(_OfOutput, kw_only=True):
    item_id: str


class _OfPart(_OfItem, kw_only=True):
    content_index: int = 0


class PartAdded(_OfPart, tag="response.content_part.added"):
    """The item's only part begins, empty."""

    part: Part


class PartDone(_OfPart, tag="response.content_part.done"):
    """The part, whole."""

    part: Part


class TextDelta(_OfPart, tag="response.output_text.delta"):
    """More of a message's text, with the logprobs that were asked for."""

    delta: str
    logprobs: list[ResponseLogprob] = []


class TextDone(_OfPart, tag="response.output_text.done"):
    """The whole text."""

    text: str
    logprobs: list[ResponseLogprob] = []


class ReasoningDelta(_OfPart, tag="response.reasoning_text.delta"):
    """More of what the model thinks."""

    delta: str


class ReasoningDone(_OfPart, tag="response.reasoning_text.done"):
    """All of it."""

    text: str


class _OfSummary(_OfItem, kw_only=True):
    summary_index: int = 0


class SummaryPartAdded(_OfSummary, tag="response.reasoning_summary_part.added"):
    """The summary's only part begins, empty."""

    part: SummaryText


class SummaryPartDone(_OfSummary, tag="response.reasoning_summary_part.done"):
    """The part, whole."""

    part: SummaryText


class SummaryDelta(_OfSummary, tag="response.reasoning_summary_text.delta"):
    """More of what the model thinks, as a summary."""

    delta: str


class SummaryDone(_OfSummary, tag="response.reasoning_summary_text.done"):
    """All of it."""

    text: str


class ArgumentsDelta(_OfItem, tag="response.function_call_arguments.delta"):
    """More of a call's arguments, in JSON."""

    delta: str


class ArgumentsDone(_OfItem, tag="response.function_call_arguments.done"):
    """All of them. `name`: that of the function, which older SDKs want."""

    arguments: str
    name: str


class InputDelta(_OfItem, tag="response.custom_tool_call_input.delta"):
    """More of a custom tool's input."""

    delta: str


class InputDone(_OfItem, tag="response.custom_tool_call_input.done"):
    """All of it."""

    input: str


# In the order in which they come
ALL: tuple[type[Event], ...] = (
    *(Created, Queued, InProgress, ItemAdded),
    *(PartAdded, TextDelta, TextDone, ReasoningDelta, ReasoningDone, PartDone),
    *(SummaryPartAdded, SummaryDelta, SummaryDone, SummaryPartDone),
    *(ArgumentsDelta, ArgumentsDone, InputDelta, InputDone),
    *(ItemDone, Completed, Incomplete, Failed, StreamError),
)
