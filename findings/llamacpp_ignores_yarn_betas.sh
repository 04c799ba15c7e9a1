#!/usr/bin/env bash
# llama.cpp (llama-cpp-python 0.3.36): the architecture deepseek2 does not read {arch}.rope.scaling.yarn_beta_fast and
# yarn_beta_slow, though its own converter writes them. It always takes 32 and 1. DeepSeek V3 has these, but Kimi K2 has
# 1 and 1 in its config.json: then other dimensions are stretched than the model was trained with.
# Seen, with random weights: the logits of two files, which differ in yarn_beta_fast alone (32 and 1), are equal bit for
# bit, and with another yarn factor they are not.
# Building llama.cpp takes some minutes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llama-cpp-python==0.3.36 gguf==0.19.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import gguf
import llama_cpp as lib
import numpy as np

WIDTH, HEADS, NOPE, ROPE, VALUE, LATENT, WORDS, WIDE = 64, 4, 16, 8, 16, 32, 64, 128


def write(path, **yarn):
    """A model of one dense layer with latent attention."""
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "deepseek2")
    numbers = {
        "block_count": 1, "context_length": 512, "embedding_length": WIDTH, "feed_forward_length": WIDE,
        "attention.head_count": HEADS, "attention.head_count_kv": 1, "attention.q_lora_rank": LATENT,
        "attention.kv_lora_rank": LATENT, "attention.key_length": LATENT + ROPE, "attention.value_length": LATENT,
        "attention.key_length_mla": NOPE + ROPE, "attention.value_length_mla": VALUE, "rope.dimension_count": ROPE,
        "leading_dense_block_count": 1, "expert_feed_forward_length": 32, "expert_shared_count": 1, "vocab_size": WORDS,
        "rope.scaling.original_context_length": 64,
    }  # fmt: skip
    for key, value in numbers.items():
        writer.add_uint32(f"deepseek2.{key}", value)
    writer.add_string("deepseek2.rope.scaling.type", "yarn")
    writer.add_float32("deepseek2.attention.layer_norm_rms_epsilon", 1e-6)
    for key, value in {"factor": 8.0, "yarn_log_multiplier": 0.1, "yarn_beta_fast": 32.0, **yarn}.items():
        writer.add_float32(f"deepseek2.rope.scaling.{key}", value)
    writer.add_tokenizer_model("none")
    shapes = {
        "token_embd": (WORDS, WIDTH), "output": (WORDS, WIDTH), "output_norm": (WIDTH,), "blk.0.attn_norm": (WIDTH,),
        "blk.0.ffn_norm": (WIDTH,), "blk.0.attn_q_a": (LATENT, WIDTH), "blk.0.attn_q_a_norm": (LATENT,),
        "blk.0.attn_q_b": (HEADS * (NOPE + ROPE), LATENT), "blk.0.attn_kv_a_mqa": (LATENT + ROPE, WIDTH),
        "blk.0.attn_kv_a_norm": (LATENT,), "blk.0.attn_k_b": (HEADS, LATENT, NOPE),
        "blk.0.attn_v_b": (HEADS, VALUE, LATENT), "blk.0.attn_output": (WIDTH, HEADS * VALUE),
        "blk.0.ffn_gate": (WIDE, WIDTH), "blk.0.ffn_up": (WIDE, WIDTH), "blk.0.ffn_down": (WIDTH, WIDE),
    }  # fmt: skip
    for name, shape in shapes.items():
        size = 1.0 if len(shape) == 1 else 1.5 / shape[-1] ** 0.5
        writer.add_tensor(f"{name}.weight", (random.standard_normal(shape) * size).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def logits(path):
    """After the last of 100 tokens."""
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    parameters = lib.llama_context_default_params()
    parameters.n_ctx = 256
    context = lib.llama_init_from_model(model, parameters)
    tokens = (lib.llama_token * 100)(*[7 * i % WORDS for i in range(100)])
    assert lib.llama_decode(context, lib.llama_batch_get_one(tokens, 100)) == 0
    return np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (WORDS,)).copy()


usual = logits(write("usual.gguf"))
difference = {
    name: float(np.abs(logits(write(f"{name}.gguf", **{name: value})) - usual).max())
    for name, value in {"yarn_beta_fast": 1.0, "yarn_beta_slow": 4.0, "factor": 4.0}.items()
}
for name, value in difference.items():
    print(f"with another {name} the logits differ by {value:.3f}")
assert [value > 0 for value in difference.values()] == [False, False, True], "the behaviour has changed"
PYTHON
