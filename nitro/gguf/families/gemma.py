"""Gemma 1, Gemma 2 and Gemma 3 (text). Their norms multiply by 1 + weight, and the file stores the sum."""

from typing import Any

from nitro.gguf.families import experts, rope
from nitro.gguf.families.family import (
    ArchitectureFamily,
    Value,
    constant,
    head_count,
    head_size,
    maybe,
    minus_one,
    weights,
)
from nitro.gguf.families.llama import ATTENTION, CONFIG, DENSE, EMBEDDINGS, FEED_FORWARD, HEAD_NORMS, NORMS_BEFORE
from nitro.gguf.header import Header, UnreadableGGUF

FOUR_NORMS = weights(
    {
        "blk.N.attn_norm": "model.layers.N.input_layernorm",
        "blk.N.post_attention_norm": "model.layers.N.post_attention_layernorm",
        "blk.N.ffn_norm": "model.layers.N.pre_feedforward_layernorm",
        "blk.N.post_ffw_norm": "model.layers.N.post_feedforward_layernorm",
    }
)
NAMES = {**EMBEDDINGS, **weights(ATTENTION), **FOUR_NORMS, **weights(FEED_FORWARD)}


def query_scalar(layers_of_27b: int) -> Value:
    """The number whose root divides the attention scores: the head size. Only in the 27B model it is width / heads;
    that model is recognised by its number of layers (load_arch_hparams in llama.cpp's src/models/gemma*.cpp)."""

    def of(header: Header) -> int:
        if header.need("{arch}.block_count") == layers_of_27b:
            return int(header.need("{arch}.embedding_length") // head_count(header))
        return head_size(header)

    return of


def window_pattern(default: int) -> Value:
    """One layer in so many attends to everything, the others to a window. `default`: where the file does not say.
    Raises UnreadableGGUF where it is irregular."""

    def of(header: Header) -> int:
        if not header.get("{arch}.attention.sliding_window"):
            return 1
        pattern: Any = header.get("{arch}.attention.sliding_window_pattern", default)
        if isinstance(pattern, int):
            return pattern
        every = pattern.index(False) + 1 if False in pattern else len(pattern) + 1
        if pattern != [(layer + 1) % every != 0 for layer in range(len(pattern))]:
            raise UnreadableGGUF(f"{header.path}: its layers with a sliding window follow no regular pattern.")
        return every

    return of


def no_window(header: Header) -> str | None:
    """A notice where the context is longer than the window."""
    window = header.get("{arch}.attention.sliding_window", 4096)
    if header.need("{arch}.context_length") <= window:
        return None
    return f"mlx-lm's gemma2 has no sliding window: beyond {window} tokens its answers differ from llama.cpp's."


OF_GEMMA = {**EMBEDDINGS, **weights(ATTENTION), **NORMS_BEFORE, **weights(FEED_FORWARD)}
GEMMA = ArchitectureFamily(
    "gemma",
    "GemmaForCausalLM",
    {name: goal for name, goal in OF_GEMMA.items() if name != "output.weight"},  # always tied
    CONFIG,
    values=dict.fromkeys(("output_norm.weight", *NORMS_BEFORE), minus_one),
    supported={**DENSE, **experts.NO_SCALING},
)

GEMMA2 = ArchitectureFamily(
    "gemma2",
    "Gemma2ForCausalLM",
    {name: goal for name, goal in NAMES.items() if name != "output.weight"},  # always tied
    {
        **CONFIG,
        "rope_theta": rope.one_base,
        "query_pre_attn_scalar": query_scalar(46),
        "attn_logit_softcapping": maybe("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": maybe("final_logit_softcapping", 30.0),
        "sliding_window": maybe("attention.sliding_window", 4096),
    },
    values=dict.fromkeys(("output_norm.weight", *FOUR_NORMS), minus_one),
    supported={**DENSE, **experts.NO_SCALING},
    notice=no_window,
)

GEMMA3 = ArchitectureFamily(
    "gemma3_text",
    "Gemma3ForCausalLM",
    {**NAMES, **HEAD_NORMS},
    {
        **CONFIG,
        "rope_local_base_freq": maybe("rope.freq_base_swa", 10000.0),
        "rope_theta": rope.base,
        "query_pre_attn_scalar": query_scalar(62),
        "sliding_window": maybe("attention.sliding_window"),
        "sliding_window_pattern": window_pattern(6),
        "hidden_activation": constant("gelu_pytorch_tanh"),
    },
    values=dict.fromkeys(("output_norm.weight", *FOUR_NORMS, *HEAD_NORMS), minus_one),
    supported={**DENSE, "final_logit_softcapping": (0.0, None)},  # mlx-lm's model has no such cap
)
