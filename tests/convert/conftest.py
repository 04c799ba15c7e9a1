"""What the tests of conversion share."""

from collections.abc import Iterator

import pytest
from references import computed_once


@pytest.fixture(scope="session", autouse=True)
def each_reference_is_computed_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Torch needs long for it."""
    with computed_once(tmp_path_factory.mktemp("references")):
        yield
