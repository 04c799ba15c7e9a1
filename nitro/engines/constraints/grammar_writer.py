"""A constraint as a grammar that llguidance compiles: JSON schemas, Lark, GBNF, regular expressions, lists of choices.

A grammar is text: Lark, or JSON of several grammars.
"""

import json
from collections.abc import Callable
from itertools import groupby
from typing import Any

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import any_to_lark

from nitro.engines.constraints.quoted_lark import quoted_lark
from nitro.engines.constraints.schema_rewriting import rewritten
from nitro.engines.runner import Tokenizer
from nitro.engines.types import Constraint, GrammarText, PlainText

# White space is bounded, since a small model may go on with it for ever.
WHITE_SPACE = r"[\x20\x0A\x0D\x09]{1,32}"
ANSWER_RULE = "answer"  # the rule of an answer that is one JSON value
SCHEMA_RULE = "schema_"  # and a number: the rule of one of the constraint's schemas
GRAMMAR_RULE = "grammar_"  # and a number: the rule of one of its grammars, which is a grammar of its own
_ANY_TEXT = r"/(.|\n)*/"


class GrammarWriter:
    """Writes grammars for one vocabulary: which texts are control tokens differs from model to model."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer

    def grammar(self, constraint: Constraint) -> str:
        """The grammar of an answer, with its reasoning where that is part of the constraint.

        Raises ValueError for what is no schema, and whatever llguidance raises for a source that it cannot read.
        """
        if constraint.kind == "layout":
            grammar = self._layout(constraint)
        else:
            grammar = _SOURCES[constraint.kind](constraint.source)
        others = [_named(f"{GRAMMAR_RULE}{i}", lark(each)) for i, each in enumerate(constraint.grammars)]
        if constraint.after:
            return _with_prefix("SPACE", [], grammar, others)
        if constraint.reasoning_tags:
            marks = [rule for i, tag in enumerate(constraint.reasoning_tags) for rule in self._mark(f"_{i}", tag)]
            return _with_prefix("(mark_0 until_1 SPACE)?", marks, grammar, others)
        if constraint.kind == "json_schema" or others:
            return _with_prefix("", [], grammar, others)
        return grammar

    def _layout(self, constraint: Constraint) -> str:
        rules = [rule for i, mark in enumerate(constraint.marks) for rule in self._mark(f"_{i}", mark)]
        for i, text in enumerate(constraint.texts):
            expression = text_expression(text)
            rules.append(f"TEXT_{i}: {expression}")
            rules += self._text(f"text_{i}", f"TEXT_{i}", constraint.marks[text.mark], expression == _ANY_TEXT)
        for i, schema in enumerate(constraint.schemas):
            value = {**json.loads(enforceable(schema.source, schema.strict)), "x-guidance": _options(schema.strict)}
            rules.append(f"{SCHEMA_RULE}{i}[capture]: %json {json.dumps(value)}")
        rules += [f"{GRAMMAR_RULE}{i}: @{GRAMMAR_RULE}{i}" for i in range(len(constraint.grammars))]
        return "\n".join([constraint.source, *rules])

    def _mark(self, suffix: str, text: str) -> list[str]:
        """The rules `mark` and `until` of a text: see text/tool_grammar.py."""
        return [f"mark{suffix}: {' '.join(self._parts(text))}", *self._text(f"until{suffix}", _ANY_TEXT, text, True)]

    def _text(self, rule: str, expression: str, mark: str, repeats: bool) -> list[str]:
        """The rules of a text and the mark that ends it.

        A control token can be no text. Where words stand before it in the mark, the text may end when these were
        written once or, if it `repeats`, any number of times.
        """
        first, *others = self._parts(mark)
        if first.startswith("<"):
            return [f"{rule}: {expression} {' '.join([first, *others])}"]
        if not others:
            return [f"{rule}[lazy]: {expression} {first}"]
        return [f"{rule}: {rule}_part{'+' * repeats} {' '.join(others)}", f"{rule}_part[lazy]: {expression} {first}"]

    def _parts(self, text: str) -> list[str]:
        """The text in Lark. Control tokens in it are meant as such."""
        tokens = self._tokenizer.encode(text)
        token_bytes = self._tokenizer.token_bytes
        if all(map(token_bytes, tokens)):
            return [json.dumps(text)]
        parts: list[str] = []
        for has_text, run in groupby(tokens, lambda token: bool(token_bytes(token))):
            if has_text:
                parts.append(json.dumps(b"".join(map(token_bytes, run)).decode(errors="replace")))
            else:
                parts += map("<[{}]>".format, run)
        return parts


def from_schema(source: str, strict: bool = True) -> str:
    """The grammar of a JSON schema; if it is not strict, of what can be enforced of it.

    Raises ValueError, with the place, for what cannot be enforced.
    """
    return LLMatcher.grammar_from_json_schema(enforceable(source, strict), overrides=_options(strict))


def enforceable(source: str, strict: bool) -> str:
    """A schema in JSON that llguidance enforces. Raises ValueError as `from_schema` does."""
    schema = rewritten(source)
    if strict and schema.patterns:
        raise ValueError(schema.patterns[0].refusal)
    if strict and schema.unenforced:
        pointer, keyword = schema.unenforced[0]
        raise ValueError(f"{keyword} cannot be enforced here (at {pointer or '/'})")
    return schema.source


def text_expression(text: PlainText) -> str:
    """A text's schema as an expression in Lark. Raises ValueError for a pattern that must be held to and cannot be."""
    schema = json.loads(enforceable(text.schema.source, text.schema.strict))
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", "")
    parts = [rf"/(.|\n){{{shortest},{longest}}}/" if shortest or longest != "" else _ANY_TEXT]
    if "pattern" in schema:
        parts.append(f"/{schema['pattern'].removeprefix('^').removesuffix('$')}/")
    if text.excluded:
        excluded = "".join(f"\\u{{{ord(sign):x}}}" for sign in text.excluded)
        parts.append(f"~/(.|\n)*{excluded}(.|\n)*/")
    return " & ".join(f"({part})" for part in parts) if len(parts) > 1 else parts[0]


