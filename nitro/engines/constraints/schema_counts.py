"""`minProperties` and `maxProperties` where members are optional, which llguidance cannot count.

There is a branch for each choice of names.
"""

from itertools import combinations
from math import comb
from typing import Any

from nitro.engines.constraints.schema_types import Schema, Scope, UnenforceableError, any_of, is_never

MAX_BRANCHES = 64
_OTHERS = ["array", "boolean", "null", "number", "string"]


def least(argument: Any, schema: Schema, scope: Scope) -> Any:
    """One branch for each choice of members of which there are enough."""
    optional, required, is_closed = _names(schema, scope)
    missing = argument - len(required)
    if missing <= 0:
        return True
    if not optional:
        return {"minProperties": argument}
    if not (is_closed or missing == 1) or comb(len(optional), missing) > MAX_BRANCHES:
        raise UnenforceableError
    branches: list[Schema] = [{"required": list(names)} for names in combinations(optional, missing)]
    if not is_closed:  # or any others
        branches.append({"properties": dict.fromkeys(optional, False), "minProperties": argument})
    return any_of([{"type": _OTHERS}, *({"type": "object", **branch} for branch in branches)])


def most(argument: Any, schema: Schema, scope: Scope) -> Any:
    """One branch for each choice of members of which there are not too many."""
    optional, required, is_closed = _names(schema, scope)
    if is_closed and len(optional) + len(required) <= argument:
        return True
    if not optional:
        return {"maxProperties": argument}
    room = max(argument - len(required), 0)
    if not is_closed or comb(len(optional), room) > MAX_BRANCHES:
        raise UnenforceableError
    branches = (set(optional) - set(names) for names in combinations(optional, room))
    absent: list[Schema] = [{"properties": dict.fromkeys(sorted(names), False)} for names in branches]
    return any_of([{"type": _OTHERS}, *({"type": "object", **branch} for branch in absent)])


def _names(schema: Schema, scope: Scope) -> tuple[list[str], list[str], bool]:
    """The members that may be there, those that must, and whether there can be no others."""
    parts = list(scope.parts(schema))
    if not scope.is_known(schema):
        raise UnenforceableError
    required = list(dict.fromkeys(name for part in parts for name in part.get("required", [])))
    named = {name: part for part in parts for name, part in part.get("properties", {}).items()}
    optional = [name for name, part in named.items() if name not in required and not is_never(part)]
    is_closed = any(part.get("additionalProperties") is False and not part.get("patternProperties") for part in parts)
    return optional, required, is_closed
