"""Proves that a converted LoRA is the same: each layer's product is read back and compared, the target's library loads
it, and where the model is small enough, it computes with the adapter what it computes with the source's products added
to its weights.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from nitro.checkpoints import adapter_kinds, adapter_reader
from nitro.checkpoints.adapter_base import Base
from nitro.checkpoints.adapters import Adapter, AdapterType
from nitro.convert import checkpoint, comparison, environments, native, progress, verify
from nitro.convert.comparison import LogitScores
from nitro.errors import ConvertError
from nitro.gguf import architectures, layer_tensors
from nitro.gguf.header import Header
from nitro.models.conversion_report import path_for

PROBES = 8  # random vectors that both products are applied to
MAX_BYTES = 4 << 30  # of a model in float32 that is computed
BACKENDS = {"gguf": ("llama", "score_gguf"), "mlx": ("mlx", "score_mlx")}
Notify = Callable[[str], None]


class AdapterProof(Struct):
    """The proof that is written beside a converted LoRA."""

    passed: bool
    failures: list[str]
    adapter: str  # the source's name
    base: str
    layers: int  # compared one by one
    largest_error: float  # of a layer, relative
    computed: str  # by what, or why nothing was computed
    scores: LogitScores | None  # beside the model with the products added to its weights
    moved: float | None  # mean KL divergence in nats between the model with the adapter and without
    limits: dict[str, float]


def prove(
    source: Path, made: Path, base: Base, positions: int, notify: Notify, type: AdapterType = "F32"
) -> AdapterProof:
    """Compare. `type`: that of the numbers in the result. A proof that failed is a result. Raises ConvertError,
    AdapterError, OSError."""
    limits = comparison.LIMITS[type]
    expected, found = (base.fitted(adapter_reader.read(path, base.header)) for path in (source, made))
    errors = layer_errors(expected, found)
    failures = [
        f"{name} adds something else (relative error {e:.2g})" for name, e in errors.items() if e > limits.matrix
    ]
    kind = adapter_kinds.kind(made)
    scores, moved, computed = None, None, _why_not(kind, base)
    if not computed:
        computed = f"by {environments.pinned(verify.PACKAGES[kind]).replace('==', ' ')}"
        with progress.working(f"computing {base.path.name} with the adapter {computed}", notify) as tick:
            scores, moved = _computed((source, made), base, positions, lambda runs: _run(kind, runs, tick))
        failures += comparison.failures(scores, limits)
    return AdapterProof(
        passed=not failures,
        failures=failures[: verify.MAX_NAMED],
        adapter=source.resolve().name,
        base=base.path.resolve().name,
        layers=len(errors),
        largest_error=max(errors.values()),
        computed=computed,
        scores=scores,
        moved=moved,
        limits=asdict(limits),
    )


def write(adapter: Path, proof: AdapterProof) -> None:
    """Write the proof beside the adapter. Raises OSError."""
    path_for(adapter).write_bytes(msgspec.json.format(msgspec.json.encode(proof), indent=2) + b"\n")


def layer_errors(expected: Adapter, found: Adapter) -> dict[str, float]:
    """By layer, how far what it adds to random vectors is from what it should add, relative to that; infinite where one
    of them lacks the layer."""
    random = np.random.default_rng(0)
    errors: dict[str, float] = dict.fromkeys(expected.layers.keys() ^ found.layers.keys(), float("inf"))
    for name in expected.layers.keys() & found.layers.keys():
        one, other = expected.layers[name], found.layers[name]
        if one.shape != other.shape:
            errors[name] = float("inf")
            continue
        probes = random.standard_normal((one.shape[-1], PROBES))
        wanted, added = (each.scale * (each.b @ (each.a @ probes)) for each in (one, other))
        size = float(np.linalg.norm(wanted))
        difference = float(np.linalg.norm(added - wanted))
        errors[name] = difference / size if size else difference
    return errors


def _why_not(kind: str, base: Base) -> str:
    """Why the model is not computed; empty where it is."""
    if kind == "peft":
        return "not computed: that is done of a GGUF, or of mlx-lm's folder"
    if kind == "gguf" and base.path.is_dir():
        return "not computed: the base is a folder and no GGUF"
    if kind == "mlx" and not base.path.is_dir():
        return "not computed: the base is a GGUF, which mlx-lm does not open"
    if 4 * checkpoint.read(base.path).parameters > MAX_BYTES:
        return "not computed: the base is too large to be computed in float32"
    return ""


def _run(kind: str, runs: list[dict[str, Any]], tick: Callable[[], None]) -> list[list[int]]:
    """Compute, and return the ids of the texts."""
    backend, worker = BACKENDS[kind]
    try:
        reply = environments.run(backend, "several", {"worker": worker, "runs": runs}, tick=tick)
    except ConvertError as error:
        raise ConvertError(f"The base cannot be computed with the adapter: {error}") from None
    ids: list[list[int]] = reply["ids"]
    return ids


def _computed(
    paths: tuple[Path, Path], base: Base, positions: int, run: Callable[[list[dict[str, Any]]], list[list[int]]]
) -> tuple[LogitScores, float]:
    """The scores of the model with the adapter, and how far it moves the model. `paths`: of source and result."""
    texts = verify.corpus()["texts"][: max(positions // verify.MIN_TEXT_TOKENS, 1)]
    request: dict[str, Any] = {"strings": [], "texts": texts, "limit": positions // len(texts)}
    request |= {"encoder": False, "nitro": str(native.PACKAGE.absolute())}
    with tempfile.TemporaryDirectory(prefix="nitro-verify-") as scratch:
        folder = Path(scratch)
        models = _in_folder(paths, base) if base.path.is_dir() else _in_gguf(paths, base, folder)
        outputs = {name: folder / f"{name}.npz" for name in models}
        ids = run([{**request, **changes, "out": str(outputs[name])} for name, changes in models.items()])
        plain, merged, adapted = (np.load(outputs[name]) for name in ("plain", "merged", "adapted"))
        scores, moved = (
            comparison.compare((row, one[f"text_{n}"], adapted[f"text_{n}"]) for n, row in enumerate(ids))
            for one in (merged, plain)
        )
    return scores, moved.mean_kl


def _in_folder(paths: tuple[Path, Path], base: Base) -> dict[str, dict[str, str]]:
    """What differs in the requests of the model alone, with the source's products added, and with the result."""
    source, made = (str(path.absolute()) for path in paths)
    model = str(base.path.absolute())
    return {
        "plain": {"model": model},
        "merged": {"model": model, "added": source},
        "adapted": {"model": model, "adapter": made},
    }


