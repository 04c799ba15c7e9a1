"""The patterns in a JSON schema: rewritten so that llguidance reads them as ECMA-262 does, or taken out."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from llguidance import LLMatcher

from nitro.engines.constraints import schema_walk
from nitro.engines.constraints.patterns import UnsupportedPattern, whole_match
from nitro.engines.constraints.schema_walk import JsonSchema

# By what llguidance says of a pattern.
_REASONS = {"Unicode property": "an unknown Unicode property", "is empty": "no text that it matches"}
_NEGATED = ("/not", "/if")  # what is let through there would bar something
_DEFINITIONS = ("/$defs/", "/definitions/")  # which are found by what refers to them


class UnsupportedKeyword(NamedTuple):
    """A keyword with a pattern that cannot be enforced."""

    keyword: str
    pointer: str  # of the schema that it stands in
    reason: str  # goes on after "it has"

    def __str__(self) -> str:
        return f"{self.keyword} (at {self.pointer or '/'}) is not enforced: it has {self.reason}"

    @property
    def refusal(self) -> str:
        """The same where it must be enforced."""
        return f"{self.keyword} has {self.reason}, which cannot be enforced (at {self.pointer or '/'})"


def rewrite(schema: JsonSchema) -> list[UnsupportedKeyword]:
    """Rewrite all patterns in place. What cannot be enforced is taken out, so that the schema lets more through."""
    found: list[UnsupportedKeyword] = []
    for pointer, part in _every(schema):
        if reason := _rewrite_pattern(part):
            found.append(UnsupportedKeyword("pattern", pointer, reason))
        if reason := _rewrite_keys(part):
            found.append(UnsupportedKeyword("patternProperties", pointer, reason))
            if part.pop("additionalProperties", True) is not True:
                why = "keys beside those of patternProperties, which is not enforced"
                found.append(UnsupportedKeyword("additionalProperties", pointer, why))
    return found


@lru_cache(maxsize=1024)
def enforceable(pattern: str) -> str:
    """The pattern as an expression that a text matches as a whole. Raises UnsupportedPattern."""
    expression = whole_match(pattern)
    grammar = LLMatcher.grammar_from_json_schema({"type": "string", "pattern": f"^(?:{expression})$"})
    wrong, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if wrong:
        reason = next((ours for theirs, ours in _REASONS.items() if theirs in messages[0]), "")
        raise UnsupportedPattern(reason or "a part that is too large or not known here")
    return expression


def _every(schema: JsonSchema) -> Iterator[tuple[str, JsonSchema]]:
    """As schema_walk.every, without what is negated, and without definitions that nothing refers to."""
    found = [("", schema)]
    seen = {id(schema)}
    for pointer, part in found:  # grows as it goes
        yield pointer, part
        inner = [(pointer + step, one) for step, one in schema_walk.subschemas(part) if not _is_untouched(step)]
        if isinstance(reference := part.get("$ref"), str):
            referred = _referred(reference, schema)
            inner += [referred] if referred else list(schema_walk.every(schema))  # by a name of its own
        found += [one for one in inner if id(one[1]) not in seen]
        seen |= {id(one) for _, one in inner}


def _is_untouched(step: str) -> bool:
    return step in _NEGATED or step.startswith(_DEFINITIONS)


def _referred(reference: str, schema: JsonSchema) -> tuple[str, JsonSchema] | None:
    """The part that a reference points to, with its pointer; None: it is no pointer, or points to nothing."""
    found: Any = schema
    pointer = unquote(reference.removeprefix("#"))
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(key)] if key.isdecimal() and int(key) < len(found) else None
        else:
            found = found.get(key) if isinstance(found, dict) else None
    return (pointer, found) if reference.startswith("#") and isinstance(found, dict) else None


def _rewrite_pattern(part: JsonSchema) -> str | None:
    """Why it cannot be enforced, and was taken out; None: it stays, or it does not matter."""
    pattern = part.get("pattern")
    if not isinstance(pattern, str):
        return None  # what is wrong is refused by those who read it
    if not _allows(part.get("type", "string"), "string"):
        del part["pattern"]
        return None
    try:
        part["pattern"] = f"^(?:{enforceable(pattern)})$"
    except UnsupportedPattern as error:
        del part["pattern"]
        return str(error)
    return None


def _rewrite_keys(part: JsonSchema) -> str | None:
    """The same for the keys of patternProperties, the first reason for all of them."""
    schemas = part.get("patternProperties")
    if not isinstance(schemas, dict):
        return None
    rewritten: dict[str, Any] = {}
    why = None
    for key, schema in schemas.items():
        try:
            pattern = f"^(?:{enforceable(key)})$"
        except UnsupportedPattern as error:
            why = why or str(error)
            continue
        rewritten[pattern] = {"allOf": [rewritten[pattern], schema]} if pattern in rewritten else schema
    part["patternProperties"] = rewritten
    if not rewritten:
        del part["patternProperties"]
    return why


def _allows(types: Any, name: str) -> bool:
    """Whether a `type` allows this type. One that is wrong does."""
    if isinstance(types, str):
        return types == name
    return name in types if isinstance(types, list) else True
