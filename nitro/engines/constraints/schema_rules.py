"""Rules by which a schema becomes one that llguidance enforces, with the same values: a table by keyword.

A rule takes the schema at which a keyword stands, and gives what must hold in the keyword's stead. Its parts have been
through the rules before. A rule that cannot help raises UnenforceableError.
"""

import re
from collections.abc import Callable
from itertools import combinations
from math import comb, inf
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

from nitro.engines.constraints import schema_counts, schema_formats, schema_unevaluated, schema_walk
from nitro.engines.constraints.schema_opposites import NoOppositeError, opposite
from nitro.engines.constraints.schema_overlaps import overlapping
from nitro.engines.constraints.schema_types import (
    NARROWER,
    NEVER,
    Instead,
    NarrowerError,
    Schema,
    Scope,
    TooHardError,
    UnenforceableError,
    all_of,
    any_of,
    as_schema,
    assertions,
    integer,
    is_anything,
    is_never,
    type_names,
)
from nitro.engines.constraints.schema_values import bounds, key, tuple_of, values

MAX_BRANCHES = 16  # of a `oneOf` whose branches have values in common
MAX_ARRAYS = 400  # of one length, that are listed one by one for `uniqueItems`
MAX_LISTED_ITEMS = 8  # of such an array
MAX_PLACES = 8  # at the beginning of an array, one of which has what `contains` wants
MAX_WAYS = 64  # in which such items may lie
MAX_DEPENDENCIES = 6  # of one object: each doubles it
# What a list of arrays has looked at: to ask each of them again takes a second.
_OF_ARRAYS = frozenset(("type", "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"))
_AT, _BEGINNING, _END = _constants.AT, _constants.AT_BEGINNING, _constants.AT_END
# An escape, or a class, which may have classes in it. Python has none of these, and warns of them in the log.
_CLASS = re.compile(r"(\\.)|\[(?:[^\[\]\\]|\\.|\[(?:[^\]\\]|\\.)*\])*\]", re.DOTALL)
Enforce = Callable[[Any, Schema, Scope], Any]


def one_of(argument: Any, schema: Schema, scope: Scope) -> Any:
    """`anyOf`, if no two branches have a value in common; else each without what the others have."""
    branches = [as_schema(branch) for branch in argument if not is_never(branch)]
    beside = {keyword: value for keyword, value in schema.items() if keyword != "oneOf"}
    shared: list[list[int]] = [[] for _ in branches]
    for i, j in overlapping([all_of(beside, branch) for branch in branches], scope):
        shared[i].append(j)
        shared[j].append(i)
    if any(map(_is_narrower, branches)) or (any(shared) and len(branches) > MAX_BRANCHES):
        raise UnenforceableError
    types = scope.types(beside)
    opposites = {j: opposite(branches[j], scope, types) for j in sorted({j for others in shared for j in others})}
    return any_of(all_of(branch, *(opposites[j] for j in shared[i])) for i, branch in enumerate(branches))


def negation(argument: Any, schema: Schema, scope: Scope) -> Any:
    """The opposite."""
    return opposite(argument, scope, scope.types({keyword: schema[keyword] for keyword in schema if keyword != "not"}))


def condition(argument: Any, schema: Schema, scope: Scope) -> Any:
    """`if` and `then`, or neither `if` nor `else`'s opposite: two branches."""
    then, other = as_schema(schema.get("then", True)), as_schema(schema.get("else", True))
    if is_anything(then) and is_anything(other):
        return True
    beside = {keyword: value for keyword, value in schema.items() if keyword not in ("if", "then", "else")}
    unless = opposite(argument, scope, scope.types(beside))
    return any_of([all_of(argument, then), all_of(unless, other)])


def is_condition(part: Any) -> bool:
    """Whether a part of `allOf` is `if` and `then` alone, both of them objects."""
    return (
        isinstance(part, dict)
        and set(assertions(part)) == {"if", "then"}
        and isinstance(part["if"], dict)
        and isinstance(part["then"], dict)
    )


