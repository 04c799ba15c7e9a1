"""Opens a GGUF file for MLX: its weights as they are, its tokenizer from the metadata.

MLX's layout holds some of ggml's types as the file has them (gguf/packing.py); a file with another is refused.
`mx.load` reads GGUF too, but turns most types to float16 without a word, and holds the model twice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.utils import _get_classes

from nitro.checkpoints import fingerprint
from nitro.checkpoints.files import TOOL_USE
from nitro.engines import sampling_defaults
from nitro.engines.backends.mlx.model import MlxModel
from nitro.engines.backends.mlx.tokenizer import FastTokenizer, byte_level, sentence_piece
from nitro.engines.runner import CannotOpen, LoadError
from nitro.errors import reason
from nitro.gguf import architectures, folder, header, packing, split_files, tensors, tokenizer, weights
from nitro.gguf.header import Header, UnreadableGGUF

TYPES = (*weights.PLAIN, *packing.EXACT)  # that MLX holds as they are
INFILL_KEYS = (("fim_pre", "prefix"), ("fim_suf", "suffix"), ("fim_mid", "middle"))  # today's and former ones
ADVICE = "Serve it with --engine llama, or convert it, or the original weights: nitro convert MODEL --to mlx"


def open_gguf(path: Path) -> MlxModel:
    """The model in it, its weights loaded. Raises CannotOpen before any weight is read, and LoadError."""
    try:
        head = header.read_all(path)
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
    try:
        network = _network(head, config, names)
        mx.eval(network.parameters())
    except Exception as error:  # tensors that are missing or of another shape; MLX raises what it stumbles over
        raise LoadError(f"MLX cannot load {path}: {reason(error)}") from None
    controls = tokenizer.controls(head)
    specials = frozenset(words.get_added_tokens_decoder())
    to_bytes = sentence_piece if tokenizer.is_sentence_piece(head) else byte_level
    return MlxModel(
        network=network,
        dtype=getattr(mx, folder.dtype(head)),
        tokenizer=FastTokenizer(words, to_bytes, hidden=controls, literal=specials - controls),
        trained_context=config["max_position_embeddings"],
        eog=tokenizer.ends(head),
        template=head.get(header.TEMPLATE),
        tool_template=head.get(f"{header.TEMPLATE}.{TOOL_USE}"),
        bos=tokenizer.text(head, "bos"),
        eos=tokenizer.text(head, "eos"),
        fingerprint=fingerprint.of(split_files.files(path)),
        infill=tuple(tokenizer.text(head, now) or tokenizer.text(head, before) for now, before in INFILL_KEYS),
        adds_bos=head.metadata.get("tokenizer.ggml.add_bos_token", False),
        sampling=sampling_defaults.from_file(path, head.metadata, header.SAMPLING_KEYS),
    )


def _check_types(head: Header) -> None:
    for name, tensor in head.tensors.items():
        if tensor.type not in TYPES:
            raise UnreadableGGUF(f"{head.path}: tensor {name} is {tensor.type}, and MLX holds {', '.join(TYPES)}.")


def _network(head: Header, config: dict[str, Any], names: dict[str, str]) -> Any:
    """The mlx-lm model with the file's weights. `names`: the model's names by the file's."""
    model, settings = _get_classes(config)  # private, but mlx-lm is pinned exactly
    network: Any = model(settings.from_dict(config))
    arrays = {goal: array for name in names for goal, array in _arrays(head, name)}
    if hasattr(network, "sanitize"):
        arrays = network.sanitize(arrays)
    _pack(network, {goal.removesuffix(".weight"): head.tensors[name].type for name, goal in names.items()})
    network.load_weights(list(arrays.items()))
    network.eval()
    return network


def _arrays(head: Header, name: str) -> Iterator[tuple[str, mx.array]]:
    """A tensor of the file as the model's arrays, by their names."""
    for part, array in tensors.whole(head, name):
        yield part.name, mx.array(array).view(mx.bfloat16) if part.type == "BF16" else mx.array(array)


def _pack(network: Any, types: dict[str, str]) -> None:
    """Make packed layers of those whose weights are packed, each with its own number of bits."""

    def packing_of(path: str, module: Any) -> dict[str, int] | bool:
        kind = packing.EXACT.get(types.get(path, ""))
        return {"group_size": packing.GROUP, "bits": kind.bits} if kind and hasattr(module, "to_quantized") else False

    nn.quantize(network, class_predicate=packing_of)
