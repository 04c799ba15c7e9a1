"""JSON schemas checked: before they are compiled, and once a model's value is complete.

A grammar sees letters and not what they mean, so a value can keep each letter of it and break the schema all the same.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from time import monotonic
from typing import Any

from msgspec.structs import replace

from nitro.engines.constraints import json_values, schema_places, schema_walk
from nitro.engines.constraints.grammar_errors import GrammarError, as_grammar_errors, sentence
from nitro.engines.constraints.grammar_probe import first_problem, later_problem
from nitro.engines.constraints.grammar_vocabulary import GrammarVocabulary
from nitro.engines.constraints.grammar_writer import enforceable, from_schema, text_expression
from nitro.engines.constraints.schema_growth import growing
from nitro.engines.constraints.schema_rewriting import rewritten
from nitro.engines.constraints.schema_types import assertions
from nitro.engines.types import PlainText, Schema

MAX_RECHECKED_CHARS = 2**16  # of a schema whose value is parsed a second time, on the engine thread
MAX_SUBSCHEMAS = 200  # that are tried to find the place of a fault
LEFT_OUT = ("pattern", "format")
MAX_LEFT_OUT = 12  # patterns that are left out of a schema that is not strict
MAX_SECONDS = 1.0  # for which they are tried
UNSATISFIABLE = "nsatisfiable"  # in what llguidance says of a schema and of what is around it, in other words
DEFINITIONS = ("$schema", "$defs", "definitions")


class SchemaChecks:
    """For one vocabulary. Thread-safe."""

    def __init__(self, vocabulary: GrammarVocabulary):
        self._vocabulary = vocabulary
        self._weaker = lru_cache(maxsize=32)(self._find_weaker)

    def check(self, schema: Schema) -> None:
        """Raises GrammarError, with the place of the fault, where the schema cannot be enforced."""
        with blamed(schema):
            if problem := self.problem(schema.source, schema.strict):
                raise GrammarError(problem, schema.param)

    def check_text(self, text: PlainText) -> None:
        """Raises GrammarError, with the place of the fault, where a text cannot be held to its schema."""
        self.check(text.schema)
        with blamed(text.schema):
            wrong, _ = self._vocabulary.validate(f"start: TEXT\nTEXT: {text_expression(text)}")
            if wrong:
                raise GrammarError("No text can be held to it (at /)", text.schema.param)

    def check_growth(self, schema: Schema) -> None:
        """Raises GrammarError, with the place, where an answer would fail after it has begun.

        Parts whose states may multiply are tried by themselves, a bounded number of them.
        """
        with blamed(schema):
            if found := self._growth(schema.source, schema.strict):
                place, keyword, problem = found
                raise GrammarError(f"{keyword}: {problem} (at {place or '/'})", schema.param)

    def weaker(self, schema: Schema) -> Schema:
        """A schema that is not strict without the patterns at which an answer would fail after it has begun."""
        if schema.strict:
            return schema
        with blamed(schema):
            return replace(schema, source=self._weaker(schema.source)[0])

    def _find_weaker(self, source: str) -> tuple[str, tuple[str, ...]]:
        """The schema without them, and what is told of each."""
        told: list[str] = []
        while found := self._growth(source, strict=False):
            place, keyword, problem = found
            whole = json.loads(source)
            part = schema_walk.nearest(whole, place)[1]
            having = [one for one in [part, *part.get("allOf", [])] if isinstance(one, dict) and keyword in one]
            if keyword not in LEFT_OUT or not having or len(told) >= MAX_LEFT_OUT:
                break  # it is refused
            for one in having:
                del one[keyword]
            told.append(f"{keyword} (at {place or '/'}) is not enforced: {problem}")
            source = json.dumps(whole)
        return source, tuple(told)

    def _growth(self, source: str, strict: bool) -> tuple[str, str, str] | None:
        """Where an answer would fail: a pointer, the keyword, and why. None: nowhere."""
        whole = json.loads(enforceable(source, strict))
        definitions = _definitions(whole)
        parts = list(growing(whole))
        for pointer, keyword, part in parts:
            alone = json.dumps(part)
            source_of_part = json.dumps({**definitions, **part}) if '"$ref"' in alone else alone
            ll = self._vocabulary.begin(from_schema(source_of_part, strict))
            if ll.is_error():
                continue  # it leads elsewhere by itself; as a part it has been compiled
            if problem := first_problem(ll, self._vocabulary) or later_problem(ll, self._vocabulary, len(parts)):
                place, original = schema_walk.nearest(json.loads(source), pointer)
                named = "format" if keyword == "pattern" and "format" in original else keyword
                return place, named, problem
        return None

    def problem(self, source: str, strict: bool = True) -> str | None:
        """What is wrong with a schema, and where; None: nothing. Raises ValueError as `from_schema` does."""
        problem = self._problem(source, strict)
        return problem and self._with_place(schema_walk.load(source), problem, strict)

    def unenforced(self, schemas: list[Schema]) -> list[str]:
        """What is let through of schemas that are not strict, each with the name of its schema."""
        found = []
        for schema in schemas:
            if not schema.strict:
                with as_grammar_errors(schema.param):
                    source, left_out = self._weaker(schema.source)
                    known = rewritten(source)
                    _, warnings = self._vocabulary.validate(from_schema(source, False))
                told = [*map(str, known.patterns), *left_out, *map(sentence, warnings)]
                told += [f"{keyword} (at {pointer or '/'}) is not enforced" for pointer, keyword in known.unenforced]
                found += [schema_places.told(one, place) for place in schema.all_places for one in told]
        return list(dict.fromkeys(found))

    def violation(self, schema: Schema, text: str, recheck: bool = True) -> str | None:
        """How a complete value breaks its schema, though its letters have kept the grammar; None: it does not.

        The value, spelled plainly as it is understood, is parsed by the grammar again. Without `recheck` one that is
        spelled otherwise counts as breaking it.
        """
        try:
            if (plain_and_oddities := json_values.plainly(text)) is None:
                return None
            plain, oddities = plain_and_oddities
            if recheck and len(schema.source) <= MAX_RECHECKED_CHARS and self._keeps(schema, plain):
                return None
        except (ValueError, RecursionError) as error:
            oddities = f"it cannot be read again ({sentence(str(error))})"
        return f"The value that the model wrote breaks '{schema.param}': {oddities}."

    def _keeps(self, schema: Schema, text: str) -> bool:
        ll = self._vocabulary.begin(from_schema(schema.source, schema.strict))
        tokens = self._vocabulary.tokenize(text)
        return ll.try_consume_tokens(tokens) == len(tokens) and ll.is_accepting()

    def _problem(self, source: str, strict: bool) -> str | None:
        wrong, messages = self._vocabulary.validate(from_schema(source, strict))
        return sentence(messages[0]) if wrong else None

    def _with_place(self, schema: dict[str, Any], problem: str, strict: bool) -> str:
        """The problem with its keyword, and a JSON pointer to the innermost subschema that has it."""
        definitions = _definitions(schema)
        deadline = monotonic() + MAX_SECONDS
        for pointer, part in reversed(list(islice(schema_walk.every(schema), MAX_SUBSCHEMAS))):
            if monotonic() > deadline:
                break
            shared = {} if pointer.startswith(("/$defs", "/definitions")) else definitions
            whole = {**shared, **part}
            if not pointer or self._is_problem(whole, problem, strict):
                problem = self._problem(json.dumps(whole), strict) or problem
                return f"{self._with_keyword(whole, problem, strict)} (at {pointer or '/'})"
        return f"{problem} (at /)"

    def _with_keyword(self, part: dict[str, Any], problem: str, strict: bool) -> str:
        """The problem with the keyword without which it would not be there."""
        for keyword in sorted(part, key=lambda keyword: keyword not in assertions(part)):
            others = {key: value for key, value in part.items() if key != keyword}
            if not self._is_problem(others, problem, strict):
                return problem if problem.startswith(keyword) else f"{keyword}: {problem}"
        return problem

    def _is_problem(self, schema: dict[str, Any], problem: str, strict: bool) -> bool:
        try:
            found = self._problem(json.dumps(schema), strict)
        except ValueError:
            return False
        return found is not None and (found == problem or (UNSATISFIABLE in found and UNSATISFIABLE in problem))


@contextmanager
def blamed(schema: Schema) -> Iterator[None]:
    """Whatever is raised over a schema becomes a GrammarError with the schema's place in the request."""
    try:
        with as_grammar_errors(schema.param):
            yield
    except GrammarError as error:
        raise GrammarError(schema_places.blamed(str(error), schema.all_places[0]), error.param) from error


def _definitions(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in DEFINITIONS if key in schema}
