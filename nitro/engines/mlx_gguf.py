"""Opens a GGUF file for MLX: its packed weights as they are, its tokenizer from the metadata.

`mx.load` keeps Q4_0, Q4_1 and Q8_0 packed, with a scale and a bias per 32 weights. Other types it would unpack to
float16 without a word, or fail on; so the header is read first and such a file is refused.
"""

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.models import llama

from nitro.engines import fingerprint
from nitro.engines.mlx_model import MlxModel, compute_type
from nitro.engines.runner import CannotOpen, LoadError
from nitro.engines.tokenizer import FastTokenizer, byte_level
from nitro.gguf import architectures, header, tokenizer
from nitro.gguf.header import Header, UnreadableGGUF

PLAIN = ("F32", "F16")
PACKED = {"Q4_0": 4, "Q4_1": 4, "Q8_0": 8}  # bits
GROUP = 32  # weights that share a scale
ADVICE = "Serve it with --engine llama, or convert it, or the original weights: nitro convert MODEL --to mlx"
MODELS = {"llama": llama}


def open_gguf(path: Path) -> MlxModel:
    """Raises CannotOpen before any weight is read, and LoadError."""
    try:
        head = header.read(path)
        _check_types(head)
        config = architectures.configuration(head)
        names = {name: architectures.model_name(head, name) for name in _weights(head)}
        words = tokenizer.build(head)
    except UnreadableGGUF as error:
        raise CannotOpen(f"MLX cannot open it: {error} {ADVICE}") from None
    except OSError as error:
        raise CannotOpen(f"{path} cannot be read: {error.strerror}.") from None
    try:
        network = _network(head, config, names)
    except Exception as error:  # tensors that are missing or of another shape; MLX raises what it stumbles over
        raise LoadError(f"MLX cannot load {path}: {error}") from None
    controls = tokenizer.controls(head)
    specials = frozenset(words.get_added_tokens_decoder())
    template = head.get("tokenizer.chat_template")
    return MlxModel(
        network=network,
        tokenizer=FastTokenizer(words, byte_level, silent=controls, literal=specials - controls),
        trained_context=config["max_position_embeddings"],
        eog=tokenizer.ends(head),
        template=template,
        bos=tokenizer.text(head, "bos"),
        eos=tokenizer.text(head, "eos"),
        fingerprint=fingerprint.of([path]),
        sampling=header.sampling(head),
    )


def _check_types(head: Header) -> None:
    for name, tensor in head.tensors.items():
        if tensor.type not in PLAIN and tensor.type not in PACKED:
            raise UnreadableGGUF(
                f"{head.path}: tensor {name} is {tensor.type}, and MLX holds {', '.join((*PLAIN, *PACKED))}."
            )
    if head.get("split.count", 1) > 1:
        raise UnreadableGGUF(f"{head.path} is one of several files; join them with llama-gguf-split --merge.")


def _weights(head: Header) -> list[str]:
    return [name for name in head.tensors if name != architectures.ROPE_FACTORS]


def _network(head: Header, config: dict[str, Any], names: dict[str, str]) -> Any:
    """The mlx-lm model with the file's weights. `names`: the model's names by the file's."""
    loaded: dict[str, mx.array] = mx.load(str(head.path), format="gguf")  # type: ignore[assignment]
    arrays: dict[str, mx.array] = {}
    for name, goal in names.items():
        count = architectures.heads(head, name)
        for kind in (".weight", ".scales", ".biases"):
            if (array := loaded.get(name.removesuffix(".weight") + kind)) is not None:
                array = array if count is None else _half_split(array, count)
                arrays[goal.removesuffix(".weight") + kind] = array
    network = MODELS[head.architecture].Model(MODELS[head.architecture].ModelArgs.from_dict(config))
    _pack(network, {goal.removesuffix(".weight"): head.tensors[name].type for name, goal in names.items()})
    network.load_weights(list(arrays.items()))
    network.set_dtype(compute_type() or _float_type(head))
    if architectures.ROPE_FACTORS in loaded:
        _set_rope(network, config, loaded[architectures.ROPE_FACTORS])
    mx.eval(network.parameters())
    network.eval()
    return network


def _half_split(array: mx.array, heads: int) -> mx.array:
    """Rows whose rotary pairs lie side by side, 0,1 · 2,3 · …, put in the order in which a head's first half pairs
    with its second. `array`: [heads × head size, anything]; packed weights keep their rows whole."""
    rows, *rest = array.shape
    return array.reshape(heads, rows // heads // 2, 2, *rest).swapaxes(1, 2).reshape(rows, *rest)


def _pack(network: Any, types: dict[str, str]) -> None:
    """Make packed layers of those whose weights are packed, each with its own number of bits."""

    def packing(path: str, module: Any) -> dict[str, int] | bool:
        bits = PACKED.get(types.get(path, ""))
        return {"group_size": GROUP, "bits": bits} if bits and hasattr(module, "to_quantized") else False

    nn.quantize(network, class_predicate=packing)


def _float_type(head: Header) -> mx.Dtype:
    """Float32 where the whole file is, else float16, which scales and biases are."""
    return mx.float32 if all(tensor.type == "F32" for tensor in head.tensors.values()) else mx.float16


def _set_rope(network: Any, config: dict[str, Any], factors: mx.array) -> None:
    """The file divides each rotary frequency by a factor of its own (Llama 3.1 and later)."""
    size = config["head_dim"]
    periods = config["rope_theta"] ** (mx.arange(0, size, 2, dtype=mx.float32) / size) * factors.astype(mx.float32)
    for layer in network.layers:
        layer.self_attn.rope = _Rope(size, periods)


class _Rope(nn.Module):
    """Rotary embedding with given periods, float32 [head size / 2]: dimension i turns by position / periods[i]."""

    def __init__(self, size: int, periods: mx.array):
        super().__init__()
        self._size, self._periods = size, periods

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        """`x`: [rows, heads, length, head size]."""
        return mx.fast.rope(x, self._size, traditional=False, base=None, scale=1.0, offset=offset, freqs=self._periods)
