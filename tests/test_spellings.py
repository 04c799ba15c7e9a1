"""Calls as models of a family also write them, beside what their templates show."""

import pytest
from test_templates import compiled, read, said

from nitro.text.output_parser import ChannelParser
from nitro.text.tool_formats import known
from nitro.text.tools import Tool

TOOLS = {
    name: Tool(name, {"type": "object", "properties": {"days": {"type": "integer"}}}) for name in ("f", "g", "python")
}
F, F_AND_G = [["f", '{"days": 1}']], [["f", '{"days": 1}'], ["g", "{}"]]
_R1 = '{}function<｜tool▁sep｜>f\n```json\n{{"days": 1}}\n```{}'
_DSML = (
    '<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="days" string="false">1</｜DSML｜parameter>\n</｜DSML｜invoke>'
)
_DSML_EMPTY = '<｜DSML｜invoke name="g">\n</｜DSML｜invoke>'
# Format, what is said; content, calls
SPELLINGS: dict[str, tuple[str, str, str, list[list[str]]]] = {
    "Mistral: no [ARGS]": ("mistral", '[TOOL_CALLS]f{"days": 1}[TOOL_CALLS]g{}', "", F_AND_G),
    "Mistral: one object": ("mistral_json", '[TOOL_CALLS]{"name": "f", "arguments": {"days": 1}}', "", F),
    "Mistral: the form of newer models": ("mistral_json", '[TOOL_CALLS]f{"days": 1}', "", F),
    "Granite: no bars": ("granite3", 'So.<tool_call>[{"name": "f", "arguments": {"days": 1}}]', "So.", F),
    "Granite: no bars, and closed": (
        "granite3",
        '<tool_call>{"name": "f", "arguments": {"days": 1}}</tool_call>',
        "",
        F,
    ),
    "Qwen3-Coder: JSON": (
        "qwen3_coder",
        '<tool_call>\n{"name": "f", "arguments": {"days": 1}}\n</tool_call>\n<tool_call>\n<function=g>\n</function>\n'
        "</tool_call>",
        "",
        F_AND_G,
    ),
    "Seed-OSS: no outer tags": (
        "seed_oss",
        "So.<function=f>\n<parameter=days>1</parameter>\n</function>\n<function=g>\n</function>",
        "So.",
        F_AND_G,
    ),
    "DeepSeek R1: no inner tag": ("deepseek_r1", _R1.format("<｜tool▁calls▁begin｜>", "<｜tool▁call▁end｜>"), "", F),
    "DeepSeek R1: no outer tags": ("deepseek_r1", _R1.format("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"), "", F),
    "DeepSeek R1: underscores": (
        "deepseek_r1",
        _R1.format("<｜tool_calls_begin｜><｜tool_call_begin｜>", "<｜tool_call_end｜><｜tool_calls_end｜>"),
        "",
        F,
    ),
    "DeepSeek R1: spaces": ("deepseek_r1", _R1.format("<｜tool calls begin｜>", "<｜tool call end｜>"), "", F),
    "DeepSeek R1: Markdown": ("deepseek_r1", _R1.format(r"<｜tool\_calls\_begin｜>", ""), "", F),
    "DeepSeek R1: half of a tag": ("deepseek_r1", _R1.format("<｜tool▁calls｜>", "<｜tool▁calls▁end｜>"), "", F),
    "DeepSeek V3.1: no outer tags": (
        "deepseek_v31",
        '<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"days": 1}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}',
        "",
        F_AND_G,
    ),
    "DeepSeek V3.2: no outermost tags": ("deepseek_v32", f"So.\n{_DSML}\n{_DSML_EMPTY}", "So.", F_AND_G),
    "DeepSeek V3.2: the outermost tags of V4": (
        "deepseek_v32",
        f"<｜DSML｜tool_calls>\n{_DSML}\n{_DSML_EMPTY}\n</｜DSML｜tool_calls>",
        "",
        F_AND_G,
    ),
    "DeepSeek V4: the outermost tags of V3.2": (
        "deepseek_v4",
        f"<｜DSML｜function_calls>\n{_DSML}\n</｜DSML｜function_calls>\n",
        "",
        F,
    ),
    "DeepSeek V4: no closing tags": ("deepseek_v4", f"<｜DSML｜tool_calls>\n{_DSML}", "", F),
    "DeepSeek V4: a mention": ("deepseek_v4", "<｜DSML｜invoke name= opens.", "<｜DSML｜invoke name= opens.", []),
    "Functionary 3.1: code": ("functionary31", '<|python_tag|>{"days": 1}', "", [["python", '{"days": 1}']]),
    "Functionary 3.1: no call": ("functionary31", "A <function= opens it.", "A <function= opens it.", []),
    "Llama: an answer in JSON": ("llama3_json", '{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 36}', []),
    "Llama: an unknown tool": ("llama3_json", '{"name": "h", "parameters": {"days": 1}}', "", [["h", '{"days": 1}']]),
    "Llama: a tool that takes nothing": ("llama3_json", '{"name": "g", "parameters": {}}', "", [["g", "{}"]]),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_other_spellings_are_read(case: str) -> None:
    format, text, content, calls = SPELLINGS[case]
    for pieces in ([text], list(text), *([text[:i], text[i:]] for i in range(1, len(text)))):
        assert read(ChannelParser(known()[format], TOOLS), pieces) == (content, "", calls)


def test_functionarys_own_form_of_python_is_read_back() -> None:
    name = "meetkai-functionary-medium-v3.1"
    text, _ = said(name, [("python", {"code": "print(1)\n"})])
    parser = compiled(name)[1].parser(TOOLS, stream_calls=False, in_reasoning=False)
    assert read(parser, [text]) == ("", "", [["python", '{"code": "print(1)\\n"}']])
