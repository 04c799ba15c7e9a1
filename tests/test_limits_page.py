"""docs/limits.md: every limit has a value that is the server's, and a test that reaches it."""

from pathlib import Path

import pytest

from nitro.config import ServeConfig
from nitro.engines.options import options_of
from scripts import limits

TESTS = Path(__file__).parent
BOUNDS = ("max_", "_seconds", "_memory", "min_rate")  # in the names of fields that are limits
OTHERS = {"embedding_overflow", "image_max_tokens", "models_max"}  # that are none of a request


def test_the_page_is_the_table() -> None:
    """`make docs` writes it."""
    assert limits.FILE.read_text(encoding="utf-8") == limits.text()


@pytest.mark.parametrize("limit", list(limits.all_limits()), ids=lambda limit: limit.what[:40])
def test_a_limit_names_a_test(limit: limits.Limit) -> None:
    file, _, name = limit.test.partition("::")
    assert f"def {name}(" in (TESTS / f"{file}.py").read_text(encoding="utf-8")


def test_every_flag_that_bounds_a_request_is_there() -> None:
    fields = {option.field for option in options_of(ServeConfig)}
    bounding = {field for field in fields if any(word in field for word in BOUNDS)} - OTHERS
    assert bounding == {limit.field for limit in limits.all_limits() if limit.field}
