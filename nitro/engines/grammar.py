"""Constraints on what a sequence may say, by llguidance: one module for every runner.

A constraint is compiled when its request arrives, off the engine thread; one that cannot be enforced is refused then. A
Matcher follows one sequence token by token. It may sleep until certain bytes have been produced, such as the end of a
reasoning, so that an engine need know no format.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import groupby
from math import lcm
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.gbnf_to_lark import any_to_lark

from nitro.engines.runner import Tokenizer
from nitro.engines.types import Constraint, ModelInfo, Schema

SPECIAL = b"\xff"  # llguidance's mark of a token that no text makes
# Enforced whole; and white space has an end, since a small model may go on with it for ever.
WHITE_SPACE = r"[\x20\x0A\x0D\x09]{1,32}"
_ANY = r"/(.|\n)*/"
# By llguidance's own limits a step of an ambiguous grammar takes seconds, for the whole batch; by these a fifth of one.
# An object of 300 optional properties needs 1200 items in a row.
LIMITS = LLParserLimits(max_grammar_size=100_000, step_max_items=8_000, max_items_in_row=1_300)
LONGEST, LONGEST_TOGETHER = 2**17, 2**19  # characters: 4000 properties take 2 s, and the time is quadratic
MOST_REMAINDERS = 100_000  # that numbers may leave when divided: each is a state, and a million of them 6 s and 300 MB
_MULTIPLE = re.compile(r'"multipleOf"\s*:\s*(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)')
MOST_SUBSCHEMAS = 200  # that are tried to find a fault's place
PARTS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")  # objects of schemas
LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")


class GrammarError(Exception):
    """The constraint cannot be enforced. The message is for the client; `param` is the schema that is at fault."""

    def __init__(self, message: str, param: str | None = None):
        super().__init__(message)
        self.param = param


class Grammars:
    """Compiles constraints for one model. Made with the first one: that takes a quarter of a second."""

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo):
        self._tokenizer, self._info = tokenizer, info
        self._ll = LLTokenizer(_Vocabulary(tokenizer, info), eos_token=sorted(info.eog))  # type: ignore[arg-type]

    def matcher(self, constraint: Constraint) -> "GrammarMatcher":
        """Raises GrammarError."""
        _check_size(constraint)
        for schema in constraint.schemas:
            self._check(schema)
        grammar = self._grammar(constraint)
        ll = LLMatcher(self._ll, grammar, log_level=0, limits=LIMITS)
        if ll.is_error():
            problem = self._problem(grammar) or ll.get_error()
            if constraint.kind == "json_schema":
                problem = self._place(json.loads(constraint.source), problem)
            raise GrammarError(problem)
        matcher = GrammarMatcher(ll, constraint, self._tokenizer, self._info.eog)
        if not any(matcher.first_mask()):
            raise GrammarError(ll.get_error() or "Nothing can be said that keeps it.")
        return matcher

    def unenforced(self, constraint: Constraint) -> list[str]:
        """What is let through of schemas that are not strict, each with the name of its schema."""
        found = []
        for schema in constraint.schemas:
            if not schema.strict:
                _, warnings = self._validate(_from_schema(schema.source, False))
                found += [f"{schema.param}: {warning}" for warning in warnings]
        return found

    def _check(self, schema: Schema) -> None:
        if problem := self._problem(_from_schema(schema.source, schema.strict)):
            raise GrammarError(self._place(json.loads(schema.source), problem, schema.strict), schema.param)

    def _grammar(self, constraint: Constraint) -> str:
        try:
            if constraint.kind == "layout":
                grammar = self._layout(constraint)
            else:
                grammar = GRAMMARS[constraint.kind](constraint.source)
        except Exception as error:  # the converters raise whatever they like
            raise GrammarError(str(error)) from None
        if constraint.after:
            return _preceded("start: SPACE @answer", [], grammar)
        if constraint.thinks:
            marks = [rule for i, mark in enumerate(constraint.thinks) for rule in self._mark(f"_{i}", mark)]
            return _preceded("start: (mark_0 until_1 SPACE)? @answer", marks, grammar)
        return grammar

    def _layout(self, constraint: Constraint) -> str:
        rules = [rule for i, mark in enumerate(constraint.marks) for rule in self._mark(f"_{i}", mark)]
        for i, (expression, mark) in enumerate(constraint.texts):
            again = expression == f"({_ANY})"
            rules += [f"TEXT_{i}: {expression}", *self._text(f"text_{i}", f"TEXT_{i}", constraint.marks[mark], again)]
        for i, schema in enumerate(constraint.schemas):
            value = {**json.loads(schema.source), "x-guidance": _options(schema.strict)}
            rules.append(f"schema_{i}: %json {json.dumps(value)}")
        return "\n".join([constraint.source, *rules])

    def _mark(self, number: str, text: str) -> list[str]:
        """The rules `mark` and `until` of a text: see text/tool_grammar.py."""
        return [f"mark{number}: {' '.join(self._parts(text))}", *self._text(f"until{number}", _ANY, text, True)]

    def _text(self, rule: str, expression: str, mark: str, again: bool) -> list[str]:
        """The rules of a text and the mark that ends it. A control token can be no text; where words stand before it in
        the mark, the text may end when these are said, or `again` and again."""
        first, *others = self._parts(mark)
        if first.startswith("<"):
            return [f"{rule}: {expression} {' '.join([first, *others])}"]
        if not others:
            return [f"{rule}[lazy]: {expression} {first}"]
        return [f"{rule}: {rule}_part{'+' * again} {' '.join(others)}", f"{rule}_part[lazy]: {expression} {first}"]

    def _parts(self, text: str) -> list[str]:
        """The text for Lark. Control tokens in it are meant as such."""
        tokens, piece = self._tokenizer.encode(text), self._tokenizer.piece
        if all(map(piece, tokens)):
            return [json.dumps(text)]
        runs = groupby(tokens, lambda token: bool(piece(token)))
        return [part for said, run in runs for part in (self._said(run) if said else map("<[{}]>".format, run))]

    def _said(self, tokens: Iterable[int]) -> list[str]:
        return [json.dumps(b"".join(map(self._tokenizer.piece, tokens)).decode(errors="replace"))]

    def _problem(self, grammar: str) -> str | None:
        wrong, messages = self._validate(grammar)
        return messages[0] if wrong else None

    def _validate(self, grammar: str) -> tuple[bool, list[str]]:
        """Whether it is wrong, and its errors or warnings."""
        return LLMatcher.validate_grammar_with_warnings(grammar, self._ll, limits=LIMITS)

    def _place(self, schema: dict[str, Any], problem: str, strict: bool = True) -> str:
        """The problem with a JSON pointer to the innermost subschema that has it."""
        shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        found = [("", schema)]
        for pointer, part in found:  # grows as it goes: a subschema comes after what it is in
            found += [(pointer + step, inner) for step, inner in _subschemas(part)]
            if len(found) > MOST_SUBSCHEMAS:
                break
        for pointer, part in reversed(found[1:MOST_SUBSCHEMAS]):
            alone = json.dumps({**({} if pointer.startswith(("/$defs", "/definitions")) else shared), **part})
            if self._problem(_from_schema(alone, strict)) == problem:
                return f"{problem} (at {pointer})"
        return f"{problem} (at /)"


class GrammarMatcher:
    """Follows one sequence: see runner.Matcher."""

    def __init__(self, ll: LLMatcher, constraint: Constraint, tokenizer: Tokenizer, eog: frozenset[int]):
        self.param = constraint.param
        self._ll, self._constraint, self._tokenizer, self._eog = ll, constraint, tokenizer, eog
        self._pending = list(constraint.after)  # what must be produced before it wakes
        self._asleep = bool(self._pending)
        self._undecided = self._asleep and constraint.thinks is not None  # whether there will be a reasoning
        self._heard = b""

    @property
    def rest(self) -> "GrammarMatcher":
        return self

    def copy(self) -> "GrammarMatcher":
        """For another sequence, from the beginning."""
        return GrammarMatcher(self._ll.deep_copy(), self._constraint, self._tokenizer, self._eog)

    @property
    def problem(self) -> str:
        return self._ll.get_error() or "No token that it allows is left."

    def allows(self, token: int) -> bool:
        if self._asleep:
            return True
        if token in self._eog:
            return self._ll.is_accepting() and not self._ll.is_error()
        return self._ll.validate_tokens([token]) == 1

    def mask(self) -> bytes | None:
        return None if self._asleep else self.first_mask()

    def first_mask(self) -> bytes:
        """The mask of where it is, asleep or not. Zeros once it has failed."""
        mask = self._ll.compute_bitmask()
        return bytes(len(mask)) if self._ll.is_error() else mask

    def accept(self, token: int) -> bool:
        if self._asleep:
            return self._listen(self._tokenizer.written(token))
        return token in self._eog or self._ll.consume_token(token)

    def _listen(self, data: bytes) -> bool:
        """Wake where the last marker is complete. What follows it in the same token is under the grammar, save white
        space."""
        self._heard += data
        if self._undecided and not self._decided():
            return True
        while self._pending and (at := self._heard.find(self._pending[0])) >= 0:
            self._heard = self._heard[at + len(self._pending.pop(0)) :]
        if self._pending:
            self._heard = self._heard[-len(self._pending[0]) :]
            return True
        self._asleep = False
        rest = self._heard.strip()
        return not rest or self._ll.consume_tokens(self._tokenizer.encode(rest.decode(errors="replace")))

    def _decided(self) -> bool:
        """Whether it is known by now if there is a reasoning; where there is, its end comes first."""
        assert self._constraint.thinks
        opens, closes = (marker.encode() for marker in self._constraint.thinks)
        begun = self._heard.lstrip()
        if opens.startswith(begun) and begun != opens:
            return False
        if begun.startswith(opens):
            self._pending.insert(0, closes)
        self._undecided = False
        return True


class _Vocabulary:
    """What llguidance asks of a tokenizer: see its TokenizerWrapper."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo):
        self.eos_token_id = min(info.eog)
        self.bos_token_id = None
        silent = [t for t in range(info.vocabulary) if t in info.eog or not tokenizer.piece(t)]
        self.special_token_ids = silent
        self.tokens = [tokenizer.piece(token) for token in range(info.vocabulary)]
        for token in silent:
            self.tokens[token] = SPECIAL + (tokenizer.written(token) or b"<%d>" % token)
        self._encode = tokenizer.encode

    def __call__(self, text: str | bytes) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode(errors="replace"))


