"""Parts of a schema at which the states of a grammar may multiply, so that an answer fails after it has begun."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from nitro.engines.constraints import schema_walk
from nitro.engines.constraints.schema_types import Schema, integer

MAX_PARTS = 12  # that are tried
WIDE = 100  # members or branches of one part
_REPETITION = re.compile(r"\{\d*,\d{2,}\}")  # of ten times and more


def growing(schema: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Such parts: each with its JSON pointer, the keyword by which it grows, and itself."""
    found: dict[str, tuple[str, str, Schema]] = {}
    for pointer, part in schema_walk.every(schema):
        if (keyword := _keyword(part)) is not None:
            found.setdefault(json.dumps(part), (pointer, keyword, part))
    return islice(found.values(), MAX_PARTS)


def _keyword(part: Schema) -> str | None:
    parts = [part, *(inner for inner in _list(part.get("allOf")) if isinstance(inner, dict))]
    patterns = [one["pattern"] for one in parts if isinstance(one.get("pattern"), str)]
    is_bounded = any(integer(one.get(keyword), 0) > 1 for one in parts for keyword in ("maxLength", "minLength"))
    repetitions = sum(len(_REPETITION.findall(pattern)) for pattern in patterns)
    if repetitions and (repetitions > 1 or len(patterns) > 1 or is_bounded):
        return "pattern"
    for keyword in ("properties", "anyOf"):
        if sum(len(one[keyword]) for one in parts if isinstance(one.get(keyword), dict | list)) > WIDE:
            return keyword
    return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
