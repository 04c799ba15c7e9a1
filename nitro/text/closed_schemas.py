"""JSON schemas whose objects have the properties that they list, and no others.

By JSON Schema an object may have any property beside those that its schema lists. A small model goes on inventing some
until its tokens run out, so that an object is closed here unless its schema says something of others, as llama.cpp's
converter and OpenAI's strict mode have it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nitro.text.json_schemas import MAX_DEPTH, JsonSchema, is_plain, referred, with_subschemas

# What says which properties there are beside those that are listed.
_OTHERS = {"additionalProperties", "patternProperties", "propertyNames"}
_FINITE = {"const", "enum"}
_ELSEWHERE = {"$dynamicRef", "$recursiveRef"}
_CONDITIONAL = ("then", "else", "dependentSchemas", "dependencies")  # apply to the same value, maybe
_UNTOUCHED = ("not", "if", "contains", "propertyNames")
_MAX_COPIES = 200  # of definitions
_MAX_REPEATED = 4_000  # names that are listed once more where others describe the same object

Names = tuple[str, ...] | None  # of properties, in their order; None: any


def closed(schema: JsonSchema) -> dict[str, Any]:
    """The schema with every object closed whose schema has `properties`, and says nothing of others.

    Where several subschemas describe one object, by allOf, anyOf, oneOf, $ref or conditions, each allows what the
    others list, too. An object stays open where a closed one could not keep the rest of its schema, and all of them
    where the schema would become much larger.
    """
    try:
        return _Closer(schema).whole()
    except _TooLargeError:
        return dict(schema)


class _TooLargeError(Exception):
    """So many places describe one object that what all of them list would have to be written again and again."""


@dataclass(slots=True)
class _Closer:
    """For one schema, its root."""

    root: JsonSchema
    copies: dict[str, Any] = field(default_factory=dict)  # definitions as they are beside others, by name
    _known: dict[int, Names] = field(default_factory=dict)  # by id of a schema
    _copied: dict[tuple[str, Names], str] = field(default_factory=dict)  # a name by reference and context
    _repeated: int = 0  # names

    def whole(self) -> dict[str, Any]:
        changed = self._schema(self.root, (), 0)
        if self.copies:  # first, so that a fault is found in the original
            changed["$defs"] = {**self.copies, **changed.get("$defs", {})}
        return dict(changed)

    def _schema(self, schema: Any, context: Names, depth: int) -> Any:
        """`context`: the properties that others list for the same object."""
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return schema
        if is_plain(schema):
            return schema
        sources = list(self._sources(schema, depth))

        def change(keyword: str, part: Any) -> Any:
            if keyword in _UNTOUCHED:
                return part
            if keyword in _CONDITIONAL:
                return self._schema(part, None, depth + 1)
            if keyword not in ("allOf", "anyOf", "oneOf"):
                return self._schema(part, (), depth + 1)
            mine = id(part) if keyword == "allOf" else keyword
            return self._schema(part, _union([context, *(names for of, names in sources if of != mine)]), depth + 1)

        changed = with_subschemas(schema, change)
        if "$ref" in schema:
            others = _union([context, *(names for of, names in sources if of != "$ref")])
            changed["$ref"] = self._reference(schema["$ref"], others, depth)
        names = _union([context, *(names for _, names in sources)])
        if names is None or not _is_closable(schema, len(names)):
            return changed
        properties = changed["properties"]
        unlisted = {name: True for name in names if name not in properties}
        self._repeated += len(unlisted)
        if self._repeated > _MAX_REPEATED:
            raise _TooLargeError
        return {**changed, "properties": {**properties, **unlisted}, "additionalProperties": False}

    def _sources(self, schema: JsonSchema, depth: int) -> Iterable[tuple[Any, Names]]:
        """What lists properties of the object: the schema and what applies to the same value, each with a key."""
        yield "", _own_names(schema)
        for part in _listed(schema.get("allOf")):
            yield id(part), self._names(part, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            yield keyword, _union(self._names(part, depth + 1) for part in _listed(schema.get(keyword)))
        for keyword in _CONDITIONAL:
            part = schema.get(keyword)
            parts = part.values() if isinstance(part, dict) and keyword.startswith("depend") else [part]
            yield keyword, _union(self._names(one, depth + 1) for one in parts)
        if "$ref" in schema:
            target = referred(schema["$ref"], self.root)
            yield "$ref", None if target is None else self._names(target, depth + 1)

    def _names(self, schema: Any, depth: int) -> Names:
        """All properties that a schema lists, for the value itself. A schema in itself lists nothing more."""
        if isinstance(schema, list):
            return tuple(name for name in schema if isinstance(name, str))  # of `dependencies`
        if not isinstance(schema, dict):
            return ()
        if depth > MAX_DEPTH:
            return None
        if id(schema) not in self._known:
            self._known[id(schema)] = ()
            self._known[id(schema)] = _union(names for _, names in self._sources(schema, depth))
        return self._known[id(schema)]

    def _reference(self, reference: Any, context: Names, depth: int) -> Any:
        """The reference, to a copy where others describe the same object."""
        target = referred(reference, self.root)
        if context == () or not isinstance(target, dict) or self._names(target, depth) == ():
            return reference
        key = (reference, context)
        if key not in self._copied:
            if len(self._copied) >= _MAX_COPIES:
                raise _TooLargeError
            name = f"{reference.rpartition('/')[2]}+{len(self._copied)}"
            self._copied[key] = f"#/$defs/{name}"
            self.copies[name] = self._schema(target, context, depth + 1)
        return self._copied[key]


def _own_names(schema: JsonSchema) -> Names:
    """The properties that the schema itself lists or demands; None where it says something of others."""
    others = [schema[keyword] for keyword in _OTHERS if keyword in schema]
    if any(said is not False for said in others) or not _ELSEWHERE.isdisjoint(schema):
        return None
    needed = schema.get("required")
    named = schema.get("properties")
    dependent = schema.get("dependentRequired")
    names = [*(named if isinstance(named, dict) else []), *_listed(needed)]
    for more in dependent.values() if isinstance(dependent, dict) else []:
        names += _listed(more)
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def _is_closable(schema: JsonSchema, names: int) -> bool:
    """Whether it describes an object that can be closed, of so many properties."""
    if not isinstance(schema.get("properties"), Mapping) or not (_OTHERS | _FINITE).isdisjoint(schema):
        return False
    least = schema.get("minProperties")
    types = schema.get("type", "object")
    return (not isinstance(least, int) or least <= names) and (types == "object" or "object" in _listed(types))


def _union(several: Iterable[Names]) -> Names:
    found: dict[str, None] = {}
    for names in several:
        if names is None:
            return None
        found |= dict.fromkeys(names)
    return tuple(found)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
