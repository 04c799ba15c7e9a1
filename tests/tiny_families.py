"""A tiny random GGUF of each architecture that nitro/gguf knows, with float32 weights. llama.cpp checks the names and
shapes as it loads them, so that the tables here cannot agree with ours on something wrong."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from tiny_models import CONTEXT, TEMPLATE, VOCABULARY

from bench import tiny_vocabulary
from bench.converted_families import WRITERS

WIDTH, LAYERS, HEADS, KV_HEADS, HEAD, WIDE_HEAD, FEED_FORWARD = 64, 4, 4, 2, 16, 32, 128
EXPERTS, USED_EXPERTS, EXPERT_FEED_FORWARD = 8, 2, 32
WINDOW = 32

MODEL = ("token_embd.weight", "output.weight", "output_norm.weight")
QKV = ("attn_q.weight", "attn_k.weight", "attn_v.weight")
QKV_BIASES = ("attn_q.bias", "attn_k.bias", "attn_v.bias")
ATTENTION = (*QKV, "attn_output.weight")
FORWARD = ("ffn_gate.weight", "ffn_up.weight", "ffn_down.weight")
HEAD_NORMS = ("attn_q_norm.weight", "attn_k_norm.weight")
BEFORE, AFTER = ("attn_norm.weight", "ffn_norm.weight"), ("post_attention_norm.weight", "post_ffw_norm.weight")
PLAIN_LAYER = (*ATTENTION, *FORWARD, *BEFORE)
EXPERT_LAYER = tuple(f"ffn_{part}.weight" for part in ("gate_inp", "gate_exps", "up_exps", "down_exps"))

Head = {"attention.key_length": WIDE_HEAD, "attention.value_length": WIDE_HEAD}
FACTORS = np.linspace(1, 8, HEAD // 2).astype(np.float32)


class Family:
    """`layer`: the tensors of one. `keys`: metadata beside the usual. `model`: tensors that are of no layer.
    `extra`: tensors with the values they have."""

    def __init__(
        self,
        architecture: str,
        layer: tuple[str, ...],
        keys: dict[str, Any] | None = None,
        model: tuple[str, ...] = MODEL,
        head: int = HEAD,
        extra: dict[str, np.ndarray] | None = None,
        **shapes: tuple[int, ...],
    ):
        self.architecture, self.layer, self.keys, self.model = architecture, layer, keys or {}, model
        self.shapes, self.extra = {**_shapes(head), **shapes}, extra or {}

    def shape(self, name: str) -> tuple[int, ...]:
        stem, kind = name.rsplit(".", 1)
        return self.shapes[stem] if kind == "weight" else self.shapes[stem][:1]


def _shapes(head: int) -> dict[str, tuple[int, ...]]:
    vectors = ("output_norm", "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")
    return {
        "token_embd": (VOCABULARY, WIDTH),
        "output": (VOCABULARY, WIDTH),
        **dict.fromkeys(vectors, (WIDTH,)),
        "attn_q": (HEADS * head, WIDTH),
        "attn_k": (KV_HEADS * head, WIDTH),
        "attn_v": (KV_HEADS * head, WIDTH),
        "attn_qkv": ((HEADS + 2 * KV_HEADS) * head, WIDTH),
        "attn_output": (WIDTH, HEADS * head),
        "attn_q_norm": (head,),
        "attn_k_norm": (head,),
        "ffn_gate": (FEED_FORWARD, WIDTH),
        "ffn_up": (FEED_FORWARD, WIDTH),
        "ffn_down": (WIDTH, FEED_FORWARD),
        "ffn_gate_inp": (EXPERTS, WIDTH),
        "ffn_gate_exps": (EXPERTS, EXPERT_FEED_FORWARD, WIDTH),
        "ffn_up_exps": (EXPERTS, EXPERT_FEED_FORWARD, WIDTH),
        "ffn_down_exps": (EXPERTS, WIDTH, EXPERT_FEED_FORWARD),
    }


TIED = ("token_embd.weight", "output_norm.weight")
PHI_LAYER = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight", *BEFORE)
FAMILIES: dict[str, Family] = {
    "llama": Family("llama", PLAIN_LAYER, {"rope.dimension_count": HEAD}),
    "llama, tied, biased": Family("llama", (*PLAIN_LAYER, *QKV_BIASES, "attn_output.bias"), model=TIED),
    "llama, linear": Family("llama", PLAIN_LAYER, {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "llama, rotary factors": Family("llama", PLAIN_LAYER, extra={"rope_freqs.weight": FACTORS}),
    "qwen2": Family("qwen2", (*PLAIN_LAYER, *QKV_BIASES), {"rope.freq_base": 1e6}, model=TIED),
    "qwen3": Family("qwen3", (*PLAIN_LAYER, *HEAD_NORMS), Head, head=WIDE_HEAD),
    "qwen3moe": Family(
        "qwen3moe",
        (*ATTENTION, *BEFORE, *HEAD_NORMS, *EXPERT_LAYER),
        {
            **Head,
            "expert_count": EXPERTS,
            "expert_used_count": USED_EXPERTS,
            "expert_feed_forward_length": EXPERT_FEED_FORWARD,
        },
        head=WIDE_HEAD,
    ),
    "gemma2": Family(
        "gemma2",
        (*PLAIN_LAYER, *AFTER),
        {
            **Head,
            "attn_logit_softcapping": 20.0,
            "final_logit_softcapping": 10.0,
            "attention.sliding_window": CONTEXT,  # mlx-lm's model has none
        },
        model=TIED,
        head=WIDE_HEAD,
    ),
    "gemma3": Family(
        "gemma3",
        (*PLAIN_LAYER, *AFTER, *HEAD_NORMS),
        {
            **Head,
            "attention.sliding_window": WINDOW,
            "attention.sliding_window_pattern": 2,
            "rope.freq_base": 1e6,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
        },
        model=TIED,
        head=WIDE_HEAD,
    ),
    "phi3": Family("phi3", PHI_LAYER, {"rope.dimension_count": HEAD}, ffn_up=(2 * FEED_FORWARD, WIDTH)),
    "phi3, long": Family(
        "phi3",
        PHI_LAYER,
        {
            "rope.dimension_count": HEAD // 2,
            "rope.scaling.type": "longrope",
            "rope.scaling.original_context_length": 64,
            "rope.scaling.attn_factor": (1 + np.log(CONTEXT / 64) / np.log(64)) ** 0.5,
        },
        extra={"rope_factors_long.weight": FACTORS[::2] + 1, "rope_factors_short.weight": FACTORS[::2]},
        ffn_up=(2 * FEED_FORWARD, WIDTH),
    ),
    "smollm3": Family("smollm3", PLAIN_LAYER, {"rope.dimension_count": HEAD}, model=TIED),
    "granite": Family(
        "granite",
        PLAIN_LAYER,
        {
            "rope.dimension_count": HEAD,
            "attention.scale": 0.1,
            "embedding_scale": 3.0,
            "residual_scale": 0.5,
            "logit_scale": 2.0,
        },
        model=TIED,
    ),
    "olmo2": Family(
        "olmo2",
        (*ATTENTION, *FORWARD, *AFTER, *HEAD_NORMS),
        attn_q_norm=(HEADS * HEAD,),
        attn_k_norm=(KV_HEADS * HEAD,),
    ),
}


def tensors(family: Family, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    names = [*family.model, *(f"blk.{layer}.{name}" for layer in range(LAYERS) for name in family.layer)]

    def values(name: str) -> np.ndarray:
        general = name.split(".", 2)[2] if name.startswith("blk.") else name
        shape = family.shape(general)
        if "norm" in name:
            return random.uniform(0.5, 1.5, shape).astype(np.float32)
        scale = {"token_embd.weight": 2.0, "output.weight": 2.5}.get(name, 1.5)
        return (random.standard_normal(shape) * scale / shape[-1] ** 0.5).astype(np.float32)

    return {name: values(name) for name in names} | family.extra


def write_family(
    path: Path,
    name: str,
    type: Type = Type.F32,
    seed: int = 0,
    general: dict[str, Any] | None = None,
    replaced: dict[str, tuple[np.ndarray, Type]] | None = None,
    kept: list[str] | None = None,
    split: tuple[int, int, int] | None = None,
    **keys: Any,
) -> Path:
    """`type`: of the matrices. `general`: more metadata; `keys`: more of the architecture's, with "__" for ".", None
    for none. `replaced`: tensors in another type. `kept`: the tensors to write, if not all. `split`: the number of this
    file, that of all, and the number of tensors in all."""
    family = FAMILIES[name]
    writer = gguf.GGUFWriter(path, family.architecture)
    usual = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": FEED_FORWARD,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    for key, value in {
        **usual,
        **family.keys,
        **{key.replace("__", "."): value for key, value in keys.items()},
    }.items():
        if value is not None:
            WRITERS[value.__class__](writer, f"{family.architecture}.{key}", value)
    for key, value in (general or {}).items():
        WRITERS[value.__class__](writer, key, value)
    if split is not None:
        writer.add_uint16("split.no", split[0] - 1)
        writer.add_uint16("split.count", split[1])
        writer.add_int32("split.tensors.count", split[2])
    tiny_vocabulary.add_to(writer)
    writer.add_chat_template(TEMPLATE)
    for tensor, array in tensors(family, seed).items():
        if kept is not None and tensor not in kept:
            continue
        if tensor in (replaced or {}):
            writer.add_tensor(tensor, replaced[tensor][0], raw_dtype=replaced[tensor][1])
        elif array.ndim == 1 or type == Type.F32:
            writer.add_tensor(tensor, array)
        else:
            writer.add_tensor(tensor, gguf.quants.quantize(array, type), raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
