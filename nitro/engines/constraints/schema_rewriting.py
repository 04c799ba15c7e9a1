"""JSON schemas made such that llguidance enforces them: see the rules in schema_rules.py.

The result has the same values and is for the compiler alone. What no rule can help with is named, with its place.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from nitro.engines.constraints import schema_dead_ends, schema_patterns, schema_walk
from nitro.engines.constraints.json_values import escaped
from nitro.engines.constraints.schema_patterns import UnsupportedKeyword
from nitro.engines.constraints.schema_rules import (
    EXACT_INSIDE,
    FAILURES,
    LENIENT,
    RULES,
    disjoint_conditions,
    idle,
    is_condition,
)
from nitro.engines.constraints.schema_types import ANNOTATIONS, NEVER, Instead, Schema, Scope, is_anything, is_never

MAX_GROWN_CHARS = 2**19  # of what a schema becomes
MAX_SHOWN_CHARS = 40
# These may stand beside whatever else a schema has, if it has them not yet.
_MERGED = frozenset(
    (
        "pattern",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "anyOf",
        "enum",
        "patternProperties",
    )
)
_BESIDE = frozenset(("type", "required", "properties"))  # what says enough about a discriminator
_OLD_DRAFTS = ("draft-03", "draft-04", "draft-05", "draft-06", "draft-07")
_COUNTS = frozenset(least + of for least in ("min", "max") for of in ("Length", "Items", "Properties", "Contains"))


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A schema for llguidance in JSON, and what it does not enforce: pointers with a keyword each, and patterns."""

    source: str
    unenforced: tuple[tuple[str, str], ...]
    patterns: tuple[UnsupportedKeyword, ...]


@lru_cache(maxsize=32)
def rewritten(source: str) -> Rewritten:
    """A schema as llguidance enforces it. Raises ValueError, with the place, for what it can hold in no way."""
    loaded = schema_walk.load(source)
    patterns = schema_patterns.rewrite(loaded)  # first: those that rules write are in llguidance's syntax
    rewriter = _Rewriter(loaded)
    schema = rewriter.whole()
    schema.pop("x-guidance", None)  # ours to choose
    text = json.dumps(schema_dead_ends.closed(schema))
    if len(text) > max(MAX_GROWN_CHARS, 2 * len(source)):
        pointer, keyword = rewriter.grown or ("", "$ref")
        raise ValueError(f"{keyword} makes it too large to be enforced (at {pointer or '/'})")
    return Rewritten(text, tuple(rewriter.unenforced), tuple(patterns))


