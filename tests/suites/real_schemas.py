"""Schemas as real ones are, drawn by seed from shapes in use: parameters of functions, configurations, resources,
events, articles; and values for them, some of which keep them."""

import random
import re
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]
WORDS = (
    "name",
    "title",
    "status",
    "owner",
    "region",
    "amount",
    "count",
    "kind",
    "labels",
    "notes",
    "target",
    "source",
    "limit",
    "scope",
    "channel",
    "version",
)
PER_FAMILY = 20


def _string(draw: random.Random) -> Schema:
    return draw.choice(
        [
            {"type": "string"},
            {"type": "string", "maxLength": draw.choice([8, 32, 255, 4096])},
            {"type": "string", "minLength": 1, "maxLength": 63},
            {"type": "string", "pattern": "^[a-z][a-z0-9-]*$"},
            {"type": "string", "enum": draw.sample(WORDS, 3)},
            {"type": ["string", "null"], "description": "May be missing."},
        ]
    )


def _scalar(draw: random.Random) -> Schema:
    low = draw.randrange(0, 50)
    return draw.choice(
        [
            _string(draw),
            {"type": "integer", "minimum": low, "maximum": low + draw.choice([5, 1000, 2**31])},
            {"type": "number", "minimum": 0, "exclusiveMaximum": 100},
            {"type": "boolean", "default": False},
            {"type": "integer", "enum": [1, 2, 4, 8]},
        ]
    )


def _members(draw: random.Random, count: int, make: Callable[[random.Random], Schema] = _scalar) -> Schema:
    names = draw.sample(WORDS, count)
    return {
        "type": "object",
        "properties": {name: make(draw) for name in names},
        "required": draw.sample(names, draw.randrange(count + 1)),
    }


def function_parameters(draw: random.Random) -> Schema:
    schema = _members(draw, draw.randrange(1, 6))
    schema["properties"]["filters"] = {"type": "array", "items": _members(draw, 2), "maxItems": 3}
    return {**schema, "additionalProperties": False, "description": "What the function takes."}


def workflow(draw: random.Random) -> Schema:
    step = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "uses": {"type": "string"}, "run": {"type": "string"}},
        "oneOf": [{"required": ["uses"]}, {"required": ["run"]}],
        "additionalProperties": False,
    }
    events = ["push", "release", "schedule"]
    job = {
        "type": "object",
        "properties": {"runs-on": _string(draw), "steps": {"type": "array", "items": step, "minItems": 1}},
        "required": ["steps"],
        "additionalProperties": False,
    }
    triggers = {"type": "array", "items": {"enum": events}, "minItems": 1, "uniqueItems": draw.random() < 0.7}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "on": {"anyOf": [{"enum": events}, triggers]},
            "jobs": {
                "type": "object",
                "patternProperties": {"^[_a-zA-Z][a-zA-Z0-9_-]*$": job},
                "additionalProperties": False,
            },
        },
        "required": ["on", "jobs"],
        "additionalProperties": False,
    }


def resource(draw: random.Random) -> Schema:
    return {
        "definitions": {
            "port": {"oneOf": [{"type": "string", "pattern": "^[a-z-]+$"}, {"type": "integer", "maximum": 65535}]},
            "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}},
        },
        "type": "object",
        "properties": {
            "apiVersion": {"const": "v1"},
            "kind": {"enum": ["Service"]},
            "metadata": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "format": "hostname"},
                    "labels": {"$ref": "#/definitions/labels"},
                },
                "required": ["name"],
            },
            "spec": {**_members(draw, 3), "not": {"required": [draw.choice(WORDS)]}},
            "ports": {"type": "array", "items": {"$ref": "#/definitions/port"}, "minItems": 1},
        },
        "required": ["apiVersion", "kind", "metadata"],
        "additionalProperties": False,
    }


def event(draw: random.Random) -> Schema:
    formats = ["date-time", "date", "time", "uri", "ipv4", "ipv6", "uuid", "email"]
    schema = _members(draw, 4)
    for format in draw.sample(formats, 3):
        schema["properties"][f"at_{format}"] = {"type": ["string", "null"], "format": format, "maxLength": 255}
    schema["properties"]["score"] = {"type": ["number", "null"], "minimum": -1, "maximum": 1}
    return {**schema, "additionalProperties": False}


