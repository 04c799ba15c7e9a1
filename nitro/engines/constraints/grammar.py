"""Constraints on what a sequence may say, by llguidance: one module for every runner.

A constraint is compiled when its request arrives, off the engine thread; one that cannot be enforced is refused then. A
Matcher follows one sequence token by token. It may sleep until certain bytes have been produced, such as the end of a
reasoning, so that an engine need know no format. What a grammar cannot hold, since it sees letters and not what they
mean, is checked as soon as a value is whole.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import groupby, islice
from math import lcm
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.gbnf_to_lark import any_to_lark

from nitro.engines.constraints import json_schemas, json_values
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
LONGEST_AGAIN = 2**16  # of a schema that a value is shown again, on the engine thread
MOST_REMAINDERS = 100_000  # that numbers may leave when divided: each is a state, and a million of them 6 s and 300 MB
_MULTIPLE = re.compile(r'"multipleOf"\s*:\s*(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)')
MOST_SUBSCHEMAS = 200  # that are tried to find a fault's place
# Steps into an answer in which a grammar that cannot be followed is found out, and what leads further into JSON.
LOOK_AHEAD, INWARD = 12, ("{", "[", '"', ":")
ANSWER = "answer"  # the rule of an answer that is one JSON value
VALUED = ("json_schema", "layout")  # whose captures are JSON values; those of other grammars are their writers' own
LONGEST_PROBLEM = 300  # characters


class GrammarError(Exception):
    """The constraint cannot be enforced. The message is for the client; `param` is the schema that is at fault."""

    def __init__(self, message: str, param: str | None = None):
        super().__init__(message)
        self.param = param


class Unwanted(Exception):
    """Nobody waits for the constraint any more."""


class Grammars:
    """Compiles constraints for one model. Made with the first one: that takes a quarter of a second.

    Every method may be called from any thread: what they share does not change. Of the matchers each belongs to one
    thread at a time, those copied from each other to the same one.
    """

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo):
        self._tokenizer, self._info = tokenizer, info
        self._ll = LLTokenizer(_Vocabulary(tokenizer, info), eos_token=sorted(info.eog))  # type: ignore[arg-type]
        unended = (1 << info.vocabulary) - 1 & ~sum(1 << token for token in info.eog)
        self._unended = unended.to_bytes((info.vocabulary + 31) // 32 * 4, "little")  # a mask of all but the end

    def matcher(self, constraint: Constraint, wanted: Callable[[], bool] = lambda: True) -> "GrammarMatcher":
        """Raises GrammarError, whatever is wrong with it, or Unwanted where `wanted` says no before a step of it."""
        with _refusing():
            _check_size(constraint)
        for schema in constraint.schemas:
            _go_on(wanted)
            with _refusing(schema.param):
                self._check(schema)
        _go_on(wanted)
        with _refusing():
            return self._compiled(constraint, wanted)

    def _compiled(self, constraint: Constraint, wanted: Callable[[], bool]) -> "GrammarMatcher":
        ll = self._begin(self._grammar(constraint))
        _go_on(wanted)
        if problem := self._first_problem(ll):
            if constraint.kind == "json_schema" and (found := self._problem(_from_schema(constraint.source))):
                problem = self._place(json.loads(constraint.source), found)
            raise GrammarError(problem)
        return GrammarMatcher(self, ll, constraint)

    def _begin(self, grammar: str) -> LLMatcher:
        return LLMatcher(self._ll, grammar, log_level=0, limits=LIMITS)

    def _first_problem(self, ll: LLMatcher) -> str | None:
        """Why not even an answer's beginning can be said: as far as there is no choice, and into objects and lists."""
        if ll.is_error():
            return sentence(ll.get_error())
        probe = ll.deep_copy()
        if not any(probe.compute_bitmask()):
            return "Nothing can be said that keeps it."
        for _ in range(LOOK_AHEAD):
            if probe.is_error() or not self._go_into(probe):
                break
        probe.compute_bitmask()
        return sentence(probe.get_error()) or None

    def _go_into(self, probe: LLMatcher) -> bool:
        """Say what must come next, else what may and leads further. False where nothing does."""
        forced = probe.compute_ff_tokens() or self._ll.greedy_tokenize(probe.compute_ff_bytes().decode(errors="ignore"))
        ways = [forced] if forced else map(self._ll.greedy_tokenize, INWARD)
        return any(probe.try_consume_tokens(way) == len(way) for way in ways)

    def broken(self, schema: Schema, text: str) -> str | None:
        """How a whole value breaks its schema, though its letters have kept the grammar. None: it does not.

        Spelled plainly, as it is understood, it is shown the grammar again.
        """
        try:
            if (read := json_values.plainly(text)) is None:
                return None
            plain, odd = read
            if len(schema.source) <= LONGEST_AGAIN:
                ll, tokens = self._begin(_from_schema(schema.source, schema.strict)), self._ll.greedy_tokenize(plain)
                if ll.try_consume_tokens(tokens) == len(tokens) and ll.is_accepting():
                    return None
        except (ValueError, RecursionError) as error:
            odd = f"it cannot be read again ({sentence(str(error))})"
        return f"The value that the model wrote breaks '{schema.param}': {odd}."

    def unenforced(self, constraint: Constraint) -> list[str]:
        """What is let through of schemas that are not strict, each with the name of its schema."""
        found = []
        for schema in constraint.schemas:
            if not schema.strict:
                with _refusing(schema.param):
                    _, warnings = self._validate(_from_schema(schema.source, False))
                found += [f"{schema.param}: {warning}" for warning in warnings]
        return found

    def _check(self, schema: Schema) -> None:
        if problem := self._problem(_from_schema(schema.source, schema.strict)):
            raise GrammarError(self._place(json.loads(schema.source), problem, schema.strict), schema.param)

    def _grammar(self, constraint: Constraint) -> str:
        if constraint.kind == "layout":
            grammar = self._layout(constraint)
        else:
            grammar = GRAMMARS[constraint.kind](constraint.source)
        if constraint.after:
            return _preceded("SPACE", [], grammar)
        if constraint.thinks:
            marks = [rule for i, mark in enumerate(constraint.thinks) for rule in self._mark(f"_{i}", mark)]
            return _preceded("(mark_0 until_1 SPACE)?", marks, grammar)
        return _preceded("", [], grammar) if constraint.kind == "json_schema" else grammar

    def _layout(self, constraint: Constraint) -> str:
        rules = [rule for i, mark in enumerate(constraint.marks) for rule in self._mark(f"_{i}", mark)]
        for i, (expression, mark) in enumerate(constraint.texts):
            again = expression == f"({_ANY})"
            rules += [f"TEXT_{i}: {expression}", *self._text(f"text_{i}", f"TEXT_{i}", constraint.marks[mark], again)]
        for i, schema in enumerate(constraint.schemas):
            value = {**json_schemas.load(schema.source), "x-guidance": _options(schema.strict)}
            rules.append(f"schema_{i}[capture]: %json {json.dumps(value)}")
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
        tokens, piece = self._tokenizer.encode(text), self._tokenizer.token_bytes
        if all(map(piece, tokens)):
            return [json.dumps(text)]
        runs = groupby(tokens, lambda token: bool(piece(token)))
        return [part for said, run in runs for part in (self._said(run) if said else map("<[{}]>".format, run))]

    def _said(self, tokens: Iterable[int]) -> list[str]:
        return [json.dumps(b"".join(map(self._tokenizer.token_bytes, tokens)).decode(errors="replace"))]

    def _problem(self, grammar: str) -> str | None:
        wrong, messages = self._validate(grammar)
        return sentence(messages[0]) if wrong else None

    def _validate(self, grammar: str) -> tuple[bool, list[str]]:
        """Whether it is wrong, and its errors or warnings."""
        return LLMatcher.validate_grammar_with_warnings(grammar, self._ll, limits=LIMITS)

    def _place(self, schema: dict[str, Any], problem: str, strict: bool = True) -> str:
        """The problem with a JSON pointer to the innermost subschema that has it."""
        shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        found = list(islice(json_schemas.every(schema), MOST_SUBSCHEMAS))
        for pointer, part in reversed(found[1:]):
            alone = json.dumps({**({} if pointer.startswith(("/$defs", "/definitions")) else shared), **part})
            if self._problem(_from_schema(alone, strict)) == problem:
                return f"{problem} (at {pointer})"
        return f"{problem} (at /)"


