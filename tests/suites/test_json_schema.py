"""The JSON Schema test suite, as far as schemas are enforced: no invalid instance passes, and each other difference
stands in a table with its reason."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schema_suite
from schema_differences import DIFFERENCES, Difference

pytestmark = pytest.mark.suites

MAIN = ("draft2020-12", "draft7")
OPTIONAL = tuple(f"{draft}/optional{more}" for draft in MAIN for more in ("", "/format"))
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def differences(under: str, file: Path) -> Counter[Difference]:
    """How often each difference occurs in a file, and no other way of being wrong."""
    found: Counter[Difference] = Counter()
    for group in json.loads(file.read_text(encoding="utf-8")):
        schema: Any = group["schema"]
        if under.startswith("draft7") and isinstance(schema, dict):
            schema = {"$schema": DRAFT_7, **schema}
        matcher = schema_suite.compiled(schema)
        if isinstance(matcher, str):
            place = schema_suite.PLACE.fullmatch(matcher)
            assert place, f"names no keyword and no place: {matcher}"
            assert len(matcher) < 400 and "coerce" not in matcher
            found[file.stem, "refused", place[1]] += 1
            continue
        for test in group["tests"]:
            taken = schema_suite.takes(matcher, test["data"])
            if taken != test["valid"]:
                found[file.stem, "let through" if taken else "not written", ""] += 1
    return found


@pytest.mark.parametrize("under", MAIN + OPTIONAL)
def test_a_folder(under: str) -> None:
    files = schema_suite.files(under)
    found: Counter[Difference] = Counter()
    for file in files:
        found.update(differences(under, file))
    if under in MAIN:
        assert len(files) > 30 and not any(kind == "let through" for _, kind, _ in found)
    expected = {difference: count for difference, (count, _) in DIFFERENCES[under].items()}
    assert dict(found) == expected, "correct the table in schema_differences.py"
