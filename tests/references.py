"""Several results are compared with one original: that is computed once, results each time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nitro.convert import verify
from nitro.convert.checkpoint import Checkpoint
from nitro.convert.verify import ModelOutput


@contextmanager
def computed_once(folder: Path) -> Iterator[None]:
    """While this lasts. What originals gave is kept in `folder`; their files do not change meanwhile."""
    compute: Callable[..., ModelOutput] = verify.compute
    known: dict[tuple[Path, int], ModelOutput] = {}

    def remembered(model: Checkpoint, logits: Path, positions: int, **options: Any) -> ModelOutput:
        if options.get("ids") is not None:
            return compute(model, logits, positions, **options)
        key = (model.path.resolve(), positions)
        if key not in known:
            known[key] = compute(model, folder / f"{len(known)}.npz", positions, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "compute", remembered)
        yield
