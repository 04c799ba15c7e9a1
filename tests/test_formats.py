"""What models say beyond what their templates write: other forms of their calls, channels, calls beside content."""

from typing import Any

import pytest
from test_templates import read

from nitro.errors import TemplateError
from nitro.text import MAX_TEMPLATE_CHARACTERS, reasoning
from nitro.text.family import ModelFamily
from nitro.text.reasoning import Markers
from nitro.text.template import ChatTemplate
from nitro.text.tool_formats import detect, known
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
    "Phi-4": (
        "phi4",
        "",
        'So.<|tool_call|>[{"name": "f", "arguments": {"a": "[1]"}}, {"name": "g", "arguments": {}}]<|/tool_call|>',
        "So.",
        "",
        [["f", '{"a": "[1]"}'], ["g", "{}"]],
    ),
    "Phi-4: functools": (
        "phi4",
        "",
        'functools[{"type": "function", "name": "f", "arguments": {"a": 1}}]',
        "",
        "",
        [["f", '{"a": 1}']],
    ),
    "Hunyuan: an answer": (
        "hunyuan_a13b",
        "<think>, <answer>",
        "<think>\nHm.\n</think>\n<answer>\nYes.\n</answer>",
        "Yes.",
        "Hm.",
        [],
    ),
    "Hunyuan: calls": (
        "hunyuan_a13b",
        "<think>, <answer>",
        '<think>Hm.</think><tool_calls>[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]</tool_calls>',
        "",
        "Hm.",
        [["f", "{}"], ["g", "{}"]],
    ),
    "Granite: an answer": (
        "granite3",
        "<think>, <response>",
        "<think>Hm.</think>\n<response>Yes.</response>",
        "Yes.",
        "Hm.",
        [],
    ),
    "Olmo": (
        "olmo3",
        "",
        'So.<function_calls>\nf(a="x\\ny", b=null)\ng()\n</function_calls>',
        "So.",
        "",
        [["f", '{"a": "x\\ny", "b": null}'], ["g", "{}"]],
    ),
    "Llama: as OpenAI writes calls": (
        "llama3_json",
        "",
        '{"type": "function", "function": {"name": "f", "parameters": {"a": 1}}}',
        "",
        "",
        [["f", '{"a": 1}']],
    ),
    "LongCat: JSON": (
        "longcat",
        "<longcat_think>",
        '<longcat_think>Hm.</longcat_think><longcat_tool_call>\n{"name": "f", "arguments": {"a": 1}}\n'
        "</longcat_tool_call>",
        "",
        "Hm.",
        [["f", '{"a": 1}']],
    ),
    "Mistral: of the generation before": (
        "mistral",
        "",
        '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "abc123def"}]',
        "",
        "",
        [["f", '{"a": 1}']],
    ),
    "Mistral: of the generation after": (
        "mistral_json",
        "",
        '[TOOL_CALLS]f[ARGS]{"a": 1}',
        "",
        "",
        [["f", '{"a": 1}']],
    ),
    "Granite: it goes on": (
        "granite3",
        "",
        'So.\n<|tool_call|>[{"name": "f", "arguments": {"a": 1}}]\n\nDone, I hope.',
        "So.\nDone, I hope.",
        "",
        [["f", '{"a": 1}']],
    ),
    "Granite: it goes on after what is no tool": (
        "granite3",
        "",
        '<|tool_call|>[{"name": "h", "arguments": {}}] is a call.',
        '<|tool_call|>[{"name": "h", "arguments": {}}] is a call.',
        "",
        [],
    ),
    "Llama: it goes on, and calls again": (
        "llama3_json",
        "",
        '{"name": "f", "parameters": {"a": 1}}, then <|python_tag|>{"name": "g", "parameters": {}}',
        ", then",
        "",
        [["f", '{"a": 1}'], ["g", "{}"]],
    ),
    "Llama: Python, and it goes on": ("llama_python", "", "[f(a=1)] Done.", "Done.", "", [["f", '{"a": 1}']]),
    "DeepSeek: cut off": (
        "deepseek_v31",
        "",
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": ',
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a":',
        "",
        [],
    ),
}


def around_of(format: str, sign: str) -> Markers | None:
    """The markers with these openings of the reasoning and, behind a comma, of the answer."""
    opens, _, wrap = sign.partition(", ")
    if not opens and format != "functionary32":
        return None
    return next(m for m in reasoning.KNOWN if m.open_tag == opens and (not wrap or wrap in m.ignored_tags))


