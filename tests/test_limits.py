"""bench/limits.py: every limit has a test that uses it and its fault."""

from pathlib import Path

import doctored
import pytest

from bench import limits
from bench.limits import Limit

TABLE = {name: limit for name, limit in vars(limits).items() if isinstance(limit, Limit)}


@pytest.mark.parametrize("name", TABLE)
def test_a_limit_is_shown_by_its_test(name: str) -> None:
    limit = TABLE[name]
    said = (Path(__file__).parent / limit.test).read_text()
    assert f"limits.{name}" in said or (name in ("FAMILY", "GELU_FAMILY") and "limits.of_family" in said)
    assert limit.fault in doctored.FAULTS_OF_WEIGHTS or f"limits.{name}.fault" in said
    assert 0 < limit.nats < 0.05 and limit.of and limit.why