def article(draw: random.Random) -> Schema:
    tags: Schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    tags |= draw.choice([{}, {}, {"maxItems": 1}, {"uniqueItems": False}])
    return {
        "$schema": "http://json-schema.org/draft-06/schema#",
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["article"]},
            "version": {"type": "string", "pattern": "^0\\.[0-9]{1,2}\\.[0-9]$"},
            "published": {"type": "string", "format": "date-time"},
            "publisher": {"type": "string"},
            "tags": tags,
            "related": {"type": "array", "items": {"$ref": "#/definitions/link"}, "maxItems": 2},
        },
        "required": ["type", "version"],
        "dependencies": {"published": ["publisher"]},
        "definitions": {"link": {"anyOf": [{"type": "string"}, _members(draw, 2)]}},
    }


def tagged_choice(draw: random.Random) -> Schema:
    branches = []
    for kind in draw.sample(["card", "bank", "cash", "voucher"], 3):
        branch = _members(draw, 2)
        branch["properties"] = {"type": draw.choice([{"const": kind}, {"enum": [kind]}]), **branch["properties"]}
        branches.append({**branch, "required": ["type", *branch["required"]]})
    return {"type": "object", "properties": {"payment": {"oneOf": branches}}, "required": ["payment"]}


def overlapping_choice(draw: random.Random) -> Schema:
    first, second = draw.sample(WORDS, 2)
    branches = draw.choice(
        [
            [{"required": [first]}, {"required": [second]}],
            [{"properties": {first: {"type": "integer"}}, "required": [first]}, {"required": [second]}],
            [{"type": "object", "maxProperties": 1}, {"required": [first, second]}],
            [{"properties": {first: {"pattern": "^a"}}}, {"required": [second]}],
        ]
    )
    return {"type": "object", "properties": {first: _scalar(draw), second: _scalar(draw)}, "oneOf": branches}


def conditions(draw: random.Random) -> Schema:
    kinds = draw.sample(["aws", "gcp", "azure"], draw.choice([1, 2, 3]))
    schema = {**_members(draw, 3), "additionalProperties": False}
    schema["properties"] = {"provider": {"enum": ["aws", "gcp", "azure", "none"]}, **schema["properties"]}
    names = list(schema["properties"])[1:]
    rules = [
        {"if": {"properties": {"provider": {"const": kind}}}, "then": {"required": [draw.choice(names)]}}
        for kind in kinds
    ]
    return {**schema, "required": ["provider"], "allOf": rules}


def tree(draw: random.Random) -> Schema:
    node = _members(draw, 2)
    node["properties"]["children"] = {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}
    if draw.random() < 0.3:
        node["properties"]["parent"] = {"$ref": "#/$defs/loop"}
    loop = {"type": "object", "properties": {"next": {"$ref": "#/$defs/loop"}}, "required": ["next"]}
    return {"$defs": {"node": {**node, "additionalProperties": False}, "loop": loop}, "$ref": "#/$defs/node"}


def billing(draw: random.Random) -> Schema:
    names = draw.sample(WORDS, 4)
    return {
        "type": "object",
        "properties": {name: _scalar(draw) for name in names},
        "dependentRequired": {names[0]: [names[1]], names[2]: draw.choice([[], [names[3]], [names[0], names[3]]])},
        "dependentSchemas": {names[3]: {"properties": {names[1]: {"type": "boolean"}}}},
        **draw.choice(
            [{}, {"minProperties": 1}, {"minProperties": 1, "maxProperties": 2, "additionalProperties": False}]
        ),
    }


def environment(draw: random.Random) -> Schema:
    names = draw.choice(
        [{"pattern": "^[A-Z_]+$"}, {"enum": ["HOME", "PATH"]}, {"maxLength": 4}, {}, {"format": "uuid"}]
    )
    return {"type": "object", "propertyNames": names, "additionalProperties": _string(draw), "maxProperties": 3}


def composition(draw: random.Random) -> Schema:
    base = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    own = _members(draw, 2)
    schema = {"$defs": {"base": base}, "allOf": [{"$ref": "#/$defs/base"}, own]}
    return {**schema, "unevaluatedProperties": draw.choice([False, {"type": "string", "maxLength": 3}])}


def roles(draw: random.Random) -> Schema:
    role = {"enum": ["admin", "user", "guest"]}
    extra: Schema = draw.choice([{"maxItems": 3}, {}, {"minContains": 2}, {"maxContains": 1}, {"minContains": 0}])
    return {"type": "array", "items": role, "contains": {"const": "admin"}, **extra}