def disjoint_conditions(pairs: list[tuple[Schema, Schema]], beside: Schema, scope: Scope) -> Schema:
    """Of conditions of which no two hold at once: a branch for each, and one without them all. One by one, each would
    double the branches. Raises UnenforceableError where two may hold at once."""
    known = {keyword: value for keyword, value in beside.items() if keyword != "allOf"}
    if not _pairwise_disjoint([all_of(known, premise) for premise, _ in pairs], scope):
        raise UnenforceableError
    unless = all_of(*(opposite(premise, scope, scope.types(known)) for premise, _ in pairs))
    return any_of([*(all_of(premise, then) for premise, then in pairs), unless])


def unique_items(argument: Any, schema: Schema, scope: Scope) -> Any:
    """Nothing, where no two items can be equal; a list of all arrays, where they are few."""
    if argument is not True or "array" not in scope.types(schema):
        return True
    parts = list(scope.parts(schema))
    shortest = max(bounds(part, "minItems", "maxItems")[0] for part in parts)
    longest = min(bounds(part, "minItems", "maxItems")[1] for part in parts)
    tuples = [tuple_of(part) for part in parts]
    longest = min([longest, *(len(prefix) for prefix, rest in tuples if is_never(rest))])
    if longest <= 1:
        return True
    prefix, rest = next((found for found in tuples if found != ([], True)), ([], True))
    if len(prefix) >= longest and _pairwise_disjoint(prefix[: int(longest)], scope):
        return True
    choices = _choices([*prefix, *[rest] * MAX_LISTED_ITEMS], longest, scope)
    arrays = [array for size in range(shortest, len(choices) + 1) for array in _distinct_arrays(choices[:size])]
    others = type_names(scope.types(schema) - {"array"})
    if set(assertions(schema)) <= _OF_ARRAYS and others is not None:  # an array of the list keeps them all
        return Instead(any_of([{"type": others} if others else NEVER, {"enum": arrays}]))
    return any_of([{"type": ["boolean", "null", "number", "object", "string"]}, {"enum": arrays}])


def _choices(schemas: list[Any], longest: float, scope: Scope) -> list[list[Any]]:
    """The values of each item of an array whose items differ: of as many items as there can be."""
    found: list[list[Any]] = []
    seen: set[str] = set()
    for schema in schemas[: int(min(longest, len(schemas)))]:
        choice = values(as_schema(schema), scope)
        if choice is None:
            raise UnenforceableError
        seen |= set(map(key, choice))
        if len(seen) <= len(found):  # one of them would come again
            return found
        found.append(choice)
    if len(found) < longest:
        raise UnenforceableError
    return found


def _distinct_arrays(choices: list[list[Any]]) -> list[list[Any]]:
    """One value of each choice, none twice."""
    arrays: list[list[Any]] = [[]]
    for choice in choices:
        arrays = [[*array, value] for array in arrays for value in choice if key(value) not in map(key, array)]
        if len(arrays) > MAX_ARRAYS:
            raise UnenforceableError
    return arrays


def _pairwise_disjoint(schemas: list[Any], scope: Scope) -> bool:
    return not any(True for _ in overlapping(schemas, scope))


