"""Converts a LoRA: PEFT's, mlx-lm's or llama.cpp's into a GGUF for llama.cpp, or a folder for mlx-lm."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nitro.checkpoints import adapter_base, adapter_kinds, adapter_reader, gguf_adapter, mlx_adapter
from nitro.checkpoints.adapter_base import Base
from nitro.checkpoints.adapter_tensors import AdapterTensors
from nitro.checkpoints.adapters import Adapter, AdapterType
from nitro.convert import adapter_proof, output
from nitro.convert.adapter_proof import AdapterProof
from nitro.errors import AdapterError, ConvertError
from nitro.gguf import layer_tensors
from nitro.gguf.header import UnreadableGGUF

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """One conversion. `to`: "gguf" or "mlx". `base`: the model, in any kind. `positions`: computed in the proof.
    `type`: of the numbers that are written."""

    source: Path
    to: str
    base: Path
    target: Path
    force: bool = False
    positions: int = 1000
    type: AdapterType = "F32"


def convert(plan: AdapterPlan, notify: Notify) -> AdapterProof:
    """Make `plan.target` completely and with its proof, or raise ConvertError and leave nothing."""
    try:
        return _convert(plan, notify)
    except (AdapterError, UnreadableGGUF) as error:
        raise ConvertError(str(error)) from None


def _convert(plan: AdapterPlan, notify: Notify) -> AdapterProof:
    kind = adapter_kinds.kind(plan.source)
    if plan.to not in ("gguf", "mlx"):
        raise ConvertError("A LoRA converts to gguf and to mlx only.")
    if kind == plan.to:
        raise ConvertError(f"{plan.source} already is of this kind ({plan.to}).")
    output.refuse_existing(plan.target, plan.force)
    base = adapter_base.of(plan.base)
    source = fitted(plan.source, base)
    with output.writing(plan.target, plan.force) as made:
        if plan.to == "gguf":
            gguf_adapter.write(source, base.need_header(), made, plan.type)
        else:
            made.mkdir()
            mlx_adapter.write(for_mlx(source, base), base.blocks(), made, plan.type)
        proof = adapter_proof.prove(plan.source, made, base, plan.positions, notify, plan.type)
        if not proof.passed:
            raise ConvertError(f"The result is not the same adapter and was removed: {'; '.join(proof.failures)}.")
        if made.is_dir():
            adapter_proof.write(made, proof)
    if plan.target.is_file():
        adapter_proof.write(plan.target, proof)
    return proof


def compare(reference: Path, adapter: Path, model: Path, positions: int, notify: Notify) -> AdapterProof:
    """The proof that two adapters of a model are the same, of any kinds. It is not written. Raises ConvertError."""
    try:
        base = adapter_base.of(model)
        types = {_type_of(path) for path in (reference, adapter)}
        if "gguf" in map(adapter_kinds.kind, (reference, adapter)):
            base.need_header()
        type: AdapterType = "F32" if types == {"F32"} else "F16"
        return adapter_proof.prove(reference, adapter, base, positions, notify, type)
    except (AdapterError, UnreadableGGUF) as error:
        raise ConvertError(str(error)) from None


def _type_of(path: Path) -> AdapterType:
    """F32, or F16 where some of its numbers have fewer bits. Raises AdapterError."""
    kind = adapter_kinds.kind(path)
    if kind == "gguf":
        types = {tensor.type for tensor in adapter_kinds.read_header(path).tensors.values()}
    else:
        types = AdapterTensors(path / adapter_kinds.WEIGHTS[kind]).types
    return "F32" if types <= {"F32", "F64"} else "F16"


def fitted(path: Path, base: Base) -> Adapter:
    """The adapter at a path, with the names of the model's layers. Raises AdapterError."""
    header = base.need_header() if adapter_kinds.kind(path) == "gguf" else base.header
    return base.fitted(adapter_reader.read(path, header))


def for_mlx(adapter: Adapter, base: Base) -> Adapter:
    """The adapter with mlx-lm's names. Raises AdapterError where mlx-lm has other weights than the original."""
    if base.header is None:
        return adapter
    try:
        names = {layer: layer_tensors.mlx_layer(base.header, layer) for layer in adapter.layers}
    except UnreadableGGUF as error:
        raise AdapterError(f"{adapter.path} does not fit {base.path}: {error}") from None
    return Adapter(adapter.path, adapter.kind, {names[layer]: change for layer, change in adapter.layers.items()})