@pytest.mark.parametrize("case", SAID)
def test_what_is_said_is_read(case: str) -> None:
    name, sign, text, *expected = SAID[case]
    around = around_of(name, sign)
    family = ModelFamily(known()[name], True, around)
    for pieces in ([text], list(text), *([text[:i], text[i:]] for i in range(1, len(text)))):
        content, thought, calls = read(family.parser(TOOLS, stream_calls=False, in_reasoning=False), pieces)
        assert [content.rstrip(), thought, calls] == expected, pieces


@pytest.mark.parametrize("case", [case for case in SAID if case.startswith("gpt-oss") or "an answer" in case])
def test_without_tools_the_channels_are_nobodys_too(case: str) -> None:
    name, sign, text, content, *_ = SAID[case]
    if SAID[case][-1]:
        return
    around = around_of(name, sign)
    parser = ModelFamily(known()[name], True, around).parser(None, stream_calls=False, in_reasoning=False)
    assert read(parser, list(text))[0].rstrip() == content


# How templates that the distribution has not tell of tools and reasoning; the format, what opens the reasoning.
TEMPLATES = {
    "[TOOL_CALLS] {{ tools }} [ARGS]": ("mistral", ""),
    "[TOOL_CALLS] {{ tools }}": ("mistral_json", ""),
    "{{ tools }} Write [func_name1(params_name1=params_value1, params_name2=params_value2...), …]": (
        "llama_python",
        "",
    ),
    "{{ tools }} <start_function_call>call:…<end_function_call>": ("functiongemma", ""),
    "{% if 'tools' in m %}<|tool|>{{ message['tools'] }}<|/tool|>{% endif %}": ("phi4", ""),
    "{{ tools }} <longcat_tool_call> <longcat_arg_key> </longcat_think>": ("longcat", "<longcat_think>"),
    '{{ tools }} <tool_calls>[{"name": "func_name1", …}]</tool_calls> </think> {% if \'<answer>\' in m %}': (
        "hunyuan_a13b",
        "<think>",
    ),
    "{{ tools }} <function_calls> {{ m.function_calls }} </function_calls>": ("olmo3", ""),
    "<｜tool▁calls▁begin｜> <｜tool▁sep｜> {{ tools }} </think>": ("deepseek_v31", "<think>"),
    "after Here is my thought process: and the answer after Here is my response:": (
        None,
        "Here is my thought process:",
    ),
    "nothing of that": (None, ""),
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_tells_its_format(template: str) -> None:
    found, markers = detect(template), reasoning.detect(template)
    assert (found.name if found else None, markers.open_tag if markers else "") == TEMPLATES[template]


def test_a_family_is_found_once() -> None:
    template = "{{ tools }} <tool_call> {{ m.tool_calls }} </think>"
    family = ModelFamily.of(template)
    assert family.format.name == "hermes" and family.reasoning_markers and family.native_tools
    assert ModelFamily.of("".join(list(template))) is family
    assert ModelFamily.of(template, "mistral").format.name == "mistral"


def test_a_template_that_is_too_long_is_not_searched() -> None:
    """It cannot be compiled either. The search would hold the server's event loop."""
    long = "{{ tools }} <tool_call> </think>" + "<tool_call{'| " * (MAX_TEMPLATE_CHARACTERS // 10)
    with pytest.raises(TemplateError):
        ChatTemplate(long)
    assert ModelFamily.of(long) == ModelFamily.of("")


@pytest.mark.parametrize("system", [True, False])
def test_tools_within_the_system_message(system: bool) -> None:
    """Phi-4's template looks for them there; it writes no calls."""
    source = (
        "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
        "{% if message['tools'] %}<|tool|>{{ message['tools'] }}<|/tool|>{% endif %}<|end|>{% endfor %}"
    )
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    messages: list[Any] = [{"role": "system", "content": "Be nice."}] * system
    messages += [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    text = ModelFamily.of(source).prompt(ChatTemplate(source), messages, tools)
    told = '<|tool|>[{"name": "f", "parameters": {}}]<|/tool|><|end|><|user|>Go.<|end|>'
    said = '<|assistant|><|tool_call|>[{"name": "f", "arguments": {"a": 1}}]<|/tool_call|><|end|>'
    assert text == f"<|system|>{'Be nice.' * system}{told}{said}"
    assert "<|tool|>" not in ModelFamily.of(source).prompt(ChatTemplate(source), messages, None)
