"""Ways to say a conversation in another order or form, for templates that do not take it as it is. All pure.

Each takes the messages, and the kind of thing that is to be mended (see template_traits.py).
"""

import hashlib
import string
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from typing import Any

from nitro.text.conversation_shape import (
    CALLS,
    INSTRUCTIONS,
    NINE,
    REASONING_NAMES,
    ended_by,
    function_of,
    last_places,
    reasoning_of,
)
from nitro.text.tools import ChatMessage

Messages = list[ChatMessage]
Mend = Callable[[Messages, Hashable], Messages]

_ALPHABET = string.digits + string.ascii_letters
_EMPTY_USER: ChatMessage = {"role": "user", "content": ""}
_EMPTY_ASSISTANT: ChatMessage = {"role": "assistant", "content": ""}


def joined(*texts: str) -> str:
    """The texts that are not empty, with a blank line between."""
    return "\n\n".join(text for text in texts if text)


def text_of(message: ChatMessage) -> str:
    """A message's text; "" where it has none."""
    return message.get("content") or ""


# Calls and their results


def results_in_order(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """Results that directly follow their calls, in the order of the calls: most templates write no ids. Where an id
    fits no call, all stay where they are."""
    made = list(messages)
    for i, message in enumerate(messages):
        calls = message.get("tool_calls") or ()
        if len(calls) < 2:
            continue
        places = {call.get("id"): place for place, call in reversed([*enumerate(calls)])}
        stop = _end_of_results(messages, i + 1)
        if all(result.get("tool_call_id") in places for result in messages[i + 1 : stop]):
            made[i + 1 : stop] = sorted(messages[i + 1 : stop], key=lambda result: places[result.get("tool_call_id")])
    return made


def with_nine_character_ids(messages: Messages, _: Hashable) -> Messages:
    """Each call with an id of nine letters and digits, the same for the same id, and each result with its call's."""
    made: Messages = []
    numbers = count()
    waiting: list[str] = []  # ids of calls whose results have none to tell which call they belong to
    for message in messages:
        if message.get("tool_calls"):
            ids = [_nine(call.get("id") or f"call {next(numbers)}") for call in message["tool_calls"]]
            waiting = [id for id, call in zip(ids, message["tool_calls"], strict=True) if not call.get("id")]
            calls = [{**call, "id": id} for id, call in zip(ids, message["tool_calls"], strict=True)]
            message = {**message, "tool_calls": calls}
        elif message["role"] == "tool":
            id = message.get("tool_call_id")
            message = {**message, "tool_call_id": _nine(id) if id else waiting.pop(0) if waiting else _nine("")}
        made.append(message)
    return made


def with_names(messages: Messages, _: Hashable) -> Messages:
    """Each result with the name of the function that was called: by its id or, where that fits no call, in order."""
    made: Messages = []
    names: dict[str, str] = {}
    waiting: list[str] = []  # names of the last calls whose results have not come
    for message in messages:
        if calls := message.get("tool_calls"):
            waiting = [function_of(call).get("name", "") for call in calls]
            names |= {call["id"]: name for call, name in zip(calls, waiting, strict=True) if call.get("id")}
        elif message["role"] == "tool":
            name = message.get("name") or names.get(message.get("tool_call_id") or "") or next(iter(waiting), "")
            if name in waiting:
                waiting.remove(name)
            if name and not message.get("name"):
                message = {**message, "name": name}
        made.append(message)
    return made


def one_call_each(messages: Messages, _: Hashable) -> Messages:
    """Several calls of one message as messages of one call, each with its result behind it."""
    made: Messages = []
    i = 0
    while i < len(messages):
        message, i = messages[i], i + 1
        calls = message.get("tool_calls") or ()
        if len(calls) < 2:
            made.append(message)
            continue
        stop = _end_of_results(messages, i)
        results, i = list(messages[i:stop]), stop
        for number, call in enumerate(calls):
            made.append({**(message if number == 0 else _without_texts(message)), "tool_calls": [call]})
            mine = [result for result in results if result.get("tool_call_id") == call.get("id")]
            mine = mine or results[:1] if not call.get("id") else mine
            made += mine
            results = [result for result in results if not any(result is each for each in mine)]
        made += results
    return made


def text_into_reasoning(messages: Messages, _: Hashable) -> Messages:
    """The text before calls as the end of the reasoning before it."""

    def mended(message: ChatMessage) -> Messages:
        text = joined(reasoning_of(message), text_of(message))
        return [{**message, "content": "", **{name: text for name in REASONING_NAMES if name in message}}]

    return _each(messages, lambda m: _has_text_and_calls(m) and bool(reasoning_of(m)), mended)


def text_before_calls(messages: Messages, _: Hashable) -> Messages:
    """The text before calls as a message of its own."""
    return _each(messages, _has_text_and_calls, lambda m: [_text_alone(m), {**m, "content": ""}])


def text_at_end_of_turn(messages: Messages, kind: Any) -> Messages:
    """The texts before the calls of past turns at the beginning of the answer that ends the turn, or as that answer."""
    made: Messages = []
    texts: list[str] = []
    for message, concerned in _of_past_turns(messages, kind):
        if concerned:
            texts.append(text_of(message))
            message = {**message, "content": ""}
        elif _kind(message) == "assistant":
            message, texts = {**message, "content": joined(*texts, text_of(message))}, []
        elif message["role"] == "user" and texts:
            made.append({"role": "assistant", "content": joined(*texts)})
            texts = []
        made.append(message)
    return made


def texts_into_first(messages: Messages, _: Hashable) -> Messages:
    """The texts before the calls of the turn that goes on, all before the first of them."""
    ends = _ends(messages)
    places = [i for i, m in enumerate(messages) if _has_text_and_calls(m) and not ended_by(i, ends)]
    made = list(messages)
    for place in places[1:]:
        made[place] = {**made[place], "content": ""}
    made[places[0]] = {**made[places[0]], "content": joined(*(text_of(messages[place]) for place in places))}
    return made


# Instructions


def leading_as_one(messages: Messages, _: Hashable) -> Messages:
    """The instructions at the beginning in one message."""
    lead = _lead(messages)
    return [{**messages[0], "content": joined(*(text_of(m) for m in messages[:lead]))}, *messages[lead:]]


def later_into_user(messages: Messages, _: Hashable) -> Messages:
    """Instructions after the beginning put into the user's turn that follows, or else the one before; as a turn of the
    user where there is neither."""
    lead = _lead(messages)
    return [*messages[:lead], *_instructions_into_user(messages[lead:])]


def later_into_leading(messages: Messages, _: Hashable) -> Messages:
    """Instructions after the beginning added to those at the beginning."""
    lead = _lead(messages)
    later = [text_of(m) for m in messages[lead:] if m["role"] in INSTRUCTIONS]
    others = [m for m in messages[lead:] if m["role"] not in INSTRUCTIONS]
    first: ChatMessage = messages[0] if lead else {"role": "system", "content": ""}
    texts = [text_of(m) for m in messages[:lead]]
    return [{**first, "content": joined(*texts, *later)}, *others]


def all_into_user(messages: Messages, _: Hashable) -> Messages:
    """All instructions put into turns of the user."""
    return _instructions_into_user(messages)


def developer_as_system(messages: Messages, _: Hashable) -> Messages:
    """The developer's messages as the system's."""
    return [{**m, "role": "system"} if m["role"] == "developer" else m for m in messages]


# Turns


def begun_by_user(messages: Messages, _: Hashable) -> Messages:
    """An empty turn of the user before the assistant's first."""
    lead = _lead(messages)
    return [*messages[:lead], _EMPTY_USER, *messages[lead:]]


def answered_before_user(messages: Messages, kind: Hashable) -> Messages:
    """An empty answer of the assistant between calls, or their results, and another turn of the user."""
    made: Messages = []
    has_user = False
    for message in messages:
        is_user = message["role"] == "user"
        if is_user and has_user and _kind(made[-1]) == kind:
            made.append(_EMPTY_ASSISTANT)
        made.append(message)
        has_user = has_user or is_user
    return made


def as_one_turn(messages: Messages, kind: Hashable) -> Messages:
    """Two turns of one role in a row as one."""
    return _between(messages, lambda one, other: (one, other) == kind, _as_one)


def with_space(messages: Messages, kind: Hashable) -> Messages:
    """A space where a message of this role has no text."""
    return [{**m, "content": " "} if _is_empty(m, kind) else m for m in messages]


def _end_of_results(messages: Sequence[ChatMessage], start: int) -> int:
    return next((i for i in range(start, len(messages)) if messages[i]["role"] != "tool"), len(messages))


def _nine(id: str) -> str:
    if NINE.fullmatch(id):
        return id
    number = int.from_bytes(hashlib.sha256(id.encode("utf-8", "surrogatepass")).digest()[:8])
    return "".join(_ALPHABET[number // 62**place % 62] for place in range(9))


def _has_text_and_calls(message: ChatMessage) -> bool:
    return bool(message.get("tool_calls") and message.get("content"))


def _ends(messages: Messages) -> dict[str, int]:
    return last_places([_kind(message) for message in messages])


def _of_past_turns(messages: Messages, kind: tuple[str, str]) -> list[tuple[ChatMessage, bool]]:
    """Each message, and whether it has a text and calls, and belongs to a turn that has ended as `kind` says."""
    ends = _ends(messages)
    return [(m, _has_text_and_calls(m) and ended_by(i, ends) == kind[1]) for i, m in enumerate(messages)]


def _text_alone(message: ChatMessage) -> ChatMessage:
    hidden = ("tool_calls", *REASONING_NAMES)
    return {key: value for key, value in message.items() if key not in hidden}


def _without_texts(message: ChatMessage) -> ChatMessage:
    return {**{k: v for k, v in message.items() if k not in REASONING_NAMES}, "content": ""}


def _each(
    messages: Messages, concerns: Callable[[ChatMessage], bool], mend: Callable[[ChatMessage], Messages]
) -> Messages:
    return [part for m in messages for part in (mend(m) if concerns(m) else [m])]


def _lead(messages: Messages) -> int:
    return next((i for i, m in enumerate(messages) if m["role"] not in INSTRUCTIONS), len(messages))


def _instructions_into_user(messages: Messages) -> Messages:
    made: Messages = []
    texts: list[str] = []  # instructions that wait for the message that follows
    for message in [*messages, None]:
        if message is not None and message["role"] in INSTRUCTIONS:
            texts.append(text_of(message))
            continue
        if texts and message is not None and message["role"] == "user":
            message = {**message, "content": joined(*texts, text_of(message))}
        elif texts and made and made[-1]["role"] == "user":
            made[-1] = {**made[-1], "content": joined(text_of(made[-1]), *texts)}
        elif texts:
            made.append({"role": "user", "content": joined(*texts)})
        texts = []
        if message is not None:
            made.append(message)
    return made


def _between(
    messages: Messages,
    concerns: Callable[[str, str], bool],
    mend: Callable[[ChatMessage, ChatMessage], Messages],
) -> Messages:
    made = messages[:1]
    for message in messages[1:]:
        made[-1:] = mend(made[-1], message) if concerns(_kind(made[-1]), _kind(message)) else [made[-1], message]
    return made


def _kind(message: ChatMessage) -> str:
    return CALLS if message.get("tool_calls") else str(message["role"])


def _as_one(one: ChatMessage, other: ChatMessage) -> Messages:
    both = {**one, **other, "content": joined(text_of(one), text_of(other))}
    reasoning = joined(reasoning_of(one), reasoning_of(other))
    return [both | (dict.fromkeys(REASONING_NAMES, reasoning) if reasoning else {})]


def _is_empty(message: ChatMessage, kind: Hashable) -> bool:
    return not message.get("content") and _kind(message) == kind
