"""Conversations that every chat template is to render, and what some templates would rather be given."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nitro.text.family import ModelFamily
from nitro.text.tool_shapes import for_templates

Message = dict[str, Any]
MOMENT = (2026, 3, 14, 15, 9, 26)  # of all rendering


@dataclass(frozen=True)
class Conversation:
    """As clients send it, but for arguments of calls, which they write into texts. `variables` as a request names
    them; `given` are what the template sees of them."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    variables: Mapping[str, Any] | None = None
    given: Mapping[str, Any] | None = None
    prompts: bool = True  # the answer is to begin
    continues: bool = False


def says(role: str, content: Any, **more: Any) -> Message:
    return {"role": role, "content": content, **more}


def calls(content: str | None, *made: tuple[str, dict[str, Any]], **more: Any) -> Message:
    """With ids that Mistral's templates take."""
    functions = [{"name": name, "arguments": arguments} for name, arguments in made]
    ids = [{"id": f"callid00{i}", "type": "function", "function": each} for i, each in enumerate(functions)]
    return says("assistant", content, tool_calls=ids, **more)


def result(number: int, content: str, name: str = "get_weather") -> Message:
    return says("tool", content, tool_call_id=f"callid00{number}", name=name)


PLACE = {"type": "object", "properties": {"x": {"type": "number", "description": "East."}}, "description": "Where."}
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Its name."},
        "days": {"type": "integer", "description": "How many."},
        "place": PLACE,
        "tags": {"type": "array", "items": {"type": "string"}, "description": "Any."},
    },
    "required": ["city"],
}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": PARAMETERS}}
    for name in ("get_weather", "write_note")
]
SYSTEM, USER = says("system", "Be brief."), says("user", "What is the weather?")
RAIN, THANKS = says("assistant", "It rains."), says("user", "Thanks. And tomorrow?")
OSLO = ("get_weather", {"city": "Oslo", "days": 3})
NOTE = ("write_note", {"city": "Rome", "tags": ["a", "b"], "place": {"x": 1.5}})
LETTERS = 'Příliš <b>žluťoučký</b> "kůň" 🐎 日本語 \u2028 {{ x }}'
PARTS = [{"type": "text", "text": "What is"}, {"type": "text", "text": "the weather?"}]

CONVERSATIONS = {
    "user": Conversation([USER]),
    "system": Conversation([SYSTEM, USER]),
    "developer": Conversation([SYSTEM | {"role": "developer"}, USER]),
    "turns": Conversation([SYSTEM, USER, RAIN, THANKS, says("assistant", "Sun."), USER]),
    "no prompt": Conversation([USER, RAIN], prompts=False),
    "continued": Conversation([USER, RAIN], prompts=False, continues=True),
    "user twice": Conversation([USER, THANKS]),
    "assistant first": Conversation([RAIN, USER]),
    "system later": Conversation([USER, SYSTEM, USER]),
    "spaces": Conversation(
        [says("system", " \n be \n"), says("user", "\n hi \n "), says("assistant", " ho\n\n"), USER]
    ),
    "letters": Conversation([says("system", LETTERS), says("user", LETTERS), says("assistant", LETTERS), USER]),
    "one part": Conversation([says("user", PARTS[:1])]),
    "two parts": Conversation([says("user", PARTS)]),
    "tools": Conversation([USER], TOOLS),
    "system and tools": Conversation([SYSTEM, USER], TOOLS),
    "call": Conversation([USER, calls("", OSLO), result(0, '{"rain": true}')], TOOLS),
    "call, null": Conversation([USER, calls(None, OSLO), result(0, '{"rain": true}')], TOOLS),
    "call, answered": Conversation([SYSTEM, USER, calls("", OSLO), result(0, "Rain."), RAIN, THANKS], TOOLS),
    "call, text": Conversation([USER, calls("Let me see.", OSLO), result(0, "Rain."), RAIN], TOOLS, prompts=False),
    "call, no tools": Conversation([USER, calls("", OSLO), result(0, "Rain.")]),
    "call, letters": Conversation([USER, calls("", ("get_weather", {"city": LETTERS})), result(0, LETTERS)], TOOLS),
    "two calls": Conversation([USER, calls("", OSLO, NOTE), result(0, "Rain."), result(1, "OK", "write_note")], TOOLS),
    "reasoning": Conversation([USER, RAIN | {"reasoning_content": "I think."}, THANKS]),
    "reasoning, call": Conversation([USER, calls("", OSLO, reasoning_content="I see."), result(0, "Rain.")], TOOLS),
    "thinking on": Conversation([USER], None, {"enable_thinking": True}, {"enable_thinking": True, "thinking": True}),
    "thinking off": Conversation(
        [USER], None, {"enable_thinking": False}, {"enable_thinking": False, "thinking": False}
    ),
    "effort": Conversation(
        [USER],
        None,
        {"reasoning_effort": "low"},
        {"enable_thinking": True, "thinking": True, "reasoning_effort": "low"},
    ),
}


# What transformers' renderer is given instead, so that it writes what ours does, each with the reason

Change = Callable[[Conversation, ModelFamily], Conversation]


def _each(change: Callable[[Message], Message]) -> Change:
    return lambda given, _: replace(given, messages=[change(message) for message in given.messages])


def _no_null(message: Message) -> Message:
    return message | {"content": ""} if message["content"] is None else message


def _joined(message: Message) -> Message:
    content = message["content"]
    return message | {"content": "\n".join(part["text"] for part in content)} if isinstance(content, list) else message


def _as_system(message: Message) -> Message:
    return message | {"role": "system"} if message["role"] == "developer" else message


def _arguments_in_texts(message: Message) -> Message:
    made = [call["function"] for call in message.get("tool_calls", ())]
    texts = [each | {"arguments": json.dumps(each["arguments"], ensure_ascii=False)} for each in made]
    return message | {"tool_calls": [{"type": "function", "function": each} for each in texts]} if made else message


def _all_names(message: Message) -> Message:
    reasoning = message.get("reasoning_content")
    return message | {"reasoning": reasoning} if reasoning else message


def _told(given: Conversation, family: ModelFamily) -> Conversation:
    messages, tools = family.template_inputs(_each(_no_null)(given, family).messages, given.tools)
    return replace(given, messages=list(messages), tools=tools)


def _no_tools(given: Conversation, _: ModelFamily) -> Conversation:
    return replace(given, tools=given.tools or [])


def _whole_tools(given: Conversation, _: ModelFamily) -> Conversation:
    return replace(given, tools=next(for_templates(given.tools), given.tools))


def _functions(given: Conversation, _: ModelFamily) -> Conversation:
    named = {"functions": json.dumps(given.tools or []), "datetime": f"{datetime(*MOMENT):%Y-%m-%d}"}
    return replace(given, given={**named, **(given.given or {})})


CHANGES: dict[str, tuple[str, Change]] = {
    "null": ("a null content is an empty text; templates print None, or fail", _each(_no_null)),
    "joined": ("it takes no parts: they are a text of lines", _each(_joined)),
    "developer": ("it knows no such role", _each(_as_system)),
    "told": ("it leaves tools or calls out: they are told in words", _told),
    "texts": ("it only puts arguments together, so they are texts", _each(_arguments_in_texts)),
    "empty": (
        "it goes through tools even where there are none",
        _no_tools,
    ),
    "whole": ("it needs what tools may leave out", _whole_tools),
    "functions": ("it asks for variables of its own", _functions),
    "names": ("it knows reasoning by a name that only ours tells, too", _each(_all_names)),
}
