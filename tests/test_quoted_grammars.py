"""Grammars of custom tools: JSON keeps a quoted grammar where its text keeps the grammar itself, in every format."""

import json

import pytest
from llguidance import LLMatcher, LLTokenizer
from test_forced_calls import Tokenizer, info, read

from nitro.engines.backends.fake import EOG
from nitro.engines.constraints.grammar import GrammarCompiler
from nitro.engines.constraints.grammar_errors import GrammarError
from nitro.engines.constraints.quoted_lark import COMMON, quoted_lark
from nitro.service.answer_constraint import with_tools
from nitro.service.requests import OfferedTools
from nitro.text.family import ModelFamily
from nitro.text.tool_formats import known
from nitro.text.tool_formats.history import write_calls
from nitro.text.tool_grammar import CallableTool
from nitro.text.tools import Tool

PATCH = """\
start: begin hunk+ end
begin: "*** Begin Patch" LF
end: "*** End Patch" LF?
hunk: "*** Add File: " filename LF line+ | "*** Delete File: " filename LF
filename: /(.+)/
line: ("+" | "-" | " ") /(.*)/ LF -> line
%import common.LF
"""
EDIT = '*** Begin Patch\n*** Add File: a "b\\c".py\n+print("x")\t# \\\n+\n*** End Patch'
GRAMMARS: list[tuple[str, list[str], list[str]]] = [  # what matches, and what does not
    (PATCH, [EDIT, EDIT + "\n"], [EDIT.replace("\n+p", "\np"), EDIT[:-1], "x"]),
    ('start: A+\nA: "a\\n" | "q\\"u"i | "a".."f"', ["a\na\n", 'Q"U', "f"], ["g", "\n", "q"]),
    ('start: /[^x"]+/', ["a\nb\\", "\x01\x1f", "é😀"], ['a"', "x", ""]),
    (r"start: /(?i)a\sb[\W]/", ["A\tB\n", "a b.", 'a\nb"'], ["a bé", "ab."]),
    (r"start: /(?s).{2,3}/", ['\n"', "\\/a"], ["a", "\n\n\n\n"]),
    (r'start: /.*x\n/ "y"', ["axx\ny", 'x"x\ny'], ["a\ny", "xy"]),
    (r"start: /(a|\n)+[]\\]/", ["a\n]", "\\".rjust(3, "\n")], ["]", "a"]),
    (
        "start: S WS S\nS: ESCAPED_STRING\n%import common (WS, ESCAPED_STRING)",
        ['"a\\"" \n\t"b"', '"" ""'],
        ['"a" b', '""""'],
    ),
    ('start: a{2,3}\na: "x" "y"~2..3 // "c', ["xyyxyy"], ["xyxy"]),
    ('start: A B\nA: /[a-z]+/ & ~/[a-z]*q[a-z]*/\nB: "\\n"', ["abc\n"], ["aqc\n", "abc"]),
    ("start: NUMBER WORD\n%ignore / /\n%import common.NUMBER\n%import common.CNAME -> WORD", ["1.5e3 a_1"], ["a 1"]),
]
FORMATS = sorted(known())


def matches(grammar: str, text: str) -> bool:
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(grammar))
    assert not matcher.is_error(), matcher.get_error()
    given = list(text.encode())
    return matcher.try_consume_tokens(given) == len(given) and matcher.is_accepting()


@pytest.mark.parametrize(("grammar", "good", "bad"), GRAMMARS)
def test_a_quoted_grammar_matches_what_json_writes(grammar: str, good: list[str], bad: list[str]) -> None:
    quoted = quoted_lark(grammar)
    for text in good + bad:
        written = json.dumps(text, ensure_ascii=False)[1:-1]
        assert matches(quoted, written) == (text in good), (text, quoted)
        if not grammar.startswith("start: /.*x"):  # where llguidance itself takes as much as it can
            assert matches(grammar, text) == (text in good), text


@pytest.mark.parametrize("name", COMMON)
def test_common_terminals_are_those_of_the_library(name: str) -> None:
    samples = ["0", "7f", "-12", "1.", ".5", "e3", "1e5", "+1.5E-2", '"a\\"b"', '"a', "a", "Z", "_a1", "word"]
    samples += [" \t", " \n\f", "\r", "\n", "\r\n\n", "# c", "// c", "/* a * b */", "-- c", "/**/", "", "x y"]
    library = f"start: {name}\n%import common.{name}"
    for text in samples:
        assert matches(quoted_lark(library), json.dumps(text)[1:-1]) == matches(library, text), text


@pytest.mark.parametrize(
    ("grammar", "said"),
    [
        ('start: %json {"type": "string"}', "'%json'"),
        ("start: A\nA: /[a-z\\n]+/ & ~/x/", "'A' has '&' or '~'"),
        ("start: /(?x)a/", "flag 'x'"),
        ("%import common.NOTHING\nstart: NOTHING", "'common.NOTHING'"),
        ('start: "a"\n%ignore /\\s/', "'%ignore'"),
        ("start: /(?=a)/", "a group of this kind"),
        ("start: [", "Expected"),
    ],
)
def test_what_cannot_be_followed_is_refused(grammar: str, said: str) -> None:
    with pytest.raises(GrammarError, match=said) as caught:
        compiled("hermes", grammar)
    assert caught.value.param == "tools[0].format.definition"


def compiled(format: str, grammar: str, tokenizer: Tokenizer | None = None):
    tokenizer = tokenizer or Tokenizer([])
    parameters = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    called = CallableTool(Tool("patch", parameters, True), "tools[0].format.definition", True, grammar=grammar)
    other = CallableTool(Tool("other", {"type": "object", "properties": {}}), "tools[1].parameters", True)
    constraint = with_tools(None, OfferedTools([], [called, other], True, False), known()[format], False)
    return GrammarCompiler(tokenizer, info(tokenizer.size)).matcher(constraint)


@pytest.mark.parametrize("name", FORMATS)
def test_a_call_is_held_to_its_tool_s_grammar(name: str) -> None:
    format, tokenizer = known()[name], Tokenizer([])
    matcher = compiled(name, PATCH, tokenizer)
    for patch, keeps in ((EDIT, True), (EDIT.replace("\n+p", "\np"), False), ("", False)):
        text = write_calls([("patch", {"input": patch})], format.layout)
        copy = matcher.copy()
        assert (all(copy.accept(token) for token in tokenizer.encode(text)) and copy.allows(EOG)) == keeps, text
    text = write_calls([("patch", {"input": EDIT})], format.layout)
    tool = Tool("patch", {"type": "object", "properties": {"input": {"type": "string"}}})
    _, calls = read(ModelFamily(format, True, None).parser({"patch": tool}, True, False), text)
    assert [json.loads(call[1])["input"] for call in calls] == [EDIT]
