"""A model as a LoRA on it needs it: shapes of weights, and a GGUF's names and order of rows. No weight is read."""

import re
from dataclasses import dataclass
from pathlib import Path

from nitro.checkpoints import adapter_kinds, expert_adapters, files, safetensors_file
from nitro.checkpoints.adapters import Adapter, is_embedding
from nitro.errors import AdapterError
from nitro.gguf import architectures, layer_tensors
from nitro.gguf.families.family import layer_count
from nitro.gguf.header import Header, UnreadableGGUF

BLOCK = re.compile(r"(?:^|\.)layers\.(\d+)\.")
PACKED = ("U32", "U8")  # types of weights whose columns are packed
TIED = (
    "the model has no output matrix of its own, so that what is trained on its embedding would change its output, too"
)


@dataclass(frozen=True, slots=True)
class Base:
    """`header`: of a GGUF; of a folder, what its GGUF would say, or None where that is not known. `shapes`: of the
    weights, by transformers' or mlx-lm's names; the columns of a packed one are None."""

    path: Path
    header: Header | None
    shapes: dict[str, tuple[int | None, ...]]

    def need_header(self) -> Header:
        """The header. Raises AdapterError where there is none."""
        if self.header is None:
            raise AdapterError(f"{self.path} is of an architecture whose names in a GGUF are not known here.")
        return self.header

    def blocks(self) -> int:
        """How many layers the model has, those with attention and so on."""
        if self.header is not None and self.header.get("{arch}.block_count"):
            return layer_count(self.header)
        return 1 + max((int(match[1]) for match in map(BLOCK.search, self.shapes) if match), default=-1)

    def fitted(self, adapter: Adapter) -> Adapter:
        """The adapter with the names of the model's layers; those of single experts are joined to stacks. Raises
        AdapterError where one is missing or has another shape, or the adapter changes an embedding that is the output
        matrix, too."""
        stacks = any(expert_adapters.STACK in name for name in self.shapes)
        named = self._named(expert_adapters.stacked(adapter, self._experts()) if stacks else adapter)
        return named if stacks else expert_adapters.stacked(named, self._experts())

    def _experts(self) -> int:
        """How many experts a layer has."""
        stacks = (shape[0] for name, shape in self.shapes.items() if expert_adapters.STACK in name)
        matches = (expert_adapters.EXPERT.search(name.removesuffix(".weight")) for name in self.shapes)
        return next(stacks, None) or max((int(match[1]) + 1 for match in matches if match), default=0)

    def _named(self, adapter: Adapter) -> Adapter:
        named = adapter.on(name.removesuffix(".weight") for name in self.shapes if name.endswith(".weight"))
        has_output = any(name.rpartition(".")[0].endswith("lm_head") for name in self.shapes)
        for name, change in named.layers.items():
            shape = self.shapes[f"{name}.weight"]
            if is_embedding(name) and not has_output:
                raise AdapterError(f"{adapter.path} changes {name}, and {TIED}.")
            if len(shape) != len(change.shape) or any(
                there not in (None, here) for there, here in zip(shape, change.shape, strict=True)
            ):
                sizes = " × ".join("?" if size is None else str(size) for size in shape)
                raise AdapterError(
                    f"{adapter.path} is for another model: it changes {name}, of "
                    f"{' × '.join(map(str, change.shape))}, which is {sizes} in {self.path}."
                )
        return named


def of(path: Path) -> Base:
    """The model, a GGUF file or a folder of transformers or mlx-lm. Raises AdapterError."""
    try:
        return _folder(path) if path.is_dir() else _gguf(path)
    except OSError as error:
        raise AdapterError(f"{error.filename or path} cannot be read: {error.strerror}.") from None
    except (UnreadableGGUF, ValueError) as error:
        raise AdapterError(str(error)) from None


def _gguf(path: Path) -> Base:
    head = architectures.read(path)
    names = architectures.model_names(head)
    return Base(path, head, {goal: architectures.model_shape(head, name) for name, goal in names.items()})


def _folder(path: Path) -> Base:
    config = files.read(path / "config.json")
    if not config:
        raise AdapterError(f"{path} is a folder without config.json, so it is not a model.")
    shapes: dict[str, tuple[int | None, ...]] = {}
    for file in sorted(set(path.glob("*.safetensors")) - {path / name for name in adapter_kinds.WEIGHTS.values()}):
        for name, entry in safetensors_file.read(file)[0].items():
            packed = entry.type in PACKED
            shapes[name] = (*entry.shape[:-1], None) if packed and entry.shape else entry.shape
    if config.get("tie_word_embeddings") is True:
        shapes.pop("lm_head.weight", None)
    try:
        header = layer_tensors.header_of(path, config)
    except UnreadableGGUF:
        header = None
    return Base(path, header, shapes)
