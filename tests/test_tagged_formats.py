"""Families whose arguments stand in tags: what their models say beyond what their templates write."""

from pathlib import Path

import pytest
from running import RunningServer
from test_templates import read

from nitro.config import ServeConfig
from nitro.text import reasoning
from nitro.text.family import ModelFamily
from nitro.text.tool_formats import known
from nitro.text.tools import Tool

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "n": {"type": "integer"},
        "lines": {"type": "array", "items": {"type": "string"}},
        "none": {"type": "object"},
    },
}
TOOLS = {name: Tool(name, SCHEMA) for name in ("f", "g")}
_M = "]<]minimax[>["
K3 = "<|open|>response<|sep|>Yes.<|close|>response<|sep|>"
# Format, what is said; content, reasoning, calls.
SAID: dict[str, tuple[str, str, str, str, list[list[str]]]] = {
    "closing tags in a text": (
        "qwen3_coder",
        "<tool_call>\n<function=f>\n<parameter=text>\na</parameter> b</function></tool_call> c\n</parameter>\n"
        "</function>\n</tool_call>",
        "",
        "",
        [["f", '{"text": "a</parameter> b</function></tool_call> c"}']],
    ),
    "without its first line": (
        "qwen3_coder",
        "So.\n<function=f>\n<parameter=n>\n5\n</parameter>\n</function>\n</tool_call>",
        "So.",
        "",
        [["f", '{"n": 5}']],
    ),
    "line breaks of a text": (
        "qwen3_coder",
        "<tool_call>\n<function=f>\n<parameter=text>\n\na\n\n</parameter>\n</function>\n</tool_call>",
        "",
        "",
        [["f", '{"text": "\\na\\n"}']],
    ),
    "an argument twice": (
        "seed_oss",
        "<seed:tool_call><function=f><parameter=n>1</parameter><parameter=n>2</parameter></function></seed:tool_call>",
        "",
        "",
        [["f", '{"n": 1, "n": 2}']],
    ),
    "no arguments": (
        "glm",
        "</think><tool_call>f</tool_call>\n<tool_call>g\n</tool_call>",
        "",
        "",
        [["f", "{}"], ["g", "{}"]],
    ),
    "not to its end": (
        "glm",
        "<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>1</arg_value>\n",
        "<tool_call>f\n<arg_key>n</arg_key>\n<arg_value>1</arg_value>\n",
        "",
        [],
    ),
    "LongCat": (
        "longcat",
        "<longcat_think>Hm.</longcat_think><longcat_tool_call>f\n<longcat_arg_key>text</longcat_arg_key>\n"
        "<longcat_arg_value>007</longcat_arg_value>\n</longcat_tool_call>",
        "",
        "Hm.",
        [["f", '{"text": "007"}']],
    ),
    "CDATA": (
        "minicpm5",
        '<function name="f"><param name="text"><![CDATA[<a>\n</param>]]></param><param name="n">1</param></function>',
        "",
        "",
        [["f", '{"text": "<a>\\n</param>", "n": 1}']],
    ),
    "what is nested and empty": (
        "minimax_m3",
        f'{_M}<tool_call>\n{_M}<invoke name="f">{_M}<lines>{_M}<item>1{_M}</item>{_M}<item>{_M}</item>{_M}</lines>'
        f"{_M}<none>{_M}</none>{_M}</invoke>\n{_M}</tool_call>",
        "",
        "",
        [["f", '{"lines": ["1", ""], "none": {}}']],
    ),
    "arguments as one object": (
        "kimi_k3",
        '<|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|><|open|>json type="object"<|sep|>'
        '{"n": 1, "text": "a"}'
        "<|close|>json<|sep|><|close|>call<|sep|><|close|>tools<|sep|>",
        "",
        "",
        [["f", '{"n": 1, "text": "a"}']],
    ),
    "a text in tags, then a call": (
        "kimi_k3",
        f'{K3}<|open|>tools<|sep|><|open|>call tool="f" index="1"<|sep|><|close|>call<|sep|><|close|>tools<|sep|>'
        "<|close|>message<|sep|>",
        "Yes.",
        "",
        [["f", "{}"]],
    ),
    "an answer to the user": (
        "muse",
        " to=self<|message|>Hm.<|eom|><|start|>assistant to=user<|message|>Yes, to=me.<|eot|>",
        "Yes, to=me.",
        "Hm.",
        [],
    ),
    "an answer and its frame": (
        "solar",
        "<|think|>Hm.<|end|><|begin|>assistant<|content|>Yes.<|end|>",
        "Yes.",
        "Hm.",
        [],
    ),
    "names without a section": (
        "kimi_k2",
        "<|tool_calls_section_begin|>\n<|tool_call_begin|>f:3<|tool_call_argument_begin|> {}<|tool_call_end|>",
        "",
        "",
        [["f", "{}"]],
    ),
    "calls without a section and ends": (
        "kimi_k2",
        "So.<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}"
        '<|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{"n": 1}',
        "So.",
        "",
        [["f", "{}"], ["g", '{"n": 1}']],
    ),
    "a section twice": (
        "kimi_k2",
        "<|tool_calls_section_begin|><|tool_calls_section_begin|><|tool_call_begin|>f<|tool_call_argument_begin|>{}"
        "<|tool_call_end|><|tool_calls_section_end|><|tool_calls_section_end|>",
        "",
        "",
        [["f", "{}"]],
    ),
    "a section in the reasoning, and no end": (
        "kimi_k2",
        "<think>Hm.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}",
        "",
        "Hm.",
        [["f", "{}"]],
    ),
    "keys without values": (
        "glm",
        "<tool_call>f\n<arg_key>text</arg_key>\n<arg_key>n</arg_key>\n<arg_value>1</arg_value>\n"
        "<arg_key>lines</arg_key>\n</tool_call>",
        "",
        "",
        [["f", '{"n": 1}']],
    ),
    "empty values": (
        "glm",
        "<tool_call>f<arg_key>n</arg_key><arg_value></arg_value><arg_key>text</arg_key><arg_value></arg_value>"
        "<arg_key>lines</arg_key><arg_value></arg_value></tool_call>",
        "",
        "",
        [["f", '{"text": "", "lines": []}']],
    ),
    "an empty number": (
        "qwen3_coder",
        "<tool_call>\n<function=f>\n<parameter=n>\n\n</parameter>\n</function>\n</tool_call>",
        "",
        "",
        [["f", "{}"]],
    ),
    "texts in single quotes": (
        "gemma4",
        "So.<|tool_call>call:f{lines:['ds_1','b, c'],'text':'it\\'s',n:3}<tool_call|><tool_call|>",
        "So.",
        "",
        [["f", '{"lines": ["ds_1", "b, c"], "text": "it\'s", "n": 3}']],
    ),
    "texts in no quotes": (
        "gemma4",
        "<|tool_call>call:f{text:Oslo, 0123,n:,lines:[1, 'x'],none:None}<tool_call|>",
        "",
        "",
        [["f", '{"text": "Oslo, 0123", "lines": ["1", "x"], "none": "None"}']],
    ),
    "stray marks": (
        "gemma4",
        "<|channel><|channel>thought\nHm.<channel|>Yes.<channel|><|channel>thought\n<channel|>",
        "Yes.",
        "Hm.",
        [],
    ),
}
SIGNS = {
    "gemma4": "<|channel>thought",
    "longcat": "<longcat_think>",
    "kimi_k3": "<|open|>think<|sep|>",
    "muse": "to=self<|message|>",
    "solar": "<|think|>",
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_said_is_read(case: str) -> None:
    name, text, *expected = SAID[case]
    around = next(markers for markers in reasoning.KNOWN if markers.open_tag == SIGNS.get(name, "<think>"))
    family = ModelFamily(known()[name], True, around)
    for pieces in ([text], list(text), *([text[:i], text[i:]] for i in range(1, len(text)))):
        assert [*read(family.parser(TOOLS, stream_calls=False, in_reasoning=False), pieces)] == expected, pieces


@pytest.mark.parametrize("case", ["an answer to the user", "an answer and its frame"])
def test_frames_are_nobodys_without_tools_too(case: str) -> None:
    name, text, content, thought, _ = SAID[case]
    family = ModelFamily(known()[name], True, next(m for m in reasoning.KNOWN if m.open_tag == SIGNS[name]))
    assert read(family.parser(None, stream_calls=False, in_reasoning=False), list(text)) == (content, thought, [])


def test_kimis_calls_are_numbered_through_the_conversation(tmp_path: Path) -> None:
    template = tmp_path / "kimi.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}{{ tools }}")
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = "".join(
        f"<|tool_call_begin|>functions.{name}:7<|tool_call_argument_begin|>{{}}<|tool_call_end|>" for name in "fg"
    )
    messages = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "functions.f:0", **call}]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "Gone."},
        {"role": "user", "content": f"␂<|tool_calls_section_begin|>{said}<|tool_calls_section_end|>␃"},
    ]
    config = ServeConfig(engine="runners:SayingRunner", port=0, chat_template=template, tool_format="kimi_k2")
    with RunningServer(config) as server:
        asked = {"model": "", "messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]}
        message = server.ready().client().chat.completions.create(**asked).choices[0].message
    assert [call.id for call in message.tool_calls] == ["functions.f:1", "functions.g:2"]