def _in_gguf(paths: tuple[Path, Path], base: Base, folder: Path) -> dict[str, dict[str, str]]:
    """As `_in_folder`; files are written into `folder`."""
    model, merged = _in_float32(base, folder / "base.gguf"), folder / "merged.gguf"
    shutil.copyfile(model, merged)
    add(base.fitted(adapter_reader.read(paths[0], base.header)), merged)
    adapted = {"model": str(model), "adapter": str(paths[1].absolute())}
    return {"plain": {"model": str(model)}, "merged": {"model": str(merged)}, "adapted": adapted}


def _in_float32(base: Base, target: Path) -> Path:
    """The GGUF with the same numbers in float32, so that a product can be added to a weight."""
    request = {"source": base.path.absolute(), "target": target, "ftype": checkpoint.FTYPES["F32"], "imatrix": None}
    environments.run("llama", "quantize_gguf", {**request, "requantize": True})
    return target


def add(adapter: Adapter, file: Path) -> None:
    """Add the products of an adapter to the weights of a GGUF in float32, in its place."""
    head = architectures.read(file)
    for layer, change in adapter.layers.items():
        _add_one(head, layer_tensors.tensor_of(head, layer), change.product())


def _add_one(head: Header, name: str, product: np.ndarray) -> None:
    tensor = head.tensors[name]
    assert tensor.type == "F32", f"{name} is {tensor.type}"
    stored = np.memmap(tensor.file, np.float32, "r+", tensor.offset, tensor.shape)
    stored += product if product.ndim != 2 else layer_tensors.in_file_order(head, name, product)
    stored.flush()
