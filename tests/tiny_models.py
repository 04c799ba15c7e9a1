"""Tiny random models with a real vocabulary: the first tokens of the embedded model's, whose merges stay among them.

Their text is gibberish, but each greedy token stands clear of the next best one by more than float32 noise.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from bench.tiny_vocabulary import TEMPLATE, VOCABULARY, vocabulary
from nitro.gguf import header, tokenizer

WIDTH, LAYERS, HEADS, KV_HEADS, FEED_FORWARD = 64, 2, 4, 2, 128
CONTEXT = 512  # tokens

# What each of these models recommends for sampling: of every kind, so that whatever is served brings such. Nothing of
# it changes a greedy answer.
RECOMMENDED = {
    **{"temperature": 0.75, "top_k": 64, "top_p": 0.9375, "min_p": 0.03125},
    **{"repeat_last_n": 32, "repetition_penalty": 1.0},
}
FLOATS = {"temp": "temperature", "top_p": "top_p", "min_p": "min_p", "penalty_repeat": "repetition_penalty"}


def write_gguf(
    path: Path,
    type: Type = Type.F32,
    pre: str = "smollm",
    seed: int = 0,
    linear_scaling: float | None = None,
    width: int = WIDTH,
    names: dict[int, str] | None = None,
    templates: str | list[dict[str, str]] = TEMPLATE,
    architecture: str = "llama",
    also: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    **extra: np.ndarray,
) -> Path:
    """A llama-architecture model whose matrices are of `type`. `linear_scaling`: of positions, for rotary embedding.
    `names`: other names for control tokens. `templates`: one, or several with their names.
    `also` writes more metadata.
    `extra`: more tensors, by name with "__" for "."."""
    writer = gguf.GGUFWriter(path, architecture)
    also(writer)
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD * width // WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // HEADS)
    writer.add_rope_freq_base(10000.0)
    if linear_scaling:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(linear_scaling)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([(names or {}).get(id, token) for id, token in enumerate(vocabulary()["tokens"])])
    writer.add_token_types(vocabulary()["token_type"])
    writer.add_token_merges(vocabulary()["merges"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(templates)
    writer.add_int32("general.sampling.top_k", RECOMMENDED["top_k"])
    writer.add_int32("general.sampling.penalty_last_n", RECOMMENDED["repeat_last_n"])
    for key, name in FLOATS.items():
        writer.add_float32(f"general.sampling.{key}", RECOMMENDED[name])
    for name, array in {**_weights(seed, width), **extra}.items():
        name = name.replace("__", ".")
        if array.ndim == 1 or type == Type.F32:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, gguf.quants.quantize(array, type), raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _weights(seed: int, width: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * scale / columns**0.5).astype(np.float32)

    kv_width, feed_forward = width // HEADS * KV_HEADS, FEED_FORWARD * width // WIDTH
    weights = {
        "token_embd.weight": matrix(VOCABULARY, width, 8.0),
        "output.weight": matrix(VOCABULARY, width, 2.5),
        "output_norm.weight": np.ones(width, np.float32),
    }
    for layer in range(LAYERS):
        weights |= {
            f"blk.{layer}.attn_norm.weight": random.uniform(0.5, 1.5, width).astype(np.float32),
            f"blk.{layer}.ffn_norm.weight": np.ones(width, np.float32),
            f"blk.{layer}.attn_q.weight": matrix(width, width, 2.0),
            f"blk.{layer}.attn_k.weight": matrix(kv_width, width, 2.0),
            f"blk.{layer}.attn_v.weight": matrix(kv_width, width),
            f"blk.{layer}.attn_output.weight": matrix(width, width),
            f"blk.{layer}.ffn_gate.weight": matrix(feed_forward, width),
            f"blk.{layer}.ffn_up.weight": matrix(feed_forward, width),
            f"blk.{layer}.ffn_down.weight": matrix(width, feed_forward),
        }
    return weights


_COMMON = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "eos_token_id": 2}
_ATTENTION = {
    **_COMMON,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "intermediate_size": FEED_FORWARD,
    "rms_norm_eps": 1e-5,
    "head_dim": WIDTH // HEADS,
    "max_position_embeddings": CONTEXT,
}
WINDOW = 32  # tokens, of the models that have one

# Configurations of mlx-lm models, by the kind of KV cache they have.
KINDS: dict[str, dict[str, Any]] = {
    "plain": {**_ATTENTION, "model_type": "llama", "num_hidden_layers": 2, "tie_word_embeddings": False},
    "rotating": {
        **_ATTENTION,
        "model_type": "gemma3_text",
        "num_hidden_layers": 2,
        "sliding_window": WINDOW,
        "sliding_window_pattern": 2,
        "query_pre_attn_scalar": WIDTH // HEADS,
    },
    "plain, but wrong in a batch": {  # mlx-lm 0.32.2 broadcasts a batch's mask over this model's heads
        **_ATTENTION,
        "model_type": "gemma2",
        "num_hidden_layers": 2,
        "query_pre_attn_scalar": WIDTH // HEADS,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "arrays": {
        **_COMMON,
        "model_type": "mamba",
        "num_hidden_layers": 2,
        "intermediate_size": FEED_FORWARD,
        "state_size": 8,
        "conv_kernel": 4,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_rank": 4,
        "tie_word_embeddings": False,
    },
    "arrays and rotating": {
        **_ATTENTION,
        "model_type": "recurrent_gemma",
        "num_hidden_layers": 2,
        "attention_bias": False,
        "conv1d_width": 4,
        "logits_soft_cap": 30.0,
        "rope_theta": 10000.0,
        "attention_window_size": WINDOW,
        "block_types": ["recurrent", "attention"],
    },
    "list of arrays and plain": {
        **_ATTENTION,
        "model_type": "falcon_h1",
        "num_hidden_layers": 2,
        "mamba_d_ssm": 64,
        "mamba_d_head": 16,
        "mamba_n_heads": 4,
        "mamba_d_state": 8,
        "lm_head_multiplier": 1.0,
        "tie_word_embeddings": False,
    },
    "chunked": {
        "model_type": "llama4",
        "eos_token_id": 2,
        "text_config": {
            **_ATTENTION,
            "model_type": "llama4_text",
            "num_hidden_layers": 4,
            "attention_bias": False,
            "attention_chunk_size": WINDOW,
            "interleave_moe_layer_step": 1,
            "intermediate_size_mlp": FEED_FORWARD,
            "num_experts_per_tok": 1,
            "num_local_experts": 2,
            "rope_scaling": None,
            "rope_theta": 10000.0,
            "use_qk_norm": False,
        },
    },
}


def write_folder(folder: Path, kind: str, seed: int = 0) -> Path:
    """An mlx-lm folder of a random model whose KV cache is of that kind."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    config = KINDS[kind]
    network, arguments = _get_classes(config)
    mx.random.seed(seed)
    model = network(arguments.from_dict(config))
    # the default initialisation is too even: every token would be about as likely
    weights = {name: array * 3 if array.ndim == 2 else array for name, array in tree_flatten(model.parameters())}
    folder.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    (folder / "config.json").write_text(json.dumps(config))
    generation = {name: value for name, value in RECOMMENDED.items() if name != "repeat_last_n"}
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, **generation}))
    about = {"chat_template": TEMPLATE, "bos_token": "<|im_start|>", "eos_token": {"content": "<|im_end|>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    metadata = {f"tokenizer.ggml.{key}": value for key, value in vocabulary().items()}
    metadata |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
    tokenizer.build(header.Header(folder, metadata, {})).save(str(folder / "tokenizer.json"))
    return folder
