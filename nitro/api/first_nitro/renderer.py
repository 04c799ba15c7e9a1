"""The first Nitro's replies: events → bytes, as its JSON library wrote them. Source: v0.3.22, controllers/llamaCPP.cc.

Keys are sorted, and what is not ASCII is escaped: its clients decode each piece of a stream by itself, so that no
character may lie across two. They also read every line as data, so that there are no comments, and a stream that fails
just ends. What has no place in these replies, a model's reasoning, stands in the text as `<think>…</think>`.
"""

import json
import random
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nitro.api import sse
from nitro.errors import ApiError
from nitro.service.events import Event, ReasoningDelta, Started, TextDelta
from nitro.service.renderer import Answer

ID_LENGTH = 20
NAME = "_"  # of every model, and of the system's fingerprint
THINK, ANSWER = "<think>", "</think>"
_SPACE = " \t\n\v\f\r"
_CHARACTERS = string.ascii_letters + string.digits

_escape = json.encoder.encode_basestring_ascii


class FirstNitroRenderer:
    """A `Renderer` of one choice. Each delta is an event, with an id of its own; the last two are sent together."""

    media_type: str = sse.MEDIA_TYPE
    headers: Mapping[str, str] = {**sse.HEADERS, "content-disposition": "attachment; filename=chat_completions.txt"}

    def __init__(self, started: Started, options: bytes, noted: Callable[[bytes], None] = lambda options: None):
        """`noted` gets the request's options, for `modelstatus`."""
        noted(options)
        self._created = started.created
        self._text = _Text()
        self._failed = False

    def opening(self) -> bytes:
        """Nothing: there is no event with a role."""
        return b""

    def events(self, burst: Sequence[Event]) -> bytes:
        """An event for each delta that says something."""
        texts = (self._text.of(event) for event in burst)
        return b"".join(self._frame(text, "null") for text in texts if text)

    def idle(self) -> bytes:
        """Nothing: some of its clients read each line as data, comments too."""
        return b""

    def error(self, error: ApiError) -> bytes:
        """Nothing: the stream ends, without its last events."""
        self._failed = True
        return b""

    def closing(self) -> bytes:
        """The two events that say that all has come."""
        return b"" if self._failed else self._frame("", '"stop"') + sse.DONE

    def whole(self, answer: Answer) -> bytes:
        """JSON. Why the answer ended is not in it."""
        choice, usage = answer.choices[0], answer.done.usage
        text = _Text()
        content = text.more(choice.reasoning, thinks=True) + text.more(choice.content)
        reply = {
            "choices": [{"finish_reason": None, "index": 0, "message": {"content": content, "role": "assistant"}}],
            "created": self._created,
            "id": random_id(),
            "model": NAME,
            "object": "chat.completion",
            "system_fingerprint": NAME,
            "usage": {
                "completion_tokens": usage.completion_tokens,
                "prompt_tokens": usage.prompt_tokens,
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            },
        }
        return encode(reply)

    def _frame(self, text: str, finish: str) -> bytes:
        frame = (
            f'data: {{"choices":[{{"delta":{{"content":{_escape(text)}}},"finish_reason":{finish},"index":0}}],'
            f'"created":{self._created},"id":"{random_id()}","model":"{NAME}","object":"chat.completion.chunk"}}\n\n'
        )
        return frame.encode()


class _Text:
    """The text of an answer as it comes: without space before it, and with the reasoning in it."""

    def __init__(self) -> None:
        self._begun = self._thinks = False

    def of(self, event: Event) -> str:
        """What an event adds."""
        if isinstance(event, ReasoningDelta):
            return self.more(event.text, thinks=True)
        return self.more(event.text) if isinstance(event, TextDelta) else ""

    def more(self, text: str, thinks: bool = False) -> str:
        """What this text adds, which the answer has or the model `thinks`."""
        if not self._begun:
            text = text.lstrip(_SPACE)
        if not text:
            return ""
        if thinks != self._thinks:
            self._thinks = thinks
            text = (THINK if thinks else ANSWER) + text
        self._begun = True
        return text


def encode(value: Any) -> bytes:
    """JSON as drogon wrote it: compact and in ASCII, the keys in the order that they have."""
    return json.dumps(value, separators=(",", ":")).encode()


def random_id() -> str:
    """20 letters and digits. They need not be hard to guess."""
    return "".join(random.choices(_CHARACTERS, k=ID_LENGTH))
