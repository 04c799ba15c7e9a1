"""What models say beyond what their templates write: other forms of their calls, channels, calls beside content."""

from typing import Any

import pytest
from test_templates import read

from nitro.text import reasoning
from nitro.text.family import Family
from nitro.text.formats import detect, known
from nitro.text.tools import Tool

TOOLS = {name: Tool(name, {"type": "object", "properties": {}}) for name in ("f", "g", "python")}
ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
TO_F = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>"
# Format, the sign of its reasoning, what is said; content, reasoning, calls.
SAID: dict[str, tuple[str, str, str, str, str, list[list[str]]]] = {
    "gpt-oss: an answer": (
        "gpt_oss",
        ANALYSIS,
        f"{ANALYSIS}Hm.<|end|><|start|>assistant{FINAL}Yes.",
        "Yes.",
        "Hm.",
        [],
    ),
    "gpt-oss: a call": (
        "gpt_oss",
        ANALYSIS,
        f"{ANALYSIS}Hm.<|end|><|start|>assistant{TO_F}{{}}",
        "",
        "Hm.",
        [["f", "{}"]],
    ),
    "gpt-oss: a preamble": (
        "gpt_oss",
        ANALYSIS,
        f"<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant{TO_F}{{}}<|call|>",
        "Let me see.",
        "",
        [["f", "{}"]],
    ),
    "gpt-oss: more reasoning": (
        "gpt_oss",
        ANALYSIS,
        f"{ANALYSIS}A.<|end|><|start|>assistant{ANALYSIS} B.<|end|><|start|>assistant{FINAL}C.",
        "C.",
        "A.B.",
        [],
    ),
    "gpt-oss: the channel behind": (
        "gpt_oss",
        ANALYSIS,
        ' to=functions.f<|channel|>commentary json<|message|>{"a": 1}<|call|>',
        "",
        "",
        [["f", '{"a": 1}']],
    ),
    "gpt-oss: no channels": ("gpt_oss", ANALYSIS, "Yes.", "Yes.", "", []),
    "Functionary 3.2: an answer": ("functionary32", "", "all\nYes.", "Yes.", "", []),
    "Functionary 3.2: an answer, then calls": (
        "functionary32",
        "",
        'all\nYes.>>>f\n{"a": 1}>>>g\n{}',
        "Yes.",
        "",
        [["f", '{"a": 1}'], ["g", "{}"]],
    ),
    "Functionary 3.2: to nobody": ("functionary32", "", "Yes.", "Yes.", "", []),
    "Llama: a tool of its own": (
        "llama3_json",
        "",
        '<|python_tag|>brave_search.call(query="a \\"b\\"")',
        "",
        "",
        [["brave_search", '{"query": "a \\"b\\""}']],
    ),
    "Llama: code": ("llama3_json", "", "<|python_tag|>print(1)", "", "", [["python", '{"code": "print(1)"}']]),
    "Llama: JSON that is no call": ("llama3_json", "", '{"a": 1}', '{"a": 1}', "", []),
    "Llama: Python": (
        "llama_python",
        "",
        "[f(a=1, b='it\\'s'), g(c=[True, None, {\"d\": -1.5e3}])]",
        "",
        "",
        [["f", '{"a": 1, "b": "it\'s"}'], ["g", '{"c": [true, null, {"d": -1500.0}]}']],
    ),
    "Llama: a list that is no call": ("llama_python", "", "[f, g]", "[f, g]", "", []),
    "LFM2: JSON": (
        "lfm2",
        "",
        'So.<|tool_call_start|>[{"name": "f", "arguments": {"a": 1}}]<|tool_call_end|>',
        "So.",
        "",
        [["f", '{"a": 1}']],
    ),
    "LFM2: letters": (
        "lfm2",
        "",
        "<|tool_call_start|>[f(a=\"\\ud83d\\udc34 \\u0159\\n\", b='x\ny')]<|tool_call_end|>",
        "",
        "",
        [["f", '{"a": "🐴 ř\\n", "b": "x\\ny"}']],
    ),
    "FunctionGemma": (
        "functiongemma",
        "",
        "<start_function_call>call:f{a:<escape>b, c}<escape>,d:{e:[1,true]}}<end_function_call>",
        "",
        "",
        [["f", '{"a": "b, c}", "d": {"e": [1, true]}}']],
    ),
    "Command R: no tool": (
        "command_r",
        "",
        'Action:\n```json\n[{"tool_name": "directly-answer", "parameters": {}}]```',
        "",
        "",
        [],
    ),
    "Mistral: two, with ids": (
        "mistral",
        "",
        'So.[TOOL_CALLS]f[CALL_ID]abc123def[ARGS]{"a": "[TOOL_CALLS]g"}[TOOL_CALLS]g[ARGS]{}',
        "So.",
        "",
        [["f", '{"a": "[TOOL_CALLS]g"}'], ["g", "{}"]],
    ),
    "DeepSeek: cut off": (
        "deepseek_v31",
        "",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": ',
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a":',
        "",
        [],
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_said_is_read(case: str) -> None:
    name, sign, text, *expected = SAID[case]
    around = {markers.opens: markers for markers in reasoning.KNOWN}[sign] if sign or name == "functionary32" else None
    family = Family(known()[name], True, around)
    for pieces in ([text], list(text), *([text[:i], text[i:]] for i in range(1, len(text)))):
        content, thought, calls = read(family.parser(TOOLS, live=False, thinking=False), pieces)
        assert [content.rstrip(), thought, calls] == expected, pieces


@pytest.mark.parametrize("case", [case for case in SAID if case.startswith("gpt-oss") or "an answer" in case])
def test_without_tools_the_channels_are_nobodys_too(case: str) -> None:
    name, sign, text, content, *_ = SAID[case]
    if SAID[case][-1]:
        return
    around = {markers.opens: markers for markers in reasoning.KNOWN}[sign]
    assert read(Family(known()[name], True, around).parser(None, live=False, thinking=False), list(text))[0] == content


@pytest.mark.parametrize(
    "template, name",
    [
        ("[TOOL_CALLS] [ARGS]", "mistral"),
        ("[TOOL_CALLS]", "mistral_json"),
        ("[func_name1(params_name1=params_value1, params_name2=params_value2...)]", "llama_python"),
        ("<start_function_call> <end_function_call>", "functiongemma"),
        ("nothing of that", None),
    ],
)
def test_a_template_tells_its_format(template: str, name: Any) -> None:
    found = detect(template)
    assert (found.name if found else None) == name
