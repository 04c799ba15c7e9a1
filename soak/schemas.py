"""Odd JSON schemas, tools, and pieces of regular expressions and grammars; all small."""

import random
from typing import Any

Random = random.Random

# Pieces that are joined at random; most results are invalid
REGEX = ("a", "b", "[a-c]", "[^x]", ".", "\\d", "\\w+", "(", ")", "|", "*", "+", "?", "{2,3}", "^", "$", "\\", "[", "é")
GRAMMAR = (
    *("root ::= ", '"a"', '"b" ', "[0-9]", "x", " | ", "(", ")", "*", "+", "?", "\n", "x ::= ", '"', "start: ", "root"),
    *("/[a-z]+/", "%json {}", "# note\n", "::=", "{1,3}"),
)
REGEXES = (
    "[a-z]+",
    "(a|b)*c",
    "\\d{4}-\\d\\d",
    "((a*)*)*b",
    "(a{1,100}){1,100}",
    ".*",
    "(.*a.*){5}",
    '[^"]{3,9}',
    "(?i)yes|no",
)
GRAMMARS = (
    'root ::= "yes" | "no"',
    'root ::= "(" root ")" | "x"',
    'root ::= [a-z]+ ("," [a-z]+)*',
    'start: a\na: a a | "a" | a a a\n',
    'start: b\nb: b b | "x" | \n',
    "root ::= root",
    "start: /[a-z]+/ other\nother: /[0-9]+/ | start",
)
TYPES = ("object", "array", "string", "integer", "number", "boolean", "null", "thing", ["string", "null"], 5)
KEYWORDS: dict[str, tuple[Any, ...]] = {
    "minLength": (0, 1, 3, -1, "a", 2**70, 1.5),
    "maxLength": (0, 2, -1, None, 2**70),
    "pattern": ("^a+$", "(", "\\d{3}", "", 5, "^(a|b)*$"),
    "format": ("date", "email", "uuid", "nothing", 7),
    "minimum": (0, -1, 2**53 + 1, 2**64, 10**30, "a", 0.1),
    "maximum": (10, -5, 2**64, 1e308, None),
    "exclusiveMinimum": (0, True, 2**64),
    "multipleOf": (1, 0, -2, 0.1, 7, 2**70),
    "enum": (["a", "b"], [], [1, 1], [None, {"a": 1}], "a"),
    "const": ("a", None, {"a": [1]}, 2**70),
    "minItems": (0, 2, -1, "a"),
    "maxItems": (0, 3, 1),
    "uniqueItems": (True, False),
    "required": (["a"], ["zz"], [], "a", [5]),
    "additionalProperties": (False, True, {"type": "integer"}, 5),
    "minProperties": (0, 1, 3),
    "maxProperties": (0, 1, 2),
    "$ref": ("#", "#/$defs/x", "#/nowhere", "http://localhost:1/x", 5),
    "nullable": (True,),
    "default": ("a", None),
    "title": ("t", 5),
    "not": ({}, {"type": "string"}),
}
WRONG: tuple[Any, ...] = (None, 5, "object", [], [{}], True, "")
TOOL_NAMES = ("f", "g", "get_weather", "", "a" * 65, "f g", "é", 'f"', "\0", "f", None, 5, "__class__", "</tool_call>")


def schema(rng: Random, depth: int = 3) -> Any:
    """An odd JSON schema, at most `depth` levels deep."""
    if rng.random() < 0.04:
        return rng.choice(WRONG)
    made: dict[str, Any] = {"type": rng.choice(TYPES)} if rng.random() < 0.9 else {}
    for name in rng.sample(sorted(KEYWORDS), rng.randint(0, 3)):
        made[name] = rng.choice(KEYWORDS[name])
    if depth and rng.random() < 0.7:
        made.update(_holding(rng, depth - 1))
    return made


def _holding(rng: Random, depth: int) -> dict[str, Any]:
    def several() -> list[Any]:
        return [schema(rng, depth) for _ in range(rng.randint(1, 3))]

    names = rng.sample(["a", "b", "c", "é", "", "$ref", "\ud83d"], 2)
    kinds: list[dict[str, Any]] = [
        {"type": "object", "properties": {name: schema(rng, depth) for name in names}},
        {"type": "array", "items": schema(rng, depth)},
        {"type": "array", "prefixItems": several()},
        {"anyOf": several()},
        {"oneOf": several()},
        {"allOf": several()},
        {"$defs": {"x": schema(rng, depth)}, "$ref": "#/$defs/x"},
        {"patternProperties": {"^a": schema(rng, depth)}},
        {"if": schema(rng, depth), "then": schema(rng, depth)},
    ]
    return rng.choice(kinds)


def text(rng: Random, examples: tuple[str, ...], pieces: tuple[str, ...]) -> str:
    """One of `examples` as it is or with a piece inserted, or pieces alone."""
    if rng.random() < 0.5:
        return "".join(rng.choice(pieces) for _ in range(rng.randint(1, 20)))
    found = rng.choice(examples)
    at = rng.randint(0, len(found))
    return found if rng.random() < 0.6 else found[:at] + rng.choice(pieces) + found[at:]


def tool(rng: Random) -> dict[str, Any]:
    """A valid tool."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": f"tool_{rng.randrange(1000)}", "parameters": parameters}}


def odd_tool(rng: Random) -> Any:
    """A tool that is mostly invalid."""
    function: dict[str, Any] = {
        "name": rng.choice(TOOL_NAMES),
        "description": rng.choice(["Does it.", "", None, 5, "{{ 1 }}", "<|im_end|>"]),
        "parameters": rng.choice([schema(rng), {"type": "object", "properties": {"a": schema(rng)}}, None]),
        "strict": rng.choice([True, False, None, "yes"]),
    }
    for name in list(function):
        if rng.random() < 0.15:
            del function[name]
    made = {"type": rng.choice(["function", "function", "web_search", None, 5]), "function": function}
    return made if rng.random() < 0.9 else rng.choice(WRONG)
