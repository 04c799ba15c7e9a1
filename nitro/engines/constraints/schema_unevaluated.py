"""`unevaluatedProperties` and `unevaluatedItems`: what no keyword beside them has looked at.

What a branch looks at counts where the branch holds, so each branch is closed by itself.
"""

from collections.abc import Callable
from typing import Any

from nitro.engines.constraints.schema_opposites import opposite
from nitro.engines.constraints.schema_types import (
    NARROWER,
    Schema,
    Scope,
    UnenforceableError,
    all_of,
    any_of,
    as_schema,
    is_anything,
)
from nitro.engines.constraints.schema_values import tuple_of

BRANCHING = ("anyOf", "oneOf", "if")
# With these, what has been looked at depends on more than can be told.
OPAQUE = ("$dynamicRef", "$recursiveRef", "not", "dependentSchemas", "dependencies", "contains", "then", "else")
EVALUATED = {"unevaluatedProperties": {"additionalProperties": True}, "unevaluatedItems": {"items": True}}
Closed = Callable[[list[Schema], Any], Schema]


def properties(argument: Any, schema: Schema, scope: Scope) -> Any:
    """`additionalProperties`, beside all names that the schema and its parts have."""
    return _closed_branches(_closed_object, "unevaluatedProperties", argument, schema, scope)


def items(argument: Any, schema: Schema, scope: Scope) -> Any:
    """The schema of the items after all that the schema and its parts have."""
    return _closed_branches(_closed_array, "unevaluatedItems", argument, schema, scope)


def _closed_branches(closed: Closed, keyword: str, argument: Any, schema: Schema, scope: Scope) -> Any:
    if is_anything(argument):
        return EVALUATED[keyword]  # so that a schema around this one sees it
    branching = [name for name in BRANCHING if name in schema]
    own = {name: value for name, value in schema.items() if name not in (keyword, *BRANCHING, "then", "else")}
    if not branching:
        return closed(_parts(own, scope), argument)
    if len(branching) > 1:
        raise UnenforceableError
    kind = branching[0]
    if kind == "if":
        unless = opposite(schema["if"], scope)
        branches = [all_of(schema["if"], schema.get("then", True))]
        looked_at = [*branches, as_schema(schema.get("else", True))]
        branches.append(all_of(unless, schema.get("else", True)))
    else:
        branches = looked_at = [as_schema(branch) for branch in schema[kind]]
    found = any_of(
        all_of(branch, closed(_parts(own, scope) + _parts(inside, scope), argument))
        for branch, inside in zip(branches, looked_at, strict=True)
    )
    # Where several branches hold, all of them count, and here only one.
    return {"allOf": [found], NARROWER: True} if kind == "anyOf" else found


def _parts(schema: Schema, scope: Scope) -> list[Schema]:
    parts = list(scope.parts(schema))
    if not scope.is_known(schema) or any(name in part for part in parts for name in (*OPAQUE, *BRANCHING)):
        raise UnenforceableError
    return parts


def _closed_object(parts: list[Schema], argument: Any) -> Schema:
    if any(name in part for part in parts for name in ("additionalProperties", "unevaluatedProperties")):
        return {}
    names = {name: True for part in parts for name in part.get("properties", {})}
    patterns = {pattern: True for part in parts for pattern in part.get("patternProperties", {})}
    return {"properties": names, "patternProperties": patterns, "additionalProperties": argument}


def _closed_array(parts: list[Schema], argument: Any) -> Schema:
    tuples = [(tuple_of(part), part) for part in parts]
    if any(isinstance(part.get("items"), dict | bool) or "additionalItems" in part for _, part in tuples):
        return {}
    if any("unevaluatedItems" in part for part in parts):
        return {}
    longest = max(len(prefix) for (prefix, _), _ in tuples)
    return {"items": [True] * longest, "additionalItems": argument}