def _check_size(constraint: Constraint) -> None:
    """Raises GrammarError for what would take long to compile."""
    texts = [(constraint.source, None), *((schema.source, schema.param) for schema in constraint.schemas)]
    for text, param in texts:
        if len(text) > LONGEST:
            raise GrammarError(f"It has {len(text)} characters; at most {LONGEST} can be compiled.", param)
        numbers = [int("".join(map(str, Decimal(found).as_tuple().digits))) for found in _MULTIPLE.findall(text)]
        if lcm(*filter(None, numbers)) > MOST_REMAINDERS:
            raise GrammarError(f"multipleOf is too large: numbers leave more than {MOST_REMAINDERS} remainders.", param)
    if (together := sum(len(text) for text, _ in texts)) > LONGEST_TOGETHER:
        raise GrammarError(f"All schemas have {together} characters; at most {LONGEST_TOGETHER} can be compiled.")


def _options(strict: bool) -> Any:
    return {"lenient": not strict, "coerce_one_of": not strict, "whitespace_pattern": WHITE_SPACE}


def _from_schema(source: str, strict: bool = True) -> str:
    schema = json.loads(source)
    schema.pop("x-guidance", None)  # ours to choose
    return LLMatcher.grammar_from_json_schema(schema, overrides=_options(strict))


