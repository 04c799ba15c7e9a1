"""Opens a GGUF file for MLX: its weights as they are, its tokenizer from the metadata.

Each tensor stays in its type. MLX's own layout holds some of ggml's types exactly (gguf/packing.py), mlx-kquant's
layers hold the others in the file's blocks (block_layers.py); a file with a type that neither holds is refused.
`mx.load` reads GGUF too, but reads Q4_K wrongly, and MXFP4 and all that follows it not at all.
"""

import logging
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx_lm.utils import _get_classes

from nitro.checkpoints import fingerprint
from nitro.checkpoints.block_packing import CODECS
from nitro.checkpoints.files import TOOL_USE
from nitro.engines import sampling_defaults
from nitro.engines.backends.mlx import block_layers
from nitro.engines.backends.mlx.model import MlxModel, Share, whole
from nitro.engines.backends.mlx.tokenizer import FastTokenizer, byte_level, sentence_piece
from nitro.engines.backends.mlx.towers import gguf_tower, picture_reader
from nitro.engines.backends.mlx.towers.encoder import TowerEncoder
from nitro.engines.backends.mlx.towers.gguf_tower import GgufTower
from nitro.engines.runner import CannotOpen, LoadError
from nitro.engines.weights_read import OF_THIS_PROCESS
from nitro.errors import reason
from nitro.gguf import architectures, folder, header, packing, split_files, tensors, tokenizer, weights
from nitro.gguf.header import Header, UnreadableGGUF
from nitro.gguf.tensors import ArraySpec, TensorChunk

log = logging.getLogger("nitro.mlx")

# The type of an array in MLX, by its name in safetensors. BF16 is read as uint16, since NumPy has no bfloat16.
DTYPES = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.uint16, "U32": mx.uint32, "U8": mx.uint8}
# Types that both MLX's layout and mlx-kquant hold exactly are MLX's. It is not measured yet which computes them faster
# on Metal; False gives them to mlx-kquant where that is installed.
PREFERS_MLX = True
INFILL_KEYS = (("fim_pre", "prefix"), ("fim_suf", "suffix"), ("fim_mid", "middle"))  # today's and former ones
ADVICE = "Serve it with --engine llama, or convert it, or the original weights: nitro convert MODEL --to mlx"


def open_gguf(path: Path, projector: Path | None = None, must_see: bool = False, share: Share = whole) -> MlxModel:
    """The model in it, its weights loaded. `projector`: the file of its tower; where MLX has none of its kind, the
    model takes text only, unless it `must_see`. Raises CannotOpen before any weight is read, and LoadError."""
    try:
        head = architectures.read(path)
        architectures.of(head)
        _check_types(head)
        config = architectures.configuration(head)
        names = architectures.model_names(head)
        words = tokenizer.build(head)
    except UnreadableGGUF as error:
        raise CannotOpen(f"MLX cannot open it: {error} {ADVICE}") from None
    except OSError as error:
        raise CannotOpen(f"{path} cannot be read: {error.strerror}.") from None
    except Exception as error:  # metadata of another type than is expected
        raise CannotOpen(f"MLX cannot open {path}, because of its metadata: {reason(error)}") from None
    tower, blind = gguf_tower.find(projector, head, config, set(names.values())) if projector else (None, "")
    if blind and must_see:
        raise CannotOpen(f"MLX cannot open its tower: {blind}. Serve it with --engine llama.")
    if blind:
        log.warning("%s takes text only: %s", path, blind)
    try:
        network = _network(head, config, names, tower)
        share(network)
        mx.eval(network.parameters())
    except LoadError:
        raise
    except UnreadableGGUF as error:
        raise CannotOpen(f"MLX cannot open it: {error} {ADVICE}") from None
    except Exception as error:  # tensors that are missing or of another shape; MLX raises what it stumbles over
        raise LoadError(f"MLX cannot load {path}: {reason(error)}") from None
    controls = tokenizer.controls(head)
    specials = frozenset(words.get_added_tokens_decoder())
    to_bytes = sentence_piece if tokenizer.is_sentence_piece(head) else byte_level
    fast = FastTokenizer(words, to_bytes, hidden=controls, literal=specials - controls)
    return MlxModel(
        network=network,
        encoder=_encoder(network, fast, tower),
        blind=blind,
        dtype=getattr(mx, folder.dtype(head)),
        tokenizer=fast,
        trained_context=config["max_position_embeddings"],
        eog=tokenizer.ends(head),
        template=head.get(header.TEMPLATE),
        tool_template=head.get(f"{header.TEMPLATE}.{TOOL_USE}"),
        bos=tokenizer.text(head, "bos"),
        eos=tokenizer.text(head, "eos"),
        fingerprint=fingerprint.of(split_files.files(path)),
        infill=tuple(tokenizer.text(head, now) or tokenizer.text(head, before) for now, before in INFILL_KEYS),
        adds_bos=tokenizer.adds_bos(head),
        sampling=sampling_defaults.from_file(path, head.metadata, header.SAMPLING_KEYS),
    )