def _options(strict: bool) -> Any:
    return {"lenient": not strict, "coerce_one_of": not strict, "whitespace_pattern": WHITE_SPACE}


def lark(text: GrammarText) -> str:
    """A grammar of a text in Lark, as it is written. Raises ValueError for what cannot be followed."""
    return quoted_lark(text.source) if text.quoted else text.source


def _named(name: str, source: str) -> dict[str, str]:
    return {"name": name, "lark_grammar": source}


def _with_prefix(prefix: str, rules: list[str], grammar: str, others: list[dict[str, str]]) -> str:
    """The grammar with something before it. The rule of a JSON value is captured, so that its end is noticed."""
    answer = json.loads(grammar)["grammars"][0] if grammar.startswith('{"grammars"') else {"lark_grammar": grammar}
    rule = f"{ANSWER_RULE}[capture]: @inner" if answer.get("json_schema") else f"{ANSWER_RULE}: @inner"
    start = "\n".join([f"start: {prefix} {ANSWER_RULE}", rule, *rules, r"SPACE: /[ \n]{0,2}/"])
    return json.dumps({"grammars": [{"lark_grammar": start}, {**answer, "name": "inner"}, *others]})


def _from_choice(source: str) -> str:
    """A terminal, which is one automaton: as a rule, each text would be an item of the parser's."""
    return LLMatcher.grammar_from_lark("start: TEXT\nTEXT: " + " | ".join(map(json.dumps, json.loads(source))))


_SOURCES: dict[str, Callable[[str], str]] = {
    "json_schema": from_schema,
    "grammar": lambda source: LLMatcher.grammar_from_lark(any_to_lark(source)),
    "regex": LLMatcher.grammar_from_regex,
    "choice": _from_choice,
}