def _preceded(start: str, rules: list[str], grammar: str) -> str:
    """The grammar is what `start` calls the answer."""
    lark = "\n".join([start, *rules, r"SPACE: /[ \n]{0,2}/"])
    answer = json.loads(grammar)["grammars"][0] if grammar.startswith('{"grammars"') else {"lark_grammar": grammar}
    return json.dumps({"grammars": [{"lark_grammar": lark}, {**answer, "name": "answer"}]})


def _from_choice(source: str) -> str:
    """A terminal, which is one automaton: as a rule, each text would be an item of the parser's."""
    return LLMatcher.grammar_from_lark("start: TEXT\nTEXT: " + " | ".join(map(json.dumps, json.loads(source))))


def _subschemas(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas directly in a schema, each with its step of a JSON pointer."""
    steps = [(f"/{key}", schema.get(key)) for key in SINGLE]
    steps += [(f"/{key}/{_escaped(name)}", part) for key in PARTS for name, part in _items(schema.get(key))]
    steps += [(f"/{key}/{i}", part) for key in LISTS for i, part in _entries(schema.get(key))]
    return ((step, part) for step, part in steps if isinstance(part, dict))


def _entries(parts: Any) -> list[tuple[int, Any]]:
    return list(enumerate(parts)) if isinstance(parts, list) else []


def _items(parts: Any) -> list[tuple[str, Any]]:
    return list(parts.items()) if isinstance(parts, dict) else []


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


GRAMMARS: dict[str, Callable[[str], str]] = {
    "json_schema": _from_schema,
    "grammar": lambda source: LLMatcher.grammar_from_lark(any_to_lark(source)),
    "regex": LLMatcher.grammar_from_regex,
    "choice": _from_choice,
}
