"""What data/architectures.json says of every architecture is found again, with transformers and llama.cpp's
converter."""

from pathlib import Path
from typing import Any

import pytest
from convert import record_architectures

from bench.converted_families import FAMILIES, most

pytestmark = pytest.mark.convert


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("architectures")
    record_architectures.make(folder, list(FAMILIES))
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_recorded_is_found_again(made: Path, name: str) -> None:
    found, recorded = record_architectures.measured(made, name), FAMILIES[name]
    limits = most(recorded["architecture"])
    for key, value in recorded.items():
        assert outcome(found[key], limits.get(key)) == outcome(value, limits.get(key)), key


def outcome(value: Any, limit: float | None) -> Any:
    """A divergence counts as the same model or not: rounding differs from machine to machine."""
    return value < limit if limit is not None and isinstance(value, float) else value
