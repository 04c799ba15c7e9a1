"""The items of an answer while they come: each makes its events, and itself, of pieces of text."""

import secrets
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from msgspec import UNSET, UnsetType

from nitro.api.responses import events, sealed
from nitro.api.responses.custom_input import CustomInput
from nitro.api.responses.events import Event
from nitro.api.responses.reply_options import CalledTool
from nitro.api.responses.schema import (
    CustomToolCallItem,
    FunctionCallItem,
    Item,
    ItemStatus,
    MessageItem,
    OutputText,
    ReasoningItem,
    ReasoningText,
    ResponseLogprob,
    SummaryText,
)


class OpenItem(ABC):
    """An item from its beginning to its end. `index`: its place in the output."""

    prefix: ClassVar[str]

    def __init__(self, index: int):
        self.index = index
        self.id = f"{self.prefix}_{secrets.token_hex(24)}"
        self.texts: list[str] = []  # in pieces: a long text must not be copied for each token

    @property
    def text(self) -> str:
        """As far as it has come."""
        return "".join(self.texts)

    @property
    def place(self) -> dict[str, Any]:
        """What all events of the item have alike."""
        return {"output_index": self.index, "item_id": self.id}

    def begin(self) -> list[Event]:
        """The item, empty, and its part."""
        return [events.ItemAdded(output_index=self.index, item=self.item("in_progress")), *self._begin_part()]

    def add(self, text: str, logprobs: list[ResponseLogprob]) -> list[Event]:
        """More of it. `logprobs` are for messages."""
        self.texts.append(text)
        return [self.delta(text)] if text else []

    def end(self, status: ItemStatus) -> list[Event]:
        """The whole of its part, and of the item."""
        return [*self._end_part(), events.ItemDone(output_index=self.index, item=self.item(status))]

    @abstractmethod
    def item(self, status: ItemStatus) -> Item:
        """As far as it has come; in progress: without its part."""

    @abstractmethod
    def delta(self, text: str) -> Event:
        """The event of a piece of text."""

    def _begin_part(self) -> list[Event]:
        return []

    @abstractmethod
    def _end_part(self) -> list[Event]: ...


class OpenMessage(OpenItem):
    """The answer in words."""

    prefix = "msg"

    def __init__(self, index: int):
        super().__init__(index)
        self.logprobs: list[ResponseLogprob] = []

    def add(self, text: str, logprobs: list[ResponseLogprob]) -> list[Event]:
        """Text, or logprobs of tokens without any."""
        self.texts.append(text)
        self.logprobs += logprobs
        return [events.TextDelta(**self.place, delta=text, logprobs=logprobs)] if text or logprobs else []

    def delta(self, text: str) -> Event:
        """Without logprobs."""
        return events.TextDelta(**self.place, delta=text)

    def item(self, status: ItemStatus) -> Item:
        """See OpenItem."""
        return MessageItem(self.id, status, [] if status == "in_progress" else [self._part])

    @property
    def _part(self) -> OutputText:
        return OutputText(self.text, self.logprobs)

    def _begin_part(self) -> list[Event]:
        return [events.PartAdded(**self.place, part=OutputText(""))]

    def _end_part(self) -> list[Event]:
        part = self._part
        return [
            events.TextDone(**self.place, text=part.text, logprobs=part.logprobs),
            events.PartDone(**self.place, part=part),
        ]


class OpenReasoning(OpenItem):
    """What the model thinks. `encrypts`: its text is also told as one that clients hand back."""

    prefix = "rs"

    def __init__(self, index: int, encrypts: bool):
        super().__init__(index)
        self._encrypts = encrypts

    def item(self, status: ItemStatus) -> Item:
        """See OpenItem."""
        content = [] if status == "in_progress" else [ReasoningText(self.text)]
        return ReasoningItem(self.id, status, [], content, self._encrypted)

    @property
    def _encrypted(self) -> str | UnsetType:
        return sealed.sealed(self.text) if self._encrypts else UNSET

    def delta(self, text: str) -> Event:
        """See OpenItem."""
        return events.ReasoningDelta(**self.place, delta=text)

    def _begin_part(self) -> list[Event]:
        return [events.PartAdded(**self.place, part=ReasoningText(""))]

    def _end_part(self) -> list[Event]:
        text = self.text
        return [
            events.ReasoningDone(**self.place, text=text),
            events.PartDone(**self.place, part=ReasoningText(text)),
        ]


class OpenSummary(OpenReasoning):
    """The same as a summary."""

    def item(self, status: ItemStatus) -> Item:
        """See OpenItem."""
        summary = [] if status == "in_progress" else [SummaryText(self.text)]
        return ReasoningItem(self.id, status, summary, UNSET, self._encrypted)

    def delta(self, text: str) -> Event:
        """See OpenItem."""
        return events.SummaryDelta(**self.place, delta=text)

    def _begin_part(self) -> list[Event]:
        return [events.SummaryPartAdded(**self.place, part=SummaryText(""))]

    def _end_part(self) -> list[Event]:
        text = self.text
        return [
            events.SummaryDone(**self.place, text=text),
            events.SummaryPartDone(**self.place, part=SummaryText(text)),
        ]


class OpenCall(OpenItem):
    """A call of a function. Its text is the arguments."""

    prefix = "fc"

    def __init__(self, index: int, call_id: str, tool: CalledTool):
        super().__init__(index)
        self._call_id = call_id
        self._name = tool.name
        self._namespace = tool.namespace or UNSET

    def item(self, status: ItemStatus) -> Item:
        """See OpenItem."""
        arguments = "" if status == "in_progress" else self.text
        return FunctionCallItem(self.id, status, self._call_id, self._name, arguments, self._namespace)

    def delta(self, text: str) -> Event:
        """See OpenItem."""
        return events.ArgumentsDelta(**self.place, delta=text)

    def _end_part(self) -> list[Event]:
        return [events.ArgumentsDone(**self.place, arguments=self.text, name=self._name)]


class OpenCustomCall(OpenCall):
    """A call of a custom tool. What is added is JSON; its text is the input that this writes."""

    prefix = "ctc"

    def __init__(self, index: int, call_id: str, tool: CalledTool):
        super().__init__(index, call_id, tool)
        self._input = CustomInput()

    def add(self, text: str, logprobs: list[ResponseLogprob]) -> list[Event]:
        """See OpenItem."""
        return super().add(self._input.feed(text), logprobs)

    def end(self, status: ItemStatus) -> list[Event]:
        """With what is no input in the form that was asked for, as it is."""
        return super().add(self._input.flush(), []) + super().end(status)

    def item(self, status: ItemStatus) -> Item:
        """See OpenItem."""
        text = "" if status == "in_progress" else self.text
        return CustomToolCallItem(self.id, status, self._call_id, self._name, text, self._namespace)

    def delta(self, text: str) -> Event:
        """See OpenItem."""
        return events.InputDelta(**self.place, delta=text)

    def _end_part(self) -> list[Event]:
        return [events.InputDone(**self.place, input=self.text)]
