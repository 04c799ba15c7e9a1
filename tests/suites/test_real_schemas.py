"""Three hundred schemas as real ones are: each is enforced, or refused by its keyword; no invalid value passes."""

import json
import random
from collections import Counter

import pytest
import real_schemas
import schema_suite
from jsonschema_rs import validator_for

pytestmark = pytest.mark.suites

VALUES = 30  # of each schema
# How many schemas of a family are refused, and by which keyword.
REFUSED = {
    ("article", "uniqueItems"): 8,  # of any strings
    ("finite_sets", "uniqueItems"): 7,
    ("overlapping_choice", "properties"): 4,  # a branch counts members that stand beside it
    ("overlapping_choice", "oneOf"): 3,  # the opposite of a pattern
    ("environment", "propertyNames"): 4,  # of a list, and counted
}
# How many valid values of a family cannot be written, and why.
NOT_WRITTEN = {"overlapping_choice": (7, "a fraction, where another branch forbids integers")}


def test_they_are_enforced_or_refused_by_name() -> None:
    refused: Counter[tuple[str, str]] = Counter()
    not_written: Counter[str] = Counter()
    judged: Counter[bool] = Counter()
    for family, make in real_schemas.FAMILIES.items():
        for seed in range(real_schemas.PER_FAMILY):
            draw = random.Random(f"{family} {seed}")
            schema = make(draw)
            matcher = schema_suite.compiled(schema)
            if isinstance(matcher, str):
                place = schema_suite.PLACE.fullmatch(matcher)
                assert place, f"names no keyword and no place: {matcher}"
                refused[family, place[1]] += 1
                continue
            validator = validator_for(schema, validate_formats=True)
            for _ in range(VALUES):
                value = real_schemas.drawn(schema, schema, draw)
                is_valid = validator.is_valid(value)
                judged[is_valid] += 1
                if schema_suite.takes(matcher, value) != is_valid:
                    assert is_valid, f"passes: {json.dumps(value)} for {json.dumps(schema)}"
                    not_written[family] += 1
    assert len(real_schemas.FAMILIES) * real_schemas.PER_FAMILY >= 300
    assert judged[True] > 2_000 and judged[False] > 1_000, judged
    assert (dict(refused), dict(not_written)) == (
        REFUSED,
        {family: count for family, (count, _) in NOT_WRITTEN.items()},
    )