def finite_sets(draw: random.Random) -> Schema:
    items: Schema = draw.choice(
        [
            {"enum": ["a", "b", "c", "d"]},
            {"type": "boolean"},
            {"type": "integer", "minimum": 1, "maximum": 3},
            _string(draw),
        ]
    )
    taken = {"not": {"enum": draw.sample(["root", "admin", "null", 0, None], 3)}, "type": ["string", "integer"]}
    return {
        "type": "object",
        "properties": {"set": {"type": "array", "uniqueItems": True, "items": items}, "login": taken},
        "required": ["set", "login"],
        "additionalProperties": False,
    }


FAMILIES: dict[str, Callable[[random.Random], Schema]] = {
    make.__name__: make
    for make in (
        *(function_parameters, workflow, resource, event, article, tagged_choice, overlapping_choice, conditions, tree),
        *(billing, environment, composition, roles, finite_sets),
    )
}
for _name in ("event", "conditions"):  # what is most common is drawn more often
    FAMILIES[f"{_name}, again"] = FAMILIES[_name]

TEXTS = ["", "a", "web-1", "admin", "HOME", "0.10.2", "x" * 70, "2024-02-29", "2023-02-29", "23:59:60Z", "12:00:00Z"]
TEXTS += [
    "2024-02-29T23:59:60Z",
    "2023-02-29T00:00:00Z",
    "2024-01-01T00:00:60Z",
    "https://a.example/b?c=1#d",
    "::1",
    "10.0.0.256",
]
TEXTS += [
    "10.0.0.1",
    "1:2",
    "123e4567-e89b-12d3-a456-426614174000",
    "a@b.example",
    "a@",
    "a.example",
    "-a.example",
    *WORDS,
]
ANYTHING: list[Any] = [None, True, 0, 1, 2, 8, 57, -1, 99.5, 100, 1e6, [], {}, ["a"], {"a": 1}, *TEXTS]


def drawn(schema: Any, root: Schema, draw: random.Random, depth: int = 0) -> Any:
    """A value that may keep the schema."""
    if not isinstance(schema, dict) or depth > 6 or draw.random() < 0.03:
        return draw.choice(ANYTHING)
    if "$ref" in schema:
        *_, holder, name = schema["$ref"].split("/")
        return drawn(root[holder][name], root, draw, depth + 1)
    for keyword in ("enum", "const"):
        if keyword in schema:
            return schema["const"] if keyword == "const" else draw.choice(schema["enum"])
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema and "properties" not in schema:
            parts = [drawn(part, root, draw, depth + 1) for part in schema[keyword]]
            if keyword == "allOf" and all(isinstance(part, dict) for part in parts):
                return {name: value for part in parts for name, value in part.items()}
            return draw.choice(parts)
    kind = schema.get("type", "object" if "properties" in schema else "any")
    kind = draw.choice(kind) if isinstance(kind, list) else kind
    return _DRAWN.get(kind, lambda *_: draw.choice(ANYTHING))(schema, root, draw, depth)


def _object(schema: Schema, root: Schema, draw: random.Random, depth: int) -> Any:
    needed = schema.get("required", [])
    names = [name for name in schema.get("properties", {}) if name in needed or draw.random() < 0.5]
    value = {name: drawn(schema["properties"][name], root, draw, depth + 1) for name in names if draw.random() > 0.04}
    others = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties", draw.random() < 0.1)]
    for other in others:
        if other is not False and draw.random() < 0.7:
            value[draw.choice(["HOME", "PATH", "a", "long-name"])] = drawn(other, root, draw, depth + 1)
    return value


def _array(schema: Schema, root: Schema, draw: random.Random, depth: int) -> Any:
    return [drawn(schema.get("items"), root, draw, depth + 1) for _ in range(draw.choice([0, 1, 1, 2, 2, 3, 4]))]


def _matching(schema: Schema) -> list[str]:
    return [text for text in TEXTS if re.search(schema.get("pattern", ""), text)]


_DRAWN: dict[str, Callable[[Schema, Schema, random.Random, int], Any]] = {
    "object": _object,
    "array": _array,
    "string": lambda schema, root, draw, depth: draw.choice(_matching(schema) if draw.random() < 0.7 else TEXTS),
    "integer": lambda schema, root, draw, depth: draw.choice([0, 3, 20, 40, 49, 60, 1000, 70000]),
    "number": lambda schema, root, draw, depth: draw.choice([0, 0.5, 3.25, 99.99, 100, -0.5]),
    "boolean": lambda schema, root, draw, depth: draw.random() < 0.5,
    "null": lambda schema, root, draw, depth: None,
}
