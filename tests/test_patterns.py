"""The patterns of JSON schemas mean what ECMA-262 says, or are named as what they have that no grammar can be held to.

What a pattern finds is what node 20 says with the flag `u`, or without where it takes no such pattern.
"""

import json
from typing import Any

import pytest

from nitro.engines.backends.fake import FakeRunner
from nitro.engines.constraints import schema_patterns
from nitro.engines.constraints.grammar import GrammarCompiler
from nitro.engines.constraints.patterns import UnsupportedPattern, whole_match
from nitro.engines.types import Constraint, EngineSpec

runner = FakeRunner(EngineSpec("fake", ""))
grammars = GrammarCompiler(runner.tokenizer, runner.info)
# Pattern, texts in which it is found, texts in which it is not.
FOUND: list[tuple[str, list[str], list[str]]] = [
    (r"^\d+$", ["0", "42"], ["", "٤", "4 "]),
    (r"^\w$", ["a", "_", "7"], ["é", "-"]),
    (r"^\s*$", ["", " \t\u00a0\u2028\ufeff"], ["a", "\u0085"]),
    (r"^[^\S\n]$", [" ", "\t"], ["\n", "a"]),
    (r"^\W\D$", ["-a", "éé"], ["aa", "-1"]),
    (r"^[^\W_]+$", ["aZ9"], ["a_b", "é"]),
    (r"^\/a[\/]$", ["/a/"], ["a/", r"\/a/"]),
    (r"^\cA\t\x41\u0042\u{43}\0$", ["\x01\tABC\0"], ["A\tABC\0"]),
    (r"^\ud83d\ude00[\ud83d\ude00]$", ["😀😀"], ["😀"]),
    (r"^[^]$", ["a", "\n", "😀"], ["", "ab"]),
    (r"[]|a", ["a", "bab"], ["", "b"]),
    ("^.$", ["a", "é", "😀"], ["", "\n", "\r", "\u2028"]),
    (r"^[\w-]$", ["a", "-"], ["."]),
    (r"^[+--]$", ["+", ",", "-"], ["*", "."]),
    (r"^[\]\\^-]$", ["]", "\\", "^", "-"], ["["]),
    (r"^[&&a]$", ["&", "a"], ["b"]),
    (r"^[[a]$", ["[", "a"], ["]"]),
    (r"^[\b]$", ["\x08"], ["b"]),
    (r"^\{}]$", ["{}]"], ["{"]),
    (r"^\p{Lu}\P{L}$", ["É1"], ["é1", "ÉÉ"]),
    (r"^\p{Script=Greek}$", ["Σ"], ["S"]),
    (r"^(?<year>\d{4})$", ["2024"], ["20245"]),
    (r"^a{2}b{1,}c{0,1}?$", ["aab", "aabbc"], ["ab", "aac"]),
    (r"^(a{1,2}){2}$", ["aa", "aaaa"], ["a", "aaaaa"]),
    ("b", ["b", "abc"], ["", "ac"]),
    ("", ["", "a"], []),
    ("^", ["", "a"], []),
    ("^a|b$", ["ax", "xb"], ["xa", "bx"]),
    ("(^a|b)$", ["a", "xb"], ["xa", "ax"]),
    ("(^|,)foo($|,)", ["foo", "foo,bar", "x,foo", "a,foo,b"], ["xfoo", "foox"]),
    ("(^a|)b", ["ab", "xb"], ["a"]),
    ("^(^a|b)", ["ax", "bx"], ["xa"]),
    ("x(y|z$)", ["xyz", "xz"], ["xza"]),
    ("(a|)$", ["", "b"], []),
    ("a|^b|c$|^d$", ["xax", "bx", "xc", "d"], ["xb", "cx", "dx"]),
    ("^.*?a+?$", ["a", "xa"], ["ax"]),
]


def says(schema: dict[str, Any], value: Any) -> bool:
    matcher = grammars.matcher(Constraint("json_schema", json.dumps(schema), "json_schema"))
    return all(matcher.accept(token) for token in json.dumps(value, ensure_ascii=False).encode()) and matcher.allows(
        256
    )