class GrammarMatcher:
    """Follows one sequence: see runner.Matcher."""

    def __init__(self, grammars: Grammars, ll: LLMatcher, constraint: Constraint):
        self.param = constraint.param
        self._grammars, self._ll, self._constraint = grammars, ll, constraint
        self._tokenizer, self._eog = grammars._tokenizer, grammars._info.eog
        self._pending = list(constraint.after)  # what must be produced before it wakes
        self._asleep = bool(self._pending)
        self._undecided = self._asleep and constraint.thinks is not None  # whether there will be a reasoning
        self._heard = b""
        self._whole = 0  # values that were checked
        self._broken = ""  # how one of them breaks its schema

    @property
    def active(self) -> "GrammarMatcher":
        return self

    def copy(self) -> "GrammarMatcher":
        """For another sequence, from the beginning."""
        return GrammarMatcher(self._grammars, self._ll.deep_copy(), self._constraint)

    @property
    def problem(self) -> str:
        if self._broken or not self._ll.is_error():
            return self._broken or "No token that it allows is left."
        return f"Invalid value for '{self.param}': it cannot be followed further. {sentence(self._ll.get_error())}"

    @property
    def schema_violated(self) -> bool:
        return bool(self._broken)

    def allows(self, token: int) -> bool:
        if self._asleep:
            return not (self._constraint.owed and token in self._eog)
        if token in self._eog:
            return self._ll.is_accepting() and not self._ll.is_error()
        return self._ll.validate_tokens([token]) == 1

    def mask(self) -> bytes | None:
        if self._asleep:
            return self._grammars._unended if self._constraint.owed else None
        return self.first_mask()

    def first_mask(self) -> bytes:
        """The mask of where it is, asleep or not. Zeros once it has failed."""
        mask = self._ll.compute_bitmask()
        return bytes(len(mask)) if self._ll.is_error() else mask

    def accept(self, token: int) -> bool:
        if self._asleep:
            going = self._listen(self._tokenizer.vocabulary_text(token))
        elif token in self._eog:
            self._ll.consume_token(token)  # a number that stands last is whole now
            going = True
        else:
            going = self._ll.consume_token(token)
        return going and self._keeps()

    def _keeps(self) -> bool:
        """Whether the values that have become whole keep their schemas."""
        if self._constraint.kind not in VALUED:
            return True
        values = self._ll.get_captures()
        for name, value in values[self._whole :]:
            schema = self._schema(name)
            if broken := self._grammars.broken(schema, value.decode(errors="replace")):
                self._broken, self.param = broken, schema.param
                return False
        self._whole = len(values)
        return True

    def _schema(self, rule: str) -> Schema:
        if rule == ANSWER:
            return Schema(self._constraint.source, self._constraint.param)
        return self._constraint.schemas[int(rule.removeprefix("schema_"))]

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
        return not rest or self._ll.consume_tokens(self._grammars._ll.greedy_tokenize(rest.decode(errors="replace")))

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
        silent = [t for t in range(info.vocabulary) if t in info.eog or not tokenizer.token_bytes(t)]
        self.special_token_ids = silent
        self.tokens = [tokenizer.token_bytes(token) for token in range(info.vocabulary)]
        for token in silent:
            self.tokens[token] = SPECIAL + (tokenizer.vocabulary_text(token) or b"<%d>" % token)
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


