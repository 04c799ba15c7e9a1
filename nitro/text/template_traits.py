"""What chat templates take, and what not: a row for each trait in which they differ.

A trait has kinds, such as "a system message between the assistant and the user". Whether a template takes a kind is
found by trying it: a small conversation of that kind is rendered, and all that is said in it must be in the prompt.
Where it is not, the first of the trait's mends that helps is used. message_normalizer.py tries; this file has only the
rows. Tried in the order of the rows, so a mend may rely on those of the rows below it.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nitro.text import message_mends as mends
from nitro.text.conversation_shape import BOTH, CALLS, END, INSTRUCTIONS, REASONING_NAMES, SEVERAL, TEXT, Shape
from nitro.text.message_mends import Mend
from nitro.text.tools import ChatMessage

Messages = list[ChatMessage]


@dataclass(frozen=True, slots=True)
class Probe:
    """A conversation that is rendered to find out whether a template takes its kind."""

    messages: Messages
    unlike: Messages | None = None  # a conversation whose prompt must be another
    named: Messages | None = None  # the same with HOLE in it: the prompt must not be this one's with nothing for HOLE


@dataclass(frozen=True, slots=True)
class Trait:
    """Something in which templates differ. `kinds`: those that a conversation has; `probes`: how to try one."""

    name: str
    kinds: Callable[[Shape], Iterable[Hashable]]
    probes: Callable[[Any], list[Probe]]
    mends: tuple[Mend, ...]


def _word(name: str) -> str:
    """A text that no template has."""
    return f"zq{name}qz"


def _user(name: str = "user") -> ChatMessage:
    return {"role": "user", "content": _word(name)}


def _said(name: str = "answer") -> ChatMessage:
    return {"role": "assistant", "content": _word(name)}


def _told(role: str = "system", name: str = "told") -> ChatMessage:
    return {"role": role, "content": _word(name)}


def _calls(*names: str, text: str = "", reasoning: str = "", id: str | None = "zq{}000") -> ChatMessage:
    calls = [
        {
            **({} if id is None else {"id": _id(name, id)}),
            "type": "function",
            "function": {"name": TOOL, "arguments": {"text": _word(f"argument{name}")}},
        }
        for name in names
    ]
    thought = dict.fromkeys(REASONING_NAMES, reasoning) if reasoning else {}
    return {"role": "assistant", "content": text, **thought, "tool_calls": calls}


def _result(name: str = "one", id: str | None = "zq{}000") -> ChatMessage:
    ids = {} if id is None else {"tool_call_id": _id(name, id)}
    return {"role": "tool", **ids, "content": _word(f"result{name}")}


def _id(name: str, layout: str) -> str:
    return layout.format(f"{name:0<4}"[:4])


HOLE = _word("name")
TOOL = _word("tool")
TOOLS: list[ChatMessage] = [
    {
        "type": "function",
        "function": {
            "name": TOOL,
            "description": "Takes a text.",
            "parameters": {"type": "object", "properties": {"text": {"type": "string", "description": "Any."}}},
        },
    }
]
LONG_ID = "call_{}_0123456789abcdef"
_TURN = [_user(), _said()]
_CALLED = [_user(), _calls("one")]
_CUT_SHORT = '{"text": "' + _word("cut")
_AGAIN = [_said("end"), _user("again")]  # what may follow
_BEFORE: dict[str, Messages] = {
    "user": [_user()],
    "assistant": _TURN,
    CALLS: _CALLED,
    "tool": [*_CALLED, _result()],
}
_AFTER: dict[str, Messages] = {
    "user": [_user("next")],
    "assistant": [_said("next"), _user("again")],
    CALLS: [_calls("two"), _result("two")],
    "tool": [_result()],
    END: [],
}


def text_arguments() -> Probe:
    """Is rendered by templates that take the arguments of a call as a text, whatever it says."""
    call = _calls("one")["tool_calls"][0]
    call = {**call, "function": {**call["function"], "arguments": _CUT_SHORT}}
    return Probe([_user(), {"role": "assistant", "content": "", "tool_calls": [call]}, _result()])


def words(messages: Sequence[ChatMessage]) -> Iterable[str]:
    """All that is said in a probe but reasoning, which templates leave out where they see fit."""
    for message in messages:
        yield message["content"].strip()
        for call in message.get("tool_calls") or ():
            arguments = call["function"]["arguments"]
            yield from arguments.values() if isinstance(arguments, dict) else (_word("cut"),)


def _leading_kinds(shape: Shape) -> Iterable[Hashable]:
    return [tuple(shape.kinds[: min(shape.lead, 3)])] if shape.lead > 1 else []


def _leading_probes(kind: tuple[str, ...]) -> list[Probe]:
    return [Probe([*(_told(role, f"told{i}") for i, role in enumerate(kind)), _user()])]


def _later_kinds(shape: Shape) -> Iterable[Hashable]:
    """Whether there are instructions at the beginning, the role of the later ones, what is before and after them. Or
    that there are several."""
    found: dict[Hashable, None] = {}
    before = ""
    for i, kind in enumerate(shape.kinds):
        if kind not in INSTRUCTIONS:
            before = kind
        elif before:
            if found:
                found["several"] = None
            after = next((kind for kind in shape.kinds[i:] if kind not in INSTRUCTIONS), END)
            found[shape.lead > 0, kind, before, after] = None
    return found


def _later_probes(kind: Any) -> list[Probe]:
    if kind == "several":
        several = [
            *_TURN,
            _told(),
            _told(name="more"),
            _user("again"),
            _said("again"),
            _told(name="last"),
            _user("end"),
        ]
        return [Probe(several)]
    leads, role, before, after = kind
    lead = [_told(name="first")] if leads else []
    return [Probe([*lead, *_BEFORE.get(before, []), _told(role), *_AFTER.get(after, [])])]


def _beginning_told(shape: Shape) -> Iterable[Hashable]:
    """The role of instructions at the beginning, and what is last: some templates write them at the last turn."""
    return [(shape.kinds[0], shape.kinds[-1])] if shape.lead else []


def _beginning_told_probes(kind: tuple[str, str]) -> list[Probe]:
    role, last = kind
    return [Probe([_told(role), *(_BEFORE.get(last) or [_user()])])]


def _beginnings(shape: Shape) -> Iterable[Hashable]:
    """What is in the place of the user's first turn, whether instructions are before it, what follows it but calls and
    results, and whether the user says anything."""
    first = shape.kinds[shape.lead] if shape.lead < len(shape.kinds) else END
    if first not in ("assistant", CALLS, END):
        return []
    after = next((kind for kind in shape.kinds[shape.lead + 1 :] if kind in ("user", "assistant")), END)
    return [(first, shape.lead > 0, after, "user" in shape.kinds)]


def _beginning_probes(kind: tuple[str, bool, str, bool]) -> list[Probe]:
    first, leads, after, has_user = kind
    lead = [_told()] if leads else []
    begin: Messages = {"assistant": [_said()], CALLS: [_calls("one"), _result()]}.get(first, [])
    others = [*_AFTER[after][:1], *([_user("again")] if has_user and after != "user" else [])]
    as_user = [*lead, {**_said(), "role": "user"}, *others] if first == "assistant" and has_user else None
    return [Probe([*lead, *begin, *others], unlike=as_user)]


def _follows(*pairs: tuple[str, str]) -> Callable[[Shape], Iterable[Hashable]]:
    return lambda shape: [pair for pair in pairs if pair in shape.pairs]


def _left_unanswered(shape: Shape) -> Iterable[Hashable]:
    """CALLS or "tool", where the user goes on after these."""
    if "user" not in shape.kinds:
        return []
    kinds = shape.kinds[shape.kinds.index("user") + 1 :]
    return [kind for kind in (CALLS, "tool") if (kind, "user") in pairwise(kinds)]


def _empty_probes(role: str) -> list[Probe]:
    without = {"role": role, "content": ""}
    if role in INSTRUCTIONS:
        return [Probe([without, _user()])]
    if role == "tool":
        return [Probe([*_CALLED, {**_result(), "content": ""}])]
    return [Probe([_user(), without, _user("again")] if role == "assistant" else [without, *_AGAIN])]


def _id_probes(kind: str) -> list[Probe]:
    id = None if kind == "missing" else LONG_ID
    return [Probe([_user(), _calls("one", "two", id=id), _result(id=id), _result("two", id=id)])]


def _text_probes(kind: Hashable) -> list[Probe]:
    return [Probe([_user(), _calls("one", text=_word("text"), reasoning=_word("why") * (kind == BOTH)), _result()])]


def _past_probes(kind: tuple[str, str]) -> list[Probe]:
    text, ended = kind
    return [Probe([*probe.messages, *_AFTER[ended][:1]]) for probe in _text_probes(text)]


_SEVERAL = [_user(), _calls("one", "two"), _result(), _result("two")]
_NAMED = [*_CALLED, {**_result(), "name": HOLE}]

TRAITS: tuple[Trait, ...] = (
    Trait("ids of calls", lambda shape: sorted(shape.ids), _id_probes, (mends.with_nine_character_ids,)),
    Trait(
        "results without a name",
        lambda shape: ["unnamed"] if shape.unnamed else [],
        lambda kind: [Probe([*_CALLED, _result()], named=_NAMED)],
        (mends.with_names,),
    ),
    Trait("several instructions at the beginning", _leading_kinds, _leading_probes, (mends.leading_as_one,)),
    Trait("later instructions", _later_kinds, _later_probes, (mends.later_into_user, mends.later_into_leading)),
    Trait("instructions at the beginning", _beginning_told, _beginning_told_probes, (mends.all_into_user,)),
    Trait(
        "the developer's role",
        lambda shape: ["developer"] if "developer" in shape.kinds else [],
        lambda kind: [Probe([_told("developer"), _user()])],
        (mends.developer_as_system,),
    ),
    Trait(
        "no turn of the user at the beginning",
        _beginnings,
        _beginning_probes,
        (mends.begun_by_user,),
    ),
    Trait(
        "two turns of the assistant",
        _follows(("assistant", "assistant")),
        lambda kind: [Probe([*_TURN, _said("next"), _user("again")])],
        (mends.as_one_turn,),
    ),
    Trait(
        "calls after a text of their own",
        _follows(("assistant", CALLS)),
        lambda kind: [Probe([*_TURN, _calls("two"), _result("two"), _said("end")])],
        (mends.as_one_turn,),
    ),
    Trait(
        "text and calls in one message of a past turn",
        lambda shape: sorted(shape.past),
        _past_probes,
        (mends.text_at_end_of_turn,),
    ),
    Trait(
        "texts with calls, several in one turn",
        lambda shape: shape.texts & {SEVERAL},
        lambda kind: [Probe([*_text_probes(TEXT)[0].messages, _calls("two", text=_word("more")), _result("two")])],
        (mends.texts_into_first,),
    ),
    Trait(
        "text and calls in one message",
        lambda shape: sorted(shape.texts - {SEVERAL}),
        _text_probes,
        (mends.text_into_reasoning, mends.text_before_calls),
    ),
    Trait(
        "several calls in one message",
        lambda shape: ["several"] if shape.several else [],
        lambda kind: [Probe([*_SEVERAL, *_AGAIN])],
        (mends.one_call_each,),
    ),
    Trait(
        "the user after calls or their results",
        _left_unanswered,
        lambda kind: [Probe([*_BEFORE[kind], _user("next")])],
        (mends.answered_before_user,),
    ),
    Trait(
        "two turns of the user",
        _follows(("user", "user")),
        lambda kind: [Probe([_user(), _user("again")])],
        (mends.as_one_turn,),
    ),
    Trait(
        "messages without text",
        lambda shape: sorted(shape.empty),
        _empty_probes,
        (mends.with_space,),
    ),
)