def _encoder(network: Any, tokenizer: FastTokenizer, tower: GgufTower | None) -> TowerEncoder | None:
    reader = picture_reader.of(tower.pictures, network, str(tower.header.path)) if tower else None
    return TowerEncoder(network, tokenizer, reader) if reader else None


def _check_types(head: Header) -> None:
    """Raise UnreadableGGUF for a tensor of a type that nothing here holds."""
    for name, tensor in head.tensors.items():
        if tensor.type in weights.PLAIN or tensor.type in packing.EXACT or _stays_in_blocks(tensor.type):
            continue
        held = [*weights.PLAIN, *packing.EXACT, *(CODECS if block_layers.is_installed() else ())]
        cure = f" {block_layers.CURE}" if tensor.type in CODECS else ""
        held_types = ", ".join(dict.fromkeys(held))
        raise UnreadableGGUF(f"{head.path}: tensor {name} is {tensor.type}, and MLX holds {held_types}.{cure}")


def _stays_in_blocks(type: str) -> bool:
    """Whether mlx-kquant's layers are to hold this type."""
    if type not in CODECS or not block_layers.is_installed():
        return False
    return type not in packing.EXACT or not PREFERS_MLX


def _network(head: Header, config: dict[str, Any], names: dict[str, str], tower: GgufTower | None) -> Any:
    """The mlx-lm model with the file's weights, or mlx-vlm's with those of the tower as well. `names`: mlx-lm's names
    by the file's. Raises UnreadableGGUF before a weight is read."""
    if tower is None:
        model, settings = _get_classes(config)  # private, but mlx-lm is pinned exactly
        network: Any = model(settings.from_dict(config))
        place: Callable[[str], str] = str
    else:
        network = tower.network()
        place = network.text_name
    names = {name: place(goal) for name, goal in names.items()}
    types = {goal.removesuffix(".weight"): head.tensors[name].type for name, goal in names.items()}
    _check_layers(head, network, names)
    OF_THIS_PROCESS.begin(sum(head.tensors[name].size for name in names))
    arrays = {place(name): array for tensor in names for name, array in _arrays(head, tensor)}
    arrays |= tower.arrays() if tower else {}
    if hasattr(network, "sanitize"):
        arrays = network.sanitize(arrays)
    arrays |= block_layers.install(network, {path: type for path, type in types.items() if _stays_in_blocks(type)})
    _pack(network, types)
    network.load_weights(list(arrays.items()))
    network.eval()
    return network


def _check_layers(head: Header, network: Any, names: dict[str, str]) -> None:
    """Raise UnreadableGGUF for a tensor in blocks whose layer cannot have such."""
    modules = dict(network.named_modules())
    for name, goal in names.items():
        type = head.tensors[name].type
        module = modules.get(goal.removesuffix(".weight"))
        if _stays_in_blocks(type) and not block_layers.can_replace(module):
            raise UnreadableGGUF(f"{head.path}: tensor {name} is {type}, which MLX's model cannot hold in this place.")


def _arrays(head: Header, name: str) -> Iterator[tuple[str, mx.array]]:
    """A tensor of the file as the model's arrays, by their names."""
    if _stays_in_blocks(head.tensors[name].type):
        parts, chunks = [tensors.in_blocks(head, name)], tensors.block_chunks(head, name)
    else:
        parts, chunks = tensors.parts(head, name), tensors.chunks(head, name)
    for part, array in zip(parts, _joined(parts, chunks), strict=True):
        yield part.name, array.view(mx.bfloat16) if part.type == "BF16" else array
    OF_THIS_PROCESS.add(head.tensors[name].size)


def _joined(parts: list[ArraySpec], chunks: Iterator[TensorChunk]) -> list[mx.array]:
    """The arrays of a tensor. Chunks go right into MLX's memory, so that it is there once."""
    arrays: list[mx.array] = []
    flat: list[np.ndarray] = []
    filled = [0] * len(parts)
    for chunk in chunks:
        if not arrays and all(piece.size == prod(part.shape) for piece, part in zip(chunk.arrays, parts, strict=True)):
            return [mx.array(piece.reshape(part.shape)) for piece, part in zip(chunk.arrays, parts, strict=True)]
        if not arrays:
            arrays = [mx.zeros(part.shape, DTYPES[part.type]) for part in parts]
            mx.eval(arrays)
            flat = [np.array(array, copy=False).reshape(-1) for array in arrays]
        for i, piece in enumerate(chunk.arrays):
            flat[i][filled[i] : filled[i] + piece.size] = piece.reshape(-1)
            filled[i] += piece.size
    return arrays


def _pack(network: Any, types: dict[str, str]) -> None:
    """Make packed layers of those whose weights are packed, each with its own number of bits."""

    def packing_of(path: str, module: Any) -> dict[str, int] | bool:
        kind = packing.EXACT.get(types.get(path, ""))
        return {"group_size": packing.GROUP, "bits": kind.bits} if kind and hasattr(module, "to_quantized") else False

    nn.quantize(network, class_predicate=packing_of)
