#!/usr/bin/env bash
# llama.cpp (llama-cpp-python 0.3.36) loads a LoRA on the attention of the architecture deepseek2 (DeepSeek V2 and V3, Kimi
# K2, GLM-4.7-Flash) and on its output matrix, and computes as if it were not there: its graph multiplies these weights by
# ggml_mul_mat where others have build_lora_mm (src/models/deepseek2.cpp). Neither llama_adapter_lora_init nor
# llama_set_adapters_lora says anything, so a fine-tune of the attention is served as the base model.
# Seen, with random weights: with a LoRA on one of attn_q_a, attn_q_b, attn_kv_a_mqa, attn_k_b, attn_v_b or output the
# logits are those of the model alone, bit for bit; with one on attn_output or ffn_down they are not.
# Building llama.cpp takes some minutes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llama-cpp-python==0.3.36 gguf==0.19.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import ctypes

import gguf
import llama_cpp as lib
import numpy as np

WIDTH, HEADS, NOPE, ROPE, VALUE, LATENT, WORDS, WIDE = 64, 4, 16, 8, 16, 32, 64, 128
IGNORED = [*(f"blk.0.attn_{part}" for part in ("q_a", "q_b", "kv_a_mqa", "k_b", "v_b")), "output"]
USED = ["blk.0.attn_output", "blk.0.ffn_down"]


def write(path):
    """A model of one dense layer with latent attention. Returns the shapes of its weights."""
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "deepseek2")
    numbers = {
        "block_count": 1, "context_length": 512, "embedding_length": WIDTH, "feed_forward_length": WIDE,
        "attention.head_count": HEADS, "attention.head_count_kv": 1, "attention.q_lora_rank": LATENT,
        "attention.kv_lora_rank": LATENT, "attention.key_length": LATENT + ROPE, "attention.value_length": LATENT,
        "attention.key_length_mla": NOPE + ROPE, "attention.value_length_mla": VALUE, "rope.dimension_count": ROPE,
        "leading_dense_block_count": 1, "expert_feed_forward_length": 32, "expert_shared_count": 1, "vocab_size": WORDS,
    }  # fmt: skip
    for key, value in numbers.items():
        writer.add_uint32(f"deepseek2.{key}", value)
    writer.add_float32("deepseek2.attention.layer_norm_rms_epsilon", 1e-6)
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
    return shapes


def write_lora(path, name, shape):
    random = np.random.default_rng(1)
    *heads, rows, columns = shape
    writer = gguf.GGUFWriter(path, "deepseek2")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    writer.add_tensor(f"{name}.weight.lora_a", random.standard_normal((*heads, 4, columns)).astype(np.float32))
    writer.add_tensor(f"{name}.weight.lora_b", random.standard_normal((*heads, rows, 4)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(lora=None):
    """After the last of 20 tokens."""
    model = lib.llama_model_load_from_file(b"model.gguf", lib.llama_model_default_params())
    parameters = lib.llama_context_default_params()
    parameters.n_ctx = 256
    context = lib.llama_init_from_model(model, parameters)
    if lora:
        adapter = lib.llama_adapter_lora_init(model, lora.encode())
        assert adapter, f"{lora} cannot be loaded"
        adapters, scales = (lib.llama_adapter_lora_p_ctypes * 1)(adapter), (ctypes.c_float * 1)(1.0)
        assert lib.llama_set_adapters_lora(context, adapters, 1, scales) == 0
    tokens = (lib.llama_token * 20)(*[7 * i % WORDS for i in range(20)])
    assert lib.llama_decode(context, lib.llama_batch_get_one(tokens, 20)) == 0
    return np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (WORDS,)).copy()


shapes = write("model.gguf")
alone = logits()
differs = {}
for name in (*IGNORED, *USED):
    write_lora(f"{name}.gguf", name, shapes[name])
    differs[name] = bool((logits(f"{name}.gguf") != alone).any())
    print(f"a LoRA on {name} {'changes the logits' if differs[name] else 'changes nothing'}")
assert not any(differs[name] for name in IGNORED) and all(differs[name] for name in USED), "the behaviour has changed"
PYTHON