@contextmanager
def _refusing(param: str | None = None) -> Iterator[None]:
    """Whatever a library raises over a constraint is the constraint's fault."""
    try:
        yield
    except (GrammarError, Unwanted, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in llguidance is no Exception
        raise GrammarError(sentence(str(error)) or repr(error), param) from error


def _go_on(wanted: Callable[[], bool]) -> None:
    if not wanted():
        raise Unwanted


def sentence(problem: str) -> str:
    """What llguidance says of a problem, without the state that it writes down behind it."""
    told = " ".join(problem.partition("<state>")[0].partition("<grammar>")[0].split())
    return told if len(told) <= LONGEST_PROBLEM else told[:LONGEST_PROBLEM] + "…"


def _options(strict: bool) -> Any:
    return {"lenient": not strict, "coerce_one_of": not strict, "whitespace_pattern": WHITE_SPACE}


def _from_schema(source: str, strict: bool = True) -> str:
    schema = json_schemas.load(source)
    schema.pop("x-guidance", None)  # ours to choose
    return LLMatcher.grammar_from_json_schema(schema, overrides=_options(strict))


def _preceded(before: str, rules: list[str], grammar: str) -> str:
    """The grammar, with something before it. A JSON value is told by the rule's name when it is whole."""
    answer = json.loads(grammar)["grammars"][0] if grammar.startswith('{"grammars"') else {"lark_grammar": grammar}
    rule = f"{ANSWER}[capture]: @inner" if answer.get("json_schema") else f"{ANSWER}: @inner"
    lark = "\n".join([f"start: {before} {ANSWER}", rule, *rules, r"SPACE: /[ \n]{0,2}/"])
    return json.dumps({"grammars": [{"lark_grammar": lark}, {**answer, "name": "inner"}]})


def _from_choice(source: str) -> str:
    """A terminal, which is one automaton: as a rule, each text would be an item of the parser's."""
    return LLMatcher.grammar_from_lark("start: TEXT\nTEXT: " + " | ".join(map(json.dumps, json.loads(source))))


GRAMMARS: dict[str, Callable[[str], str]] = {
    "json_schema": _from_schema,
    "grammar": lambda source: LLMatcher.grammar_from_lark(any_to_lark(source)),
    "regex": LLMatcher.grammar_from_regex,
    "choice": _from_choice,
}
