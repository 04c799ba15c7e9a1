"""Real chat templates, some seventy: each is rendered with calls of tools in the history, and what the assistant said
there is read back by the format that the template belongs to. Their table is printed by `pytest -s -k table`."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import sdist

from nitro.errors import TemplateError
from nitro.text.deltas import Parser
from nitro.text.family import ModelFamily
from nitro.text.template import ChatTemplate
from nitro.text.tools import Tool

USER = {"role": "user", "content": "What is the weather?"}
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Its name."},
        "days": {"type": "integer", "description": "How many."},
        "exact": {"type": "boolean", "description": "With decimals."},
        "place": {"type": "object", "description": "Its name and where it is.", "additionalProperties": {}},
        "tags": {"type": "array", "items": {"type": "string"}, "description": "Any."},
        "text": {"type": "string", "description": "Any text."},
    },
    "required": [],
}
TOOLS = {name: Tool(name, PARAMETERS) for name in ("get_weather", "write_note")}
TOLD = [
    {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": PARAMETERS}}
    for name in TOOLS
]
# What ends an assistant's turn in the middle of what templates write for it: an engine stops there.
ENDS = (
    "<|eom_id|>",
    "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "<|tool_response>",
    "<｜hy_eos:opensource｜>",
)
Calls = list[tuple[str, dict[str, Any]]]
CASES: dict[str, Calls] = {
    "one": [("get_weather", {"city": "Oslo", "days": 3})],
    "two": [("get_weather", {"city": "Oslo"}), ("write_note", {"text": "wet"})],
    "nested": [("get_weather", {"place": {"name": "Oslo", "at": [1.5, -2]}, "tags": ["a", "b"], "exact": True})],
    "quotes": [("write_note", {"text": 'He said "yes"; \\ it\'s <b>fine</b> & {ok}\nNext [line], 5 > 3'})],
    "letters": [("write_note", {"text": "Příliš žluťoučký kůň 🐎 日本語"})],
    "number in a text": [("write_note", {"text": "0123"})],
    "no arguments": [("get_weather", {})],
}
SAYS, THINKS = "Let me see.", "I think."  # before a call
LEFT_OUT = "left out"  # of the history, by the template
_CUT_MARK = re.compile(r"(<[^<>]*|\[[A-Z_]*)$")
# Of templates that know tools, the cases that cannot be read back, and why.
_ONE = "it takes one call a message"
_FIRST = "it writes the first call of a message only"
EXPLAINED: dict[tuple[str, str], str] = {
    ("Apriel-1.6-15b-Thinker-fixed", "reasoning"): "its opening is in the prompt, and left out of the history",
    ("GigaChat3-10B-A1.8B", "two"): _FIRST,
    ("GigaChat3.1-10B-A1.8B", "two"): _FIRST,
    ("meta-llama-Llama-3.1-8B-Instruct", "two"): _ONE,
    ("meta-llama-Llama-3.2-3B-Instruct", "two"): _ONE,
    ("meta-llama-Llama-3.3-70B-Instruct", "two"): _ONE,
    ("openai-gpt-oss-120b", "text"): "it writes the text before a call as reasoning",
    ("llama-cpp-deepseek-r1", "text"): "it leaves the calls of a message with a text out",
    **{
        (template, "text"): "it, or Nitro for it, writes the text and the call as two turns"
        for template in (
            "Cohere2MoE",
            "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
            "MiniMax-M1",
            "Mistral-Small-3.2-24B-Instruct-2506",
            "NVIDIA-Nemotron-Nano-v2",
            "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
            "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
            "meta-llama-Llama-3.1-8B-Instruct",
            "meta-llama-Llama-3.2-3B-Instruct",
            "meta-llama-Llama-3.3-70B-Instruct",
            "mistralai-Mistral-Nemo-Instruct-2407",
        )
    },
}


@dataclass
class Line:
    """Of the table."""

    template: str
    renders: str = "yes"
    format: str = ""
    native: bool = False
    reasoning: str = ""
    cases: dict[str, str] = field(default_factory=dict)  # "ok", LEFT_OUT, or what went wrong

    @property
    def notes(self) -> str:
        """Why not all is well."""
        why = [EXPLAINED.get((self.template, case), LEFT_OUT) for case in self.cases if self.cases[case] != "ok"]
        bad = [case for case in self.cases if self.cases[case] != "ok"]
        told = [] if self.native else ["it knows no tools"]
        return "; ".join(told + [f"{case}: {reason}" for case, reason in zip(bad, why, strict=True)])


@cache
def compiled(name: str) -> tuple[ChatTemplate, ModelFamily]:
    source = sdist.templates()[name]
    return ChatTemplate(source, bos="<s>", eos="</s>"), ModelFamily.of(source)


def said(name: str, calls: Calls, reasoning: str = "", content: str = "") -> tuple[str, bool]:
    """What the assistant said to make these calls, as the template writes it; and whether what stands before has opened
    the reasoning. Raises TemplateError."""
    family = compiled(name)[1]
    switched = {"enable_thinking": True, "thinking": True} if reasoning else {}
    before = prompt(name, [USER], {**switched, "add_generation_prompt": True})
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning:
        message |= dict.fromkeys(("reasoning_content", "reasoning", "thinking"), reasoning)
    whole = prompt(name, [USER, {**message, "tool_calls": _calls(calls)}], switched)
    plain = prompt(name, [USER, {"role": "assistant", "content": "@@@"}], switched)
    same = next((i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), len(before))
    head = _CUT_MARK.sub("", before[:same])  # the prompt may go on in another way than the history
    text, end = whole[len(head) :].removeprefix("<|CHATBOT_TOKEN|>"), plain.rpartition("@@@")[2].strip()
    for end_of_turn in (end, *re.findall("<[^<>]*>$", end)):
        if end_of_turn and text.rstrip().endswith(end_of_turn):
            text = text.rstrip().removesuffix(end_of_turn)
            break
    text = text[: min((at for mark in ENDS if (at := text.find(mark)) >= 0), default=None)]
    return text, family.reasoning_markers is not None and family.reasoning_markers.opened_by(head)


def prompt(name: str, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
    template, family = compiled(name)
    return family.prompt(template, messages, TOLD, {"add_generation_prompt": False, **variables})


def _calls(calls: Calls) -> list[dict[str, Any]]:
    """With ids that Mistral's templates take."""
    return [
        {"id": f"callid00{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]


def read(parser: Parser, pieces: list[str]) -> tuple[str, str, list[list[str]]]:
    """Content, reasoning, calls."""
    content = reasoning = ""
    calls: list[list[str]] = []
    for deltas in [*map(parser.feed, pieces), parser.flush()]:
        for delta in deltas:
            if delta.channel == "call":
                if delta.name is not None:
                    calls.append([delta.name, ""])
                calls[delta.call][1] += delta.text
            elif delta.channel == "content":
                content += delta.text
            else:
                reasoning += delta.text
    return content, reasoning, calls


def check(name: str, calls: Calls, reasoning: str = "", content: str = "") -> str:
    """ "ok", LEFT_OUT or what went wrong."""
    text, thinking = said(name, calls, reasoning, content)
    if reasoning not in text or content not in text:
        return LEFT_OUT
    family = compiled(name)[1]
    pieces = [[text], list(text), *([text[:i], text[i:]] for i in range(1, len(text)))]
    results = [read(family.parser(TOOLS, stream_calls=False, in_reasoning=thinking), some) for some in pieces]
    if any(result != results[0] for result in results):
        return "depends on the split"
    answer, thought, made = results[0]
    got = [(called, json.loads(arguments)) for called, arguments in made]
    well = got == calls and answer == content and (thought == reasoning or not reasoning)
    return "ok" if well else f"said {text!r}, read {answer!r}, {thought!r}, {got}"


@cache
def line(name: str) -> Line:
    template, family = compiled(name)
    made = Line(name, format=family.format.name, native=family.native_tools)
    made.reasoning = family.reasoning_markers.open_tag if family.reasoning_markers else ""
    try:
        template.render([USER])
    except TemplateError as error:
        made.renders = str(error)
    for case in CASES:
        try:
            made.cases[case] = check(name, CASES[case])
        except TemplateError as error:
            made.cases[case] = str(error)
    made.cases["text"] = check(name, CASES["one"], content=SAYS)
    if family.reasoning_markers:
        made.cases["reasoning"] = check(name, CASES["one"], THINKS)
    return made


@pytest.mark.parametrize("name", sdist.templates())
def test_calls_are_read_back(name: str) -> None:
    found = line(name)
    wrong = {case: result for case, result in found.cases.items() if result not in ("ok", LEFT_OUT)}
    assert set(wrong) == {case for template, case in EXPLAINED if template == name}, wrong
    assert found.renders == "yes" and found.native == ("tools" in sdist.templates()[name])


@pytest.mark.parametrize("name", sdist.templates())
def test_a_history_of_tools_is_rendered(name: str) -> None:
    """By templates that know no tools, too; with all that was said."""
    template, family = compiled(name)
    calls = _calls([("get_weather", {"city": "Oslo"})])
    history = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": '"rain"', "tool_call_id": calls[0]["id"], "name": "get_weather"},
    ]
    text = family.prompt(template, history, TOLD)
    assert all(word in text for word in ("Weather?", "Oslo", "rain", "Does write_note."))
    assert "Weather?" in family.prompt(template, history[:1], None)


def test_the_table() -> None:
    """Every template of the distribution has its line."""
    lines = [line(name) for name in sdist.templates()]
    for each in lines:
        well = sum(result == "ok" for result in each.cases.values())
        tools = "own" if each.native else "words"
        print(
            f"{each.template:45.45} {each.format:13} {tools:6} {each.reasoning or '-':10.10}"
            f" {each.renders:4} {well}/{len(each.cases)} {each.notes}"
        )
    assert len(lines) >= 70
    assert {name for name, _ in EXPLAINED} <= {each.template for each in lines}
