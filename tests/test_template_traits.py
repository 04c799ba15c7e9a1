"""Every chat template of llama.cpp's collection takes every conversation that the OpenAI API allows, with all that is
said in it. What a template takes as it is, it gets as it is."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import sdist

from nitro.errors import TemplateError
from nitro.text.family import ModelFamily
from nitro.text.message_mends import results_in_order
from nitro.text.template import ChatTemplate
from nitro.text.template_traits import TRAITS
from nitro.text.tools import ChatMessage

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "description": "Its name."}}, "required": []}
TOLD = [
    {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": PARAMETERS}}
    for name in ("get_weather", "write_note")
]
REASONING_NAMES = ("reasoning_content", "reasoning", "thinking")
LONG = "call_Xa1b2c3d4e5f6g7h8"  # an id as other servers make them


def says(role: str, content: str) -> ChatMessage:
    return {"role": role, "content": content}


def calls(*cities: str, content: str = "", reasoning: str = "", ids: str | None = "callid00{}") -> ChatMessage:
    """A call for each of the cities; its id is `ids` with its number."""
    made = [
        {
            **({"id": ids.format(i)} if ids else {}),
            "type": "function",
            "function": {"name": ("get_weather", "write_note")[i % 2], "arguments": {"city": city} if city else {}},
        }
        for i, city in enumerate(cities)
    ]
    return (
        says("assistant", content)
        | dict.fromkeys(REASONING_NAMES if reasoning else (), reasoning)
        | {"tool_calls": made}
    )


def result(number: int, content: str, ids: str | None = "callid00{}") -> ChatMessage:
    return says("tool", content) | ({"tool_call_id": ids.format(number)} if ids else {})


USER, AGAIN, ANSWER = says("user", "w-user"), says("user", "w-again"), says("assistant", "w-answer")
SYSTEM, MORE, DEVELOPER = says("system", "w-system"), says("system", "w-more"), says("developer", "w-developer")
CALL, RESULT = calls("w-oslo"), result(0, "w-rain")
CALLED = [USER, CALL, RESULT]
TWO, SUN = calls("w-oslo", "w-rome"), result(1, "w-sun")
ALL = calls("w-oslo", content="w-text", reasoning="w-why")
CONVERSATIONS: dict[str, list[ChatMessage]] = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "developer": [DEVELOPER, USER],
    "turns": [SYSTEM, USER, ANSWER, AGAIN],
    "continued": [USER, ANSWER],
    "two systems": [SYSTEM, MORE, USER],
    "system, developer": [SYSTEM, DEVELOPER, USER],
    "developer, system": [DEVELOPER, SYSTEM, USER],
    "three systems": [SYSTEM, MORE, DEVELOPER, USER],
    "system later": [USER, ANSWER, SYSTEM, AGAIN],
    "developer later": [USER, ANSWER, DEVELOPER, AGAIN],
    "systems first and later": [SYSTEM, USER, ANSWER, MORE, AGAIN],
    "system after the user": [USER, SYSTEM],
    "system last": [USER, ANSWER, SYSTEM],
    "two systems later": [USER, ANSWER, SYSTEM, MORE, AGAIN],
    "a system at every turn": [SYSTEM, USER, ANSWER, MORE, AGAIN, ANSWER, DEVELOPER, AGAIN],
    "nothing but a system": [SYSTEM],
    "nothing but systems": [SYSTEM, DEVELOPER],
    "nothing but the assistant": [ANSWER],
    "user twice": [USER, AGAIN],
    "assistant twice": [USER, says("assistant", "w-begin"), ANSWER, AGAIN],
    "assistant first": [ANSWER, USER],
    "system, assistant first": [SYSTEM, ANSWER, USER],
    "empty user": [says("user", ""), ANSWER, USER],
    "empty assistant": [USER, says("assistant", ""), AGAIN],
    "empty system": [says("system", ""), USER],
    "call": CALLED,
    "call, system": [SYSTEM, *CALLED],
    "call, answered": [*CALLED, ANSWER, AGAIN],
    "call, other ids": [
        USER,
        calls("w-oslo", "w-rome", ids=LONG + "{}"),
        *(result(i, "w-rain", LONG + "{}") for i in (0, 1)),
    ],
    "call, no ids": [USER, calls("w-oslo", ids=None), result(0, "w-rain", None)],
    "call, named result": [USER, CALL, RESULT | {"name": "get_weather"}],
    "call, nothing in": [USER, calls(""), RESULT],
    "call, nothing out": [USER, CALL, result(0, "")],
    "call, text": [USER, calls("w-oslo", content="w-text"), RESULT],
    "call, reasoning": [USER, calls("w-oslo", reasoning="w-why"), RESULT],
    "call, all": [USER, ALL, RESULT],
    "call, all, answered": [USER, ALL, RESULT, ANSWER],
    "call, all, answered, user": [SYSTEM, USER, ALL, RESULT, ANSWER, AGAIN],
    "call, all, user": [USER, ALL, RESULT, AGAIN],
    "call, all, twice": [USER, ALL, RESULT, calls("w-rome", content="w-next", reasoning="w-why"), RESULT],
    "call, all, two": [
        USER,
        calls("w-oslo", "w-rome", content="w-text", reasoning="w-why"),
        RESULT,
        SUN,
    ],
    "two calls": [USER, TWO, RESULT, SUN],
    "two calls, reversed": [USER, TWO, SUN, RESULT],
    "two calls, answered": [USER, TWO, RESULT, SUN, ANSWER, AGAIN],
    "three calls": [
        USER,
        calls("w-oslo", "w-rome", "w-bonn"),
        result(2, "w-fog"),
        result(0, "w-rain"),
        SUN,
    ],
    "call after call": [*CALLED, calls("w-rome"), result(0, "w-sun")],
    "call after a text": [USER, says("assistant", "w-begin"), CALL, RESULT, ANSWER],
    "call first": [CALL, RESULT, USER],
    "call, user": [*CALLED, AGAIN],
    "call, user, call": [*CALLED, AGAIN, calls("w-rome"), result(0, "w-sun")],
    "call, system behind": [*CALLED, SYSTEM],
    "call, system between": [USER, CALL, SYSTEM, RESULT],
    "call without a result": [USER, CALL, AGAIN],
}
# What is said and not in the prompt, and why
LOST: dict[tuple[str, str], str] = {}


def said(messages: Sequence[ChatMessage]) -> list[str]:
    """All of it but reasoning, which templates leave out where they see fit."""
    made = [call["function"] for message in messages for call in message.get("tool_calls", ())]
    texts = [message["content"] for message in messages]
    return [*filter(None, texts), *(word for each in made for word in (each["name"], *each["arguments"].values()))]


@cache
def compiled(name: str) -> tuple[ChatTemplate, ModelFamily]:
    source = sdist.templates()[name]
    return ChatTemplate(source, bos="<s>", eos="</s>"), ModelFamily.of(source)


@pytest.mark.parametrize("name", sdist.templates())
def test_all_that_is_said_is_in_the_prompt(name: str) -> None:
    """With tools and without; whether the template takes it so or not."""
    template, family = compiled(name)
    lost = set()
    for title, messages in CONVERSATIONS.items():
        for tools in (TOLD, None):
            text = family.prompt(template, messages, tools)
            if any(word not in text for word in said(messages)):
                lost.add((name, title))
    assert lost == {case for case in LOST if case[0] == name}


# Taken before as they are, and yet another text now: what else was lost, or told wrong
OTHERWISE = {
    "assistant first": "its turn was written as the user's",
    "nothing but systems": "the last of them was written as the user's turn",
    "nothing but the assistant": "its turn was written as the user's",
    "call first": "the call was written as the user's turn",
    "system, assistant first": "its turn was written as the user's",
}


@pytest.mark.parametrize("name", sdist.templates())
def test_what_a_template_takes_stays_as_it_is(name: str) -> None:
    template, family = compiled(name)
    for title, messages in CONVERSATIONS.items():
        for tools in (TOLD, None):
            inputs, described = family.template_inputs(results_in_order(messages), tools)
            words = [*said(messages), *(["Does write_note."] if tools else [])]
            try:
                text = template.render(inputs, described)
            except TemplateError:
                continue
            if all(word in text for word in words) and title not in OTHERWISE:
                assert family.prompt(template, messages, tools) == text, title


def test_every_mend_is_needed_by_a_template() -> None:
    """A row that no template needs, or a mend that helps none, is to go."""
    used = set()
    named = ChatTemplate(NATIVE + CALLS), ModelFamily.of(NATIVE + CALLS)
    for template, family in [named, *map(compiled, sdist.templates())]:
        for messages in CONVERSATIONS.values():
            family.prompt(template, messages, TOLD)
        used |= {(row, mend) for _, force, row, mend in _found(template) if not force}
    unused = {(trait.name, i) for trait in TRAITS for i in range(1, len(trait.mends) + 1)} - used
    assert not unused


def _found(template: ChatTemplate) -> list[tuple[bool, bool, str, int]]:
    keys: list[Any] = [key for key in template.findings if len(key) == 4]
    return [
        (with_tools, force, row, template.findings[with_tools, force, row, kind])
        for with_tools, force, row, kind in keys
    ]


NUMBER = {"type": "object", "properties": {"x": {"type": "number"}}}
CHOICE = {"anyOf": [{"type": "null"}, {"type": "string"}]}
BARE_TOOLS: dict[str, dict[str, Any]] = {
    "name": {},
    "no description": {"parameters": PARAMETERS},
    "no parameters": {"description": "Does it."},
    "no properties": {"description": "Does it.", "parameters": {"type": "object"}},
    "empty": {"description": "", "parameters": {}},
    "no required": {"parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    "no type": {"parameters": {"type": "object", "properties": {"city": {}}}},
    "nested": {"parameters": {"type": "object", "properties": {"at": NUMBER}}},
    "choice": {"parameters": {"properties": {"a": {"enum": ["b"]}, "c": CHOICE}}},
}


@pytest.mark.parametrize("name", sdist.templates())
def test_a_tool_needs_no_more_than_its_name(name: str) -> None:
    template, family = compiled(name)
    for title, more in BARE_TOOLS.items():
        tool = {"type": "function", "function": {"name": "get_weather", **more}}
        assert "get_weather" in family.prompt(template, CALLED, [tool]), title


# Where text goes


def prompt(source: str, *messages: ChatMessage, tools: Any = None) -> str:
    return ModelFamily.of(source).prompt(ChatTemplate(source), list(messages), tools)


LINES = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system.') }}{% endif %}{% endfor %}"
)
FIRST_ONLY = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('First!') }}{% endif %}"
    "{% endfor %}"
)
ALTERNATING = (
    "{% set turns = messages | rejectattr('role', 'equalto', 'system') | list %}"
    "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Alternate!') }}"
    "{% endif %}{% endfor %}"
)
A, B, C = says("system", "A"), says("system", "B"), says("system", "C")
X, Y, Z = says("user", "x"), says("assistant", "y"), says("user", "z")


@pytest.mark.parametrize(
    "check, messages, text",
    [
        ("", [A, X, B, Y, C], "system: A\nuser: x\nsystem: B\nassistant: y\nsystem: C\n"),
        (NO_SYSTEM, [A, X], "user: A\n\nx\n"),
        (NO_SYSTEM, [A, B, X, Y, C, Z], "user: A\n\nB\n\nx\nassistant: y\nuser: C\n\nz\n"),
        (NO_SYSTEM, [A], "user: A\n"),
        (FIRST_ONLY, [A, B, X], "system: A\n\nB\nuser: x\n"),
        (FIRST_ONLY, [A, X, Y, B, Z], "system: A\nuser: x\nassistant: y\nuser: B\n\nz\n"),
        (FIRST_ONLY, [X, A], "user: x\n\nA\n"),
        (FIRST_ONLY, [X, Y, A], "user: x\nassistant: y\nuser: A\n"),
        (ALTERNATING, [X, Z, Y, Y, Z], "user: x\n\nz\nassistant: y\n\ny\nuser: z\n"),
        (ALTERNATING, [A, Y, Z], "system: A\nuser: \nassistant: y\nuser: z\n"),
        (ALTERNATING + FIRST_ONLY, [A, X, Y, B, Z], "system: A\nuser: x\nassistant: y\nuser: B\n\nz\n"),
        (ALTERNATING + FIRST_ONLY, [X, B, Z], "user: x\n\nB\n\nz\n"),
    ],
)
def test_where_text_goes(check: str, messages: list[ChatMessage], text: str) -> None:
    assert prompt(check + LINES, *messages) == text


def test_a_developer_that_a_template_drops_is_the_system() -> None:
    source = "{% for m in messages %}{% if m.role == 'developer' %}{% else %}" + LINES.partition("%}")[2].replace(
        "{% endfor %}", "{% endif %}{% endfor %}"
    )
    assert prompt(source, says("developer", "D"), X) == "system: D\nuser: x\n"


# Calls

NATIVE = "{# tools <tool_call> <tools> #}"
CALLS = (
    "{% for m in messages %}{{ m.role }}({{ m.tool_call_id }}{{ m.name }}): {{ m.content }}"
    "{% for c in m.tool_calls or [] %}[{{ c.id }} {{ c.function.arguments | items | list }}]{% endfor %}\n{% endfor %}"
)


def test_results_are_put_in_the_order_of_the_calls() -> None:
    text = prompt(NATIVE + CALLS, USER, TWO, result(1, "two"), result(0, "one"), tools=TOLD)
    assert text.index("one") < text.index("two")


def test_a_result_is_named_where_the_template_has_a_place_for_it() -> None:
    assert "tool(callid000get_weather): w-rain" in prompt(NATIVE + CALLS, *CALLED, tools=TOLD)
    source = (NATIVE + CALLS).replace("{{ m.name }}", "{{ m.name or m.role }}")
    assert "tool(callid000tool): w-rain" in prompt(source, *CALLED, tools=TOLD)


@pytest.mark.parametrize("ids", ["other{}", None])
def test_a_result_whose_id_fits_no_call_is_named_in_order(ids: str | None) -> None:
    text = prompt(NATIVE + CALLS, USER, TWO, result(0, "w-rain", ids), result(1, "w-sun", ids), tools=TOLD)
    assert re.search(r"\(\S*get_weather\): w-rain", text) and re.search(r"\(\S*write_note\): w-sun", text)


@pytest.mark.parametrize("given", ["", " ", "null", None, "missing"])
def test_a_call_without_arguments_has_an_empty_object(given: str | None) -> None:
    function = {"name": "f"} | ({} if given == "missing" else {"arguments": given})
    call = {"id": "callid000", "type": "function", "function": function}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    assert "[callid000 []]" in prompt(NATIVE + CALLS, USER, message, RESULT, tools=TOLD)
    assert "arguments" not in function or function["arguments"] == given  # the client's own is left alone


@pytest.mark.parametrize("given", ["[1]", '{"city": "Os', "5", "hello"])
def test_arguments_that_are_no_object_are_refused_by_place_or_taken_as_they_are(given: str) -> None:
    bad = {"id": "callid001", "type": "function", "function": {"name": "f", "arguments": given}}
    message = {**TWO, "tool_calls": [TWO["tool_calls"][0], bad]}
    with pytest.raises(TemplateError, match=r"'messages\[1\]\.tool_calls\[1\]\.function\.arguments'") as caught:
        prompt(NATIVE + CALLS, USER, message, RESULT, tools=TOLD)
    assert caught.value.param == "messages[1].tool_calls[1].function.arguments"
    takes_texts = (NATIVE + CALLS).replace("| items | list", "| tojson")
    assert given.replace('"', '\\"') in prompt(takes_texts, USER, message, RESULT, tools=TOLD)


# Refusals that remain


def test_what_is_refused_is_named() -> None:
    strict = "{% if 'bad' in messages | join(attribute='content') %}{{ raise_exception('No such word.') }}{% endif %}"
    with pytest.raises(TemplateError) as caught:
        prompt(strict + LINES, X, Y, says("user", "bad"), Y, Z)
    assert str(caught.value) == "The chat template refused messages[2], which is from the user: No such word."
    assert caught.value.param == "messages[2]"


def test_a_refusal_is_told_before_what_a_template_stumbles_over() -> None:
    template = NATIVE + "{{ tools[0].function.description + '' }}{{ raise_exception('No such word.') }}"
    with pytest.raises(TemplateError, match="No such word"):
        prompt(template, X, tools=[{"type": "function", "function": {"name": "f"}}])


def test_a_template_that_refuses_all_names_none() -> None:
    with pytest.raises(TemplateError, match="refused the messages: Never") as caught:
        prompt("{{ raise_exception('Never.') }}", X, Y, Z)
    assert caught.value.param is None


def test_a_template_that_does_too_much_is_tried_once() -> None:
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    template = ChatTemplate(endless)
    with pytest.raises(TemplateError, match="too much"):
        ModelFamily.of(endless).prompt(template, [A, B, X, X, C, Y, Y], None)
    assert template.findings == {"hostile": 1}


def test_a_template_that_does_too_much_in_another_shape_is_not_tried_again() -> None:
    endless = "{% for i in range(99999) %}" * 2 + "{% endfor %}" * 2
    source = NATIVE + "{{ tools[0].function.description + '' }}" + endless
    template = ChatTemplate(source)
    with pytest.raises(TemplateError, match="it does too much"):
        ModelFamily.of(source).prompt(template, [X], [{"type": "function", "function": {"name": "f"}}])