@pytest.mark.parametrize(("pattern", "found", "missed"), FOUND)
def test_what_a_pattern_finds(pattern: str, found: list[str], missed: list[str]) -> None:
    """As a string's, and as that of an object's keys."""
    keyed = {"type": "object", "patternProperties": {pattern: {"const": 1}}, "additionalProperties": False}
    for text, right in [*((text, True) for text in found), *((text, False) for text in missed)]:
        assert says({"type": "string", "pattern": pattern}, text) == right, text
        assert says(keyed, {text: 1}) == right, text


UNSUPPORTED = {
    r"^(?!\.)a": "a look-ahead",
    "(?=a)b": "a look-ahead",
    "(?<!a)b": "a look-behind",
    "(?<=a)b": "a look-behind",
    r"^(a)\1$": "a back reference",
    r"(?<n>a)\k<n>": "a back reference",
    r"\bfoo": "a word boundary",
    "a$b": "an anchor in its middle",
    "$^": "an anchor in its middle",
    "(^a)*": "an anchor that is repeated",
    "(?>a)": "an atomic group",
    "(?x)a": "the unknown flag 'x'",
    "a{,3}": "the quantifier '{,', which not all languages read alike",
    "a{3,2}": "the quantifier '{3,2}'",
    "a++": "a quantifier after a quantifier",
    "*a": "'*' with nothing before it",
    r"\Qa": r"the unknown escape '\Q'",
    r"\ud800": "a code point that no text has",
    "(a": "a '(' without its ')'",
    "a)": "a ')' without its '('",
    "[a": "a '[' without its ']'",
    "a\\": "a '\\' at its end",
    "[b-a]": "a range that ends before it begins",
    "(" * 99 + "a" + ")" * 99: "more than 60 groups in each other",
}


@pytest.mark.parametrize("pattern", UNSUPPORTED)
def test_what_no_grammar_can_be_held_to_is_named(pattern: str) -> None:
    with pytest.raises(UnsupportedPattern) as caught:
        whole_match(pattern)
    assert str(caught.value) == UNSUPPORTED[pattern]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [(r"\p{Nonsense}", "an unknown Unicode property"), (r"^[]$", "no text that it matches")],
)
def test_what_llguidance_does_not_take_is_named_too(pattern: str, reason: str) -> None:
    with pytest.raises(UnsupportedPattern) as caught:
        schema_patterns.enforceable(pattern)
    assert str(caught.value) == reason


def test_other_languages_have_meanings_where_ecma_262_has_none() -> None:
    assert whole_match(r"\Aa\Z") == whole_match(r"^a\z") == whole_match("^a$") == "a"
    assert says({"type": "string", "pattern": "^(?i)abc$"}, "aBC")
    assert says({"type": "string", "pattern": "^(?s:.)(?P<n>a)$"}, "\na")


AHEAD = "(?=a)b"


@pytest.mark.parametrize(
    ("schema", "left", "told"),
    [
        ({"type": "string", "pattern": AHEAD, "maxLength": 2}, {"type": "string", "maxLength": 2}, ["pattern (at /)"]),
        ({"type": "integer", "pattern": AHEAD}, {"type": "integer"}, []),
        (
            {"anyOf": [{"pattern": AHEAD}, {"items": {"pattern": AHEAD}}]},
            {"anyOf": [{}, {"items": {}}]},
            ["pattern (at /anyOf/0)", "pattern (at /anyOf/1/items)"],
        ),
        (
            {"patternProperties": {AHEAD: {}, "^b$": {"type": "null"}}, "additionalProperties": False},
            {"patternProperties": {"^(?:b)$": {"type": "null"}}},
            ["patternProperties (at /)", "additionalProperties (at /)"],
        ),
        (
            {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"pattern": AHEAD}, "unused": {"pattern": AHEAD}}},
            {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {}, "unused": {"pattern": AHEAD}}},
            ["pattern (at /$defs/a~1b)"],
        ),
        ({"not": {"pattern": AHEAD}}, {"not": {"pattern": AHEAD}}, []),
        ({"properties": {"pattern": {"const": {"pattern": AHEAD}}}}, None, []),
        ({"pattern": 5}, None, []),
    ],
)
def test_what_is_taken_out_of_a_schema(schema: dict[str, Any], left: dict[str, Any] | None, told: list[str]) -> None:
    """No more than must be, and each place is told."""
    given = json.loads(json.dumps(schema))
    found = schema_patterns.rewrite(schema)
    assert schema == (given if left is None else left)
    assert [f"{one.keyword} (at {one.pointer or '/'})" for one in found] == told
