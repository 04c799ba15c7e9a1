"""What the tests of conversion share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nitro.convert import verify
from nitro.convert.checkpoint import Checkpoint
from nitro.convert.verify import ModelOutput


@pytest.fixture(scope="session", autouse=True)
def each_reference_is_computed_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Several results are compared with one original, which torch computes. Results are computed each time."""
    compute: Callable[..., ModelOutput] = verify.compute
    known: dict[tuple[Path, int], ModelOutput] = {}

    def remembered(model: Checkpoint, logits: Path, positions: int, **options: Any) -> ModelOutput:
        if model.kind != "hf" or options.get("ids") is not None:
            return compute(model, logits, positions, **options)
        key = (model.path.resolve(), positions)
        if key not in known:
            kept = tmp_path_factory.mktemp("reference") / logits.name
            known[key] = compute(model, kept, positions, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "compute", remembered)
        yield
