"""Events of a generation → a response: its stream of events, or the whole of it.

Every frame of a stream is one event, `event: TYPE`, `data: JSON`, an empty line; frames are numbered from 0. What has
ended goes to who keeps it before the bytes that say so: see keeping.py.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nitro.api import sse
from nitro.api.responses import events as written
from nitro.api.responses import reply_options, schema
from nitro.api.responses.keeping import Keeping, KeptResponse
from nitro.api.responses.open_items import OpenCall, OpenCustomCall, OpenItem, OpenMessage, OpenReasoning, OpenSummary
from nitro.api.responses.reply_options import CalledTool
from nitro.api.responses.usage import covering, error_of, logprobs_of, usage_of
from nitro.errors import ApiError
from nitro.service.choices import ChoiceAssembler
from nitro.service.events import (
    CallDelta,
    Done,
    Event,
    Finished,
    FinishReason,
    PlacedToken,
    ReasoningDelta,
    Started,
    TextDelta,
)
from nitro.service.renderer import Answer

_encode = msgspec.json.Encoder().encode

MARK, NUMBER = "\0", 2**53 - 1  # stand for a text and a number where a frame is prepared


class ResponsesRenderer:
    """A `Renderer` of one response, which can be kept: see KeepableRenderer."""

    media_type: str = sse.MEDIA_TYPE
    headers: Mapping[str, str] = sse.HEADERS

    def __init__(self, started: Started, options: bytes, keeping: Keeping):
        self._options = reply_options.decode(options)
        self._keeping = keeping
        self._number = keeping.number  # of the next event
        self._items: list[schema.Item] = []  # that are whole
        self._open: OpenItem | None = None
        self._call = -1  # the number of the open call
        self._around: tuple[bytes, bytes, bytes] | None = None  # what the open message's deltas have alike
        self._finish: FinishReason = "stop"
        self._head: dict[str, Any] = {
            **self._options.fields,
            "id": keeping.id,
            "created_at": started.created if keeping.created is None else keeping.created,
            "model": started.model,
            "service_tier": started.tier or "default",
            "background": keeping.background,
            "store": keeping.store,
        }

    @property
    def input_items(self) -> bytes:
        """JSON of what the response answers, each item with its id."""
        return self._options.input_items

    def begun(self) -> KeptResponse:
        """The response in progress, before anything is rendered."""
        return self._kept(self._response("in_progress"))

    def queued(self) -> tuple[KeptResponse, bytes]:
        """See KeepableRenderer."""
        response = self._response("queued")
        told = self._frames([written.Created(response=response), written.Queued(response=response)])
        return self._kept(response), told

    def opening(self) -> bytes:
        """The response before it has any output, twice; or once, where its first events were told before."""
        response = self._response("in_progress")
        created = [] if self._number else [written.Created(response=response)]
        return self._frames([*created, written.InProgress(response=response)])

    def events(self, burst: Sequence[Event]) -> bytes:
        """What has come, as frames."""
        frames: list[bytes] = []
        for event in burst:
            if type(event) is TextDelta and event.text and (around := self._around):
                self._open.texts.append(event.text)  # type: ignore[union-attr]
                frames += around[0], _encode(event.text), around[1], b"%d" % self._number, around[2]
                self._number += 1
            elif told := self._told(event):
                frames.append(self._frames(told))
        return b"".join(frames)

    def idle(self) -> bytes:
        """A comment."""
        return sse.KEEPALIVE

    def error(self, error: ApiError) -> bytes:
        """The response, failed, with what it has of its output."""
        told = self._close("incomplete")
        response = self._response("failed", error=error_of(error))
        self._keep(response)
        return self._frames([*told, written.Failed(response=response)])

    def closing(self) -> bytes:
        """Nothing: the last event says that it is the last."""
        return b""

    def whole(self, answer: Answer) -> bytes:
        """JSON."""
        (choice,) = answer.choices
        self._say(choice)
        self._finish = choice.finish or "stop"
        self._close(self._end)
        response = self._ended(answer.done)
        self._keep(response)
        return _encode(response)

    def _say(self, choice: ChoiceAssembler) -> None:
        """The items of a whole answer. The last one is open."""
        for run in choice.runs():
            if run.channel == "reasoning":
                self._add_reasoning(run.text)
            elif run.channel == "content":
                self._add_text(run.text, self._scored(run.scored, run.text))
            else:
                call = choice.calls[run.call]
                self._add_call(CallDelta(choice.index, run.call, run.text, call.id, call.name))
        if not choice.runs():
            self._begin(OpenMessage(0))

    # What an event is told by

    def _told(self, event: Event) -> list[written.Event]:
        if isinstance(event, TextDelta):
            is_open = isinstance(self._open, OpenMessage)
            scored = self._scored(event.tokens, None if is_open else event.text)
            return self._add_text(event.text, scored) if event.text or (is_open and scored) else []
        if isinstance(event, ReasoningDelta):
            return self._add_reasoning(event.text) if event.text else []
        if isinstance(event, CallDelta):
            return self._add_call(event)
        if isinstance(event, Finished):
            self._finish = event.reason
            nothing = not (self._items or self._open)
            begun = self._begin(OpenMessage(0)) if nothing else []
            return begun + self._close(self._end)
        if isinstance(event, Done):
            response = self._ended(event)
            self._keep(response)
            last = written.Incomplete if self._finish == "length" else written.Completed
            return [last(response=response)]
        return []

    def _scored(self, tokens: list[PlacedToken], text: str | None) -> list[schema.ResponseLogprob]:
        """If asked for. `text`: what they begin a message with, maybe after tags."""
        if self._options.logprobs is None:
            return []
        return logprobs_of(tokens if text is None else covering(tokens, text))

    def _add_text(self, text: str, logprobs: list[schema.ResponseLogprob]) -> list[written.Event]:
        told: list[written.Event] = []
        if not isinstance(self._open, OpenMessage):
            told = self._begin(message := OpenMessage(self._next))
            if self._options.logprobs is None:
                self._around = _around(message)
        assert self._open
        return told + self._open.add(text, logprobs)

    def _add_reasoning(self, text: str) -> list[written.Event]:
        told: list[written.Event] = []
        if not isinstance(self._open, OpenReasoning):
            kind = OpenSummary if self._options.summarizes else OpenReasoning
            told = self._begin(kind(self._next, self._options.encrypts))
        assert self._open
        return told + self._open.add(text, [])

    def _add_call(self, event: CallDelta) -> list[written.Event]:
        told: list[written.Event] = []
        if not isinstance(self._open, OpenCall) or event.call != self._call:
            name = event.name or ""
            tool = self._options.called.get(name) or CalledTool(name)
            kind = OpenCustomCall if tool.custom else OpenCall
            self._call = event.call
            told = self._begin(kind(self._next, event.id or "", tool))
        assert self._open
        return told + self._open.add(event.arguments, [])

    # Items, one after the other

    @property
    def _next(self) -> int:
        """The place of the next item."""
        return len(self._items) + (self._open is not None)

    def _begin(self, item: OpenItem) -> list[written.Event]:
        told = self._close("completed")
        self._open = item
        return told + item.begin()

    def _close(self, status: schema.ItemStatus) -> list[written.Event]:
        item, self._open, self._around = self._open, None, None
        if item is None:
            return []
        told = item.end(status)
        self._items.append(item.item(status))
        return told

    # Responses

    @property
    def _end(self) -> schema.ItemStatus:
        return "incomplete" if self._finish == "length" else "completed"

    def _response(self, status: schema.Status, **fields: Any) -> schema.Response:
        return schema.Response(**self._head, status=status, output=list(self._items), **fields)

    def _ended(self, done: Done) -> schema.Response:
        usage = usage_of(done.usage)
        if self._finish == "length":
            details = schema.IncompleteDetails("max_output_tokens")
            return self._response("incomplete", usage=usage, incomplete_details=details)
        return self._response("completed", usage=usage, completed_at=int(time.time()))

    def _keep(self, response: schema.Response) -> None:
        if self._keeping.store:
            self._keeping.keep(self._kept(response))

    def _kept(self, response: schema.Response) -> KeptResponse:
        return KeptResponse(response.id, response.status, _encode(response))

    # Frames

    def _frames(self, told: Sequence[written.Event]) -> bytes:
        frames = []
        for event in told:
            event.sequence_number = self._number
            self._number += 1
            frames.append(frame(event))
        return b"".join(frames)


def frame(event: written.Event) -> bytes:
    """An event as it is sent."""
    return b"event: %b\ndata: %b\n\n" % (str(event.__struct_config__.tag).encode(), _encode(event))


def _around(item: OpenItem) -> tuple[bytes, bytes, bytes]:
    """The bytes around a delta's text and its number, which comes after that."""
    sample = item.delta(MARK)
    sample.sequence_number = NUMBER
    before, _, rest = frame(sample).partition(_encode(MARK))
    between, _, after = rest.partition(b"%d" % NUMBER)
    return before, between, after