class _Rewriter:
    def __init__(self, root: Any):
        self._root = root
        declared = root.get("$schema")
        self._is_old = isinstance(declared, str) and any(draft in declared for draft in _OLD_DRAFTS)
        # Where parts have addresses of their own, a pointer may not start at the root.
        self._is_plain = not any(isinstance(part.get("$id"), str) for _, part in list(schema_walk.every(root))[1:])
        self._targets: dict[str, Schema | None] = {}
        self._moved: dict[str, str] = {}  # references to places that are no more, and where these have gone
        self._tried: dict[str, tuple[Schema, list[tuple[str, str]]]] = {}  # by pointer: see `_tried_first`
        self._scope = Scope(self._target)
        self.unenforced: dict[tuple[str, str], None] = {}
        self.grown: tuple[str, str] | None = None  # the last place where a rule made two branches or more

    def whole(self) -> Schema:
        """The whole schema."""
        schema = self._schema(self._root, "")
        moved: dict[str, Any] = {}
        while len(moved) < len(self._moved):
            for reference, place in list(self._moved.items()):
                moved[place] = self._target(reference)
        if moved:
            schema["$defs"] = {**schema.get("$defs", {}), **moved}
        return schema

    def _target(self, reference: str) -> Schema | None:
        """What a reference leads to; None: not known, or still being rewritten."""
        reference = next((old for old, place in self._moved.items() if reference == f"#/$defs/{place}"), reference)
        if reference not in self._targets:
            self._targets[reference] = None
            if self._is_plain:
                found = schema_walk.target(self._root, reference)
                if isinstance(found, bool):
                    self._targets[reference] = {} if found else NEVER
                elif isinstance(found, dict):
                    self._targets[reference] = self._schema(found, unquote(reference[1:]))
        return self._targets[reference]

    def _schema(self, schema: Schema, pointer: str) -> Schema:
        if pointer in self._tried:
            result, unenforced = self._tried.pop(pointer)
            self.unenforced |= dict.fromkeys(unenforced)
            return result
        idle_keywords = idle(schema)
        schema = {keyword: _whole(keyword, value) for keyword, value in schema.items() if keyword not in idle_keywords}
        if self._is_old and isinstance(schema.get("$ref"), str):  # there, nothing beside a reference counts
            schema = {keyword: value for keyword, value in schema.items() if keyword in ANNOTATIONS | {"$ref"}}
        if "$ref" in schema:
            schema["$ref"] = self._reference(schema["$ref"])
        conditions, merged = self._conditions(schema, pointer)
        for i in conditions:
            schema["allOf"] = [*schema["allOf"][:i], True, *schema["allOf"][i + 1 :]]
        inexact = set()
        for keyword in [keyword for keyword in schema if keyword in schema_walk.WITH_SCHEMAS]:
            before = len(self.unenforced)
            schema[keyword] = self._inside(keyword, schema[keyword], f"{pointer}/{keyword}")
            if len(self.unenforced) > before:
                inexact.add(keyword)
        for keyword in [keyword for keyword in RULES if keyword in schema]:
            schema = self._without(schema, keyword, pointer, keyword in inexact & EXACT_INSIDE)
        return {**schema, "allOf": [*schema["allOf"], merged]} if conditions else schema

    def _conditions(self, schema: Schema, pointer: str) -> tuple[list[int], Schema]:
        """The places in `allOf` of conditions without `else`, if no two of them hold at once, and what they mean."""
        parts = schema.get("allOf")
        parts = parts if isinstance(parts, list) else []
        places = [i for i, part in enumerate(parts) if is_condition(part)]
        before = dict(self.unenforced)
        beside = {key: value for key, value in schema.items() if key in _BESIDE}
        try:
            if len(places) > 1:
                pairs = [
                    (
                        self._tried_first(parts[i]["if"], f"{pointer}/allOf/{i}/if"),
                        self._tried_first(parts[i]["then"], f"{pointer}/allOf/{i}/then"),
                    )
                    for i in places
                ]
                if len(self.unenforced) == len(before):
                    return places, disjoint_conditions(pairs, beside, self._scope)
        except FAILURES:
            pass
        self.unenforced = before  # they are looked at one by one
        return [], {}

    def _tried_first(self, schema: Schema, pointer: str) -> Schema:
        """A schema that may be wanted once more. Each time anew, conditions in conditions would double the work."""
        before = set(self.unenforced)
        result = self._schema(schema, pointer)
        self._tried[pointer] = (result, [found for found in self.unenforced if found not in before])
        return result

    def _reference(self, reference: Any) -> Any:
        """A reference to a place that will still be there: not within a keyword that has a rule."""
        steps = reference.split("/") if isinstance(reference, str) and self._is_plain else []
        if not RULES.keys() & set(steps) or schema_walk.target(self._root, reference) is None:
            return reference
        place = self._moved.setdefault(reference, f"nitro-moved-{len(self._moved)}")
        return f"#/$defs/{place}"

    def _inside(self, keyword: str, value: Any, pointer: str) -> Any:
        """The schemas in a keyword's value."""
        if keyword in schema_walk.OBJECTS_OF_SCHEMAS and isinstance(value, dict):
            return {
                name: self._schema(part, f"{pointer}/{escaped(name)}") if isinstance(part, dict) else part
                for name, part in value.items()
            }
        if keyword in schema_walk.LISTS_OF_SCHEMAS and isinstance(value, list):
            return [
                self._schema(part, f"{pointer}/{i}") if isinstance(part, dict) else part for i, part in enumerate(value)
            ]
        if keyword in schema_walk.SINGLE_SCHEMAS and isinstance(value, dict):
            return self._schema(value, pointer)
        return value

    def _without(self, schema: Schema, keyword: str, pointer: str, is_inexact: bool) -> Schema:
        """The schema with what enforces this keyword in its stead."""
        if keyword not in schema:
            return schema
        rule, company = RULES[keyword]
        rest = {key: value for key, value in schema.items() if key != keyword and key not in company}
        before = len(self.unenforced)
        try:
            if is_inexact:
                raise ValueError(keyword)
            result = rule(schema[keyword], schema, self._scope)
        except FAILURES:
            if len(self.unenforced) == before or not is_inexact:
                self.unenforced[pointer, _named(keyword, schema[keyword])] = None
            result = (
                LENIENT[keyword](schema[keyword]) if isinstance(schema[keyword], list) and keyword in LENIENT else True
            )
        if is_anything(result):
            return rest
        if isinstance(result, Instead):
            return {**{key: value for key, value in rest.items() if key in ANNOTATIONS}, **result}
        if is_never(result):
            return {**{key: value for key, value in rest.items() if key in ANNOTATIONS}, **NEVER}
        if "anyOf" in result:
            self.grown = (pointer, keyword)
        if set(result) <= _MERGED and not set(result) & set(rest):
            return {**rest, **result}
        return {**rest, "allOf": [*rest.get("allOf", []), result]}


def _named(keyword: str, value: Any) -> str:
    """The keyword, with its value where that is a short text: of a format it matters which."""
    is_short = isinstance(value, str) and len(value) <= MAX_SHOWN_CHARS
    return f"{keyword} {json.dumps(value, ensure_ascii=False)}" if is_short else keyword


def _whole(keyword: str, value: Any) -> Any:
    """A count that is written as 2.0 is 2."""
    return int(value) if keyword in _COUNTS and isinstance(value, float) and value.is_integer() else value