def contains(argument: Any, schema: Schema, scope: Scope) -> Any:
    """Each way in which the items may lie, in the first places of an array."""
    least, most = integer(schema.get("minContains"), 1), schema.get("maxContains")
    if "array" not in scope.types(schema) or (least == 0 and most is None):
        return True
    if is_never(argument):
        return _arrays_only(NEVER) if least else True
    if is_anything(argument):
        return {"minItems": least, **({} if most is None else {"maxItems": most})}
    if most == 0 or (most is not None and most < least):
        return _arrays_only(NEVER) if least else {"items": opposite(argument, scope)}
    parts = list(scope.parts(schema))
    longest = min(bounds(part, "minItems", "maxItems")[1] for part in parts)
    longest = min([longest, *(len(prefix) for prefix, others in map(tuple_of, parts) if is_never(others))])
    if most is not None and longest <= most:
        most = None
        if least == 0:
            return True
    rest = {} if most is None else opposite(argument, scope)
    counts = [least] if most is None else list(range(least, int(min(most, longest)) + 1))
    size = int(min(longest, MAX_PLACES))
    while size and sum(comb(size, count) for count in counts) > MAX_WAYS:
        size -= 1
    if size < counts[-1] <= longest:
        raise UnenforceableError
    ways = [_with_items(places, argument, rest) for count in counts for places in combinations(range(size), count)]
    return {**_arrays_only(any_of(ways)), **({NARROWER: True} if size < longest else {})}


def _with_items(places: tuple[int, ...], wanted: Any, rest: Schema) -> Schema:
    """An array with what is wanted at these places, and something else at the others."""
    size = max(places, default=-1) + 1
    items = [wanted if i in places else rest for i in range(size)]
    return {"type": "array", "minItems": size, "items": items, "additionalItems": rest}


def _arrays_only(schema: Schema) -> Schema:
    """A schema that holds for arrays alone; all else keeps it."""
    return any_of([{"type": ["boolean", "null", "number", "object", "string"]}, schema])


def dependencies(argument: Any, schema: Schema, scope: Scope) -> Any:
    """For each name, if it stands there: other names, or a schema. Either it does not, or that holds."""
    needed = {name for part in scope.parts(schema) for name in part.get("required", [])}
    found = []
    branching = 0
    for name, consequence in argument.items():
        wanted = {"required": consequence} if isinstance(consequence, list) else as_schema(consequence)
        if is_anything(wanted) or "object" not in scope.types(schema):
            continue
        if isinstance(consequence, list) and set(consequence) <= needed | {name}:
            continue
        if name in needed:
            found.append(wanted)
            continue
        absent: Schema = {"properties": {name: False}}
        if is_never(wanted):
            found.append(absent)
            continue
        branching += 1
        found.append(any_of([absent, all_of({"required": [name]}, wanted)]))
    if branching > MAX_DEPENDENCIES:
        raise UnenforceableError
    return all_of(*found)


def property_names(argument: Any, schema: Schema, scope: Scope) -> Any:
    """Names of a list or of a pattern: no other members."""
    if is_anything(argument) or "object" not in scope.types(schema):
        return True
    if "string" not in scope.types(as_schema(argument)):
        return {"maxProperties": 0}
    choice = values(all_of(argument, {"type": "string"}), scope)
    if choice is not None:
        return {"properties": {name: True for name in choice}, "additionalProperties": False}
    patterns = []
    for part in scope.parts(argument):
        shortest, longest = bounds(part, "minLength", "maxLength")
        if "minLength" in part or "maxLength" in part:
            patterns.append(rf"^[\s\S]{{{shortest},{int(longest) if 'maxLength' in part else ''}}}$")
        patterns += [part["pattern"]] if "pattern" in part else []
        if set(part) & {"anyOf", "format", "not", "oneOf", "if"} or ("$ref" in part and not scope.is_known(part)):
            raise UnenforceableError
    if len(patterns) > 1:
        raise UnenforceableError
    return {"patternProperties": {patterns[0]: True}, "additionalProperties": False} if patterns else True


def format_of(argument: Any, schema: Schema, scope: Scope) -> Any:
    """Regular expressions of our own."""
    patterns = schema_formats.as_patterns(argument) if isinstance(argument, str) else None
    if patterns is None:
        if argument == "unknown" or not scope.types(schema) & {"string"}:
            return True
        raise UnenforceableError
    return all_of(*patterns)


def max_length(argument: Any, schema: Schema, scope: Scope) -> Any:
    """Nothing beside a pattern that is never longer: the two together may take very many states."""
    patterns = [part["pattern"] for part in scope.parts(schema) if isinstance(part.get("pattern"), str)]
    return True if any(longest(pattern) <= argument for pattern in patterns) else {"maxLength": argument}


