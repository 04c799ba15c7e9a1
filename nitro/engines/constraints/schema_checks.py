"""JSON schemas checked: before they are compiled, and once a model's value is complete.

A grammar sees letters and not what they mean, so a value can keep each letter of it and break the schema all the same.
"""

import json
from itertools import islice
from typing import Any

from nitro.engines.constraints import json_values, schema_patterns, schema_places, schema_walk
from nitro.engines.constraints.grammar_errors import GrammarError, as_grammar_errors, sentence
from nitro.engines.constraints.grammar_vocabulary import GrammarVocabulary
from nitro.engines.constraints.grammar_writer import from_schema, text_expression
from nitro.engines.types import PlainText, Schema

MAX_RECHECKED_CHARS = 2**16  # of a schema whose value is parsed a second time, on the engine thread
MAX_SUBSCHEMAS = 200  # that are tried to find the place of a fault


class SchemaChecks:
    """For one vocabulary. Thread-safe."""

    def __init__(self, vocabulary: GrammarVocabulary):
        self._vocabulary = vocabulary

    def check(self, schema: Schema) -> None:
        """Raises GrammarError, with the place of the fault, where the schema cannot be enforced."""
        try:
            with as_grammar_errors(schema.param):
                if problem := self.problem(schema.source, schema.strict):
                    raise GrammarError(problem, schema.param)
        except GrammarError as error:
            raise GrammarError(schema_places.blamed(str(error), schema.all_places[0]), error.param) from error

    def check_text(self, text: PlainText) -> None:
        """Raises GrammarError, with the place of the fault, where a text cannot be held to its schema."""
        self.check(text.schema)
        place = text.schema.all_places[0]
        with as_grammar_errors(place.param):
            wrong, _ = self._vocabulary.validate(f"start: TEXT\nTEXT: {text_expression(text)}")
        if wrong:
            raise GrammarError(schema_places.blamed("No text can be held to it (at /)", place), place.param)

    def problem(self, source: str, strict: bool = True) -> str | None:
        """What is wrong with a schema, and where; None: nothing."""
        problem = self._problem(source, strict)
        return problem and self._with_place(json.loads(source), problem, strict)

    def unenforced(self, schemas: list[Schema]) -> list[str]:
        """What is let through of schemas that are not strict, each with the name of its schema."""
        found = []
        for schema in schemas:
            if not schema.strict:
                with as_grammar_errors(schema.param):
                    _, warnings = self._vocabulary.validate(from_schema(schema.source, False))
                    told = [*map(str, schema_patterns.rewrite(schema_walk.load(schema.source))), *warnings]
                found += [schema_places.told(one, place) for place in schema.all_places for one in told]
        return list(dict.fromkeys(found))

    def violation(self, schema: Schema, text: str) -> str | None:
        """How a complete value breaks its schema, though its letters have kept the grammar; None: it does not.

        The value, spelled plainly as it is understood, is parsed by the grammar again.
        """
        try:
            if (plain_and_oddities := json_values.plainly(text)) is None:
                return None
            plain, oddities = plain_and_oddities
            if len(schema.source) <= MAX_RECHECKED_CHARS and self._keeps(schema, plain):
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
        """The problem with a JSON pointer to the innermost subschema that has it."""
        definitions: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
        subschemas = list(islice(schema_walk.every(schema), MAX_SUBSCHEMAS))
        for pointer, part in reversed(subschemas[1:]):
            shared = {} if pointer.startswith(("/$defs", "/definitions")) else definitions
            if self._has_problem({**shared, **part}, problem, strict):
                return f"{problem} (at {pointer})"
        return f"{problem} (at /)"

    def _has_problem(self, schema: dict[str, Any], problem: str, strict: bool) -> bool:
        try:
            return self._problem(json.dumps(schema), strict) == problem
        except ValueError:  # another one, which the whole does not have: in a definition that it has no use for
            return False
