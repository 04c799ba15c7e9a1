"""What models said, and how llama.cpp reads it: the facts of its `tests/test-chat.cpp`, written anew with names and
words of ours. Each case is read by the family that Nitro finds from the template, whole and cut into pieces.

A case (chat_cases/*.json, by template) has what the model `said`, the `tools` it could call (tools.json), and the
`content`, `reasoning` and `calls` that llama.cpp reads. `thinking` false: the template was told so. `cut`: the text is
not at its end. `json`: a schema of the answer was given. `begun`: the prompt has this much of the answer. `inline`:
llama.cpp was asked to leave reasoning in the content.

White space at the ends is not compared, as there, and neither are the ids of calls. Of a `begun` answer Nitro returns
what is new, and it never leaves reasoning in the content: an `inline` case is compared without the tags. Calls that
are `cut` are read as under a grammar, and what was passed on has to fit.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sdist

from nitro.text.family import ModelFamily
from nitro.text.reasoning import Markers
from nitro.text.template import ChatTemplate
from nitro.text.tools import Tool

pytestmark = pytest.mark.suites

FOLDER = Path(__file__).parent
ALL_SPLITS = 400  # characters: a longer text is not split at every place
ENDS_OF_TURN = ("<|END_OF_TURN_TOKEN|>", "<|role_end|>")  # an engine stops there, and passes none on
Case = dict[str, Any]
Answer = dict[str, Any]  # "content", "reasoning", "calls", each if there is any


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


SCHEMAS = load(FOLDER / "chat_cases" / "tools.json")
CASES: dict[str, dict[str, Case]] = {
    template: cases
    for path in sorted((FOLDER / "chat_cases").glob("*.json"))
    if path.name != "tools.json"
    for template, cases in load(path).items()
}
# By template and case: `reads`, what Nitro makes of it, and why that is as good or better
DIFFERENCES = load(FOLDER / "chat_differences.json")


@cache
def compiled(template: str) -> tuple[ChatTemplate, ModelFamily]:
    source = sdist.templates()[template]
    return ChatTemplate(source, bos="<s>", eos="</s>"), ModelFamily.of(source)


def opens_reasoning(template: str, case: Case) -> bool:
    """Whether the case's prompt ends within reasoning."""
    compiled_template, family = compiled(template)
    markers, begun = family.reasoning_markers, case.get("begun", {})
    if markers is None:
        return False
    if begun and "content" not in begun:
        return True
    messages = [{"role": "user", "content": "Good day."}]
    if begun:
        messages.append({"role": "assistant", "content": begun["content"], "reasoning_content": begun["reasoning"]})
    functions = [{"name": name, "description": name, "parameters": SCHEMAS[name]} for name in case.get("tools", ())]
    offered = [{"type": "function", "function": function} for function in functions] or None
    thinking = case.get("thinking", True)
    variables = {"enable_thinking": thinking, "thinking": thinking}
    return markers.opened_by(family.prompt(compiled_template, messages, offered, variables, bool(begun)))


def read(template: str, case: Case, pieces: Sequence[str], in_reasoning: bool) -> Answer:
    family = compiled(template)[1]
    tools = {name: Tool(name, SCHEMAS[name]) for name in case.get("tools", ())}
    streams = case.get("cut", False) and family.format.parse_partial is not None
    reader = family.parser(tools or None, streams, in_reasoning, continues="begun" in case)
    channels = {"content": "", "reasoning": ""}
    calls: list[list[Any]] = []
    for deltas in [*map(reader.feed, pieces), *([] if case.get("cut") else [reader.flush()])]:
        for delta in deltas:
            if delta.channel != "call":
                channels[delta.channel] += delta.text
            elif delta.name is not None:
                calls.append([delta.name, delta.text])
            else:
                calls[delta.call][1] += delta.text
    found: Answer = {channel: text.strip() for channel, text in channels.items() if text.strip()}
    if calls:
        found["calls"] = [[name, value_of(arguments)] for name, arguments in calls]
    return found


def value_of(arguments: str) -> Any:
    """The value, or the text itself where it is only a beginning."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def expected(case: Case) -> Answer:
    """What is new of the answer, without white space at its ends."""
    begun = case.get("begun", {})
    texts = {}
    for channel in ("content", "reasoning"):
        text = case.get(channel, "").removeprefix(begun.get(channel, "")).strip()
        if text:
            texts[channel] = text
    return texts | ({"calls": case["calls"]} if "calls" in case else {})


def alike(found: Answer, wanted: Answer, case: Case, markers: Markers | None) -> bool:
    if case.get("inline") and markers:
        found, wanted = without_tags(found, markers), without_tags(wanted, markers)
    if not case.get("cut"):
        return found == wanted
    calls, beginnings = found.get("calls", []), wanted.get("calls", [])
    fitting = all(
        name == other and (str(arguments).startswith(beginning) or beginning.startswith(str(arguments)))
        for (name, arguments), (other, beginning) in zip(calls, beginnings, strict=False)
    )
    return fitting and len(calls) <= len(beginnings) and {**found, "calls": 0} == {**wanted, "calls": 0}


def without_tags(answer: Answer, markers: Markers) -> Answer:
    """Reasoning and content as one text, with neither tags nor white space."""
    text = answer.get("reasoning", "") + answer.get("content", "")
    for tag in (markers.open_tag, markers.close_tag):
        text = text.replace(tag, "")
    return {**answer, "reasoning": "", "content": "".join(text.split())}


def cuts(text: str) -> Iterator[list[str]]:
    """The text in pieces, in many ways."""
    yield list(text)
    if len(text) <= ALL_SPLITS:
        yield from ([text[:i], text[i:]] for i in range(1, len(text)))


@pytest.mark.parametrize("template", CASES)
def test_output_is_read_as_llama_cpp_does(template: str) -> None:
    differing = {}
    for name, case in CASES[template].items():
        said = case["said"]
        for end in ENDS_OF_TURN:
            said = said.removesuffix(end)
        in_reasoning = opens_reasoning(template, case)
        found = read(template, case, [said], in_reasoning)
        for pieces in cuts(said):
            assert read(template, case, pieces, in_reasoning) == found, f"{name}: depends on the pieces"
        if not alike(found, expected(case), case, compiled(template)[1].output_markers):
            differing[name] = found
    assert differing == {name: entry["reads"] for name, entry in DIFFERENCES.get(template, {}).items()}


def test_the_differences_have_cases_and_reasons() -> None:
    for template, entries in DIFFERENCES.items():
        assert entries.keys() <= CASES[template].keys()
        assert all(entry["why"].endswith(".") for entry in entries.values())


def test_all_cases_are_here() -> None:
    """None is lost, and all their templates are in the distribution but LLM-jp's: its cases are read as gpt-oss."""
    assert sum(map(len, CASES.values())) == 468 and len(CASES) == 58
    assert CASES.keys() <= sdist.templates().keys()