def longest(pattern: str) -> float:
    """How many characters a match of an anchored pattern has at most; infinite where that is not known."""
    try:
        parsed = _parser.parse(_CLASS.sub(lambda found: found[1] or "x", pattern))
    except (re.error, OverflowError, RecursionError):  # other dialects have more
        return inf
    ends = [(operation, argument) for operation, argument in (parsed.data[:1] + parsed.data[-1:])]
    if ends != [(_AT, _BEGINNING), (_AT, _END)] or len(parsed.data) < 2:
        return inf
    return float(parsed.getwidth()[1])


def pattern_properties(argument: Any, schema: Schema, scope: Scope) -> Any:
    """Without the patterns that say nothing, for llguidance takes none that overlap."""
    if is_anything(schema.get("additionalProperties", True)):
        argument = {pattern: part for pattern, part in argument.items() if not is_anything(part)}
    return {"patternProperties": argument} if argument else True


def _is_narrower(schema: Schema) -> bool:
    return NARROWER in schema or any(NARROWER in part for _, part in schema_walk.every(schema))


def never(argument: Any, schema: Schema, scope: Scope) -> Any:
    """What no grammar has."""
    raise UnenforceableError


def redundant(argument: Any, schema: Schema, scope: Scope) -> Any:
    """What says nothing."""
    return True


# By keyword, in this order: what is enforced in its stead, and the keywords that go with it.
RULES: dict[str, tuple[Enforce, tuple[str, ...]]] = {
    "unevaluatedProperties": (schema_unevaluated.properties, ()),
    "unevaluatedItems": (schema_unevaluated.items, ()),
    "format": (format_of, ()),
    "maxLength": (max_length, ()),
    "minProperties": (schema_counts.least, ()),
    "maxProperties": (schema_counts.most, ()),
    "patternProperties": (pattern_properties, ()),
    "propertyNames": (property_names, ()),
    "dependencies": (dependencies, ()),
    "dependentRequired": (dependencies, ()),
    "dependentSchemas": (dependencies, ()),
    "if": (condition, ("then", "else")),
    "then": (redundant, ()),
    "else": (redundant, ()),
    "not": (negation, ()),
    "contains": (contains, ("minContains", "maxContains")),
    "minContains": (redundant, ()),
    "maxContains": (redundant, ()),
    "oneOf": (one_of, ()),
    "uniqueItems": (unique_items, ()),
    "contentSchema": (redundant, ()),
    "deprecated": (redundant, ()),
    "$vocabulary": (redundant, ()),
    "$dynamicRef": (never, ()),
    "$recursiveRef": (never, ()),
}

# What is let through in a keyword's stead, where its schema is not strict: nothing of it, but for these.
LENIENT: dict[str, Callable[[Any], Any]] = {"oneOf": any_of}
# Of these a part must be enforced exactly: what is weaker inside makes them stronger.
EXACT_INSIDE = frozenset(("not", "if", "oneOf", "contains", "propertyNames"))
FAILURES = (
    UnenforceableError,
    NoOppositeError,
    TooHardError,
    NarrowerError,
    RecursionError,  # of a schema whose branches lead straight back to it
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
)


def idle(schema: Schema) -> set[str]:
    """The keywords that do nothing beside the others, so that it is no matter what is in them."""
    found = {keyword for keyword in ("uniqueItems",) if schema.get(keyword) is False}
    looked_at = "unevaluatedProperties" in schema or "unevaluatedItems" in schema
    if "if" not in schema or (
        not looked_at and all(is_anything(schema.get(keyword, True)) for keyword in ("then", "else"))
    ):
        found |= {"if", "then", "else"}
    if "contains" not in schema or (schema.get("minContains") == 0 and "maxContains" not in schema):
        found |= {"contains", "minContains", "maxContains"}
    return found
