"""The embedded default model in other kinds, made without what is under test: by NumPy, gguf-py and mlx-lm.

SmolLM2's GGUF has Q4_1 matrices. `write_mlx` keeps them packed, `write_hf` writes what they stand for in float32.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import stored_tensors
from gguf import quants

from nitro.engines.backends.mlx.gguf_loader import open_gguf
from nitro.gguf import architectures, header, tokenizer
from nitro.gguf.families.family import head_count, kv_head_count
from nitro.gguf.header import Header


def write_mlx(gguf: Path, folder: Path) -> Path:
    """A folder in mlx-lm's layout with the very weights of the file."""
    import mlx.core as mx
    from mlx_lm.utils import save_model

    opened = open_gguf(gguf)
    opened.network.set_dtype(mx.float16)
    folder.mkdir(parents=True)
    save_model(folder, opened.network)
    head = header.read(gguf)
    bits = {"Q4_0": 4, "Q4_1": 4, "Q8_0": 8}
    packed = {
        architectures.model_name(head, name).removesuffix(".weight"): {"group_size": 32, "bits": bits[tensor.type]}
        for name, tensor in head.tensors.items()
        if tensor.type in bits
    }
    config = architectures.configuration(head)
    if packed:
        config["quantization"] = {"group_size": 32, "bits": 4, **packed}
    write_texts(head, folder, config)
    return folder


def write_hf(gguf: Path, folder: Path) -> Path:
    """A folder as transformers writes it, in float32."""
    from safetensors.numpy import save_file

    head = header.read(gguf)
    weights = {}
    types = stored_tensors.types(gguf)
    for name, packed in stored_tensors.packed(gguf).items():
        array = quants.dequantize(packed, types[name]).astype(np.float32)
        heads = {"attn_q": head_count(head), "attn_k": kv_head_count(head)}.get(name.split(".")[-2])
        weights[architectures.model_name(head, name)] = half_split(array, heads) if heads else array
    folder.mkdir(parents=True)
    save_file({name: np.ascontiguousarray(array) for name, array in weights.items()}, folder / "model.safetensors")
    config = architectures.configuration(head)
    write_texts(head, folder, {**config, "architectures": ["LlamaForCausalLM"], "dtype": "float32"})
    return folder


def half_split(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows that pair up as 0,1 · 2,3 · … in the order in which a head's first half pairs with its second."""
    rows, columns = array.shape
    return array.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_texts(head: Header, folder: Path, config: dict[str, Any]) -> None:
    """The JSON files: configuration, tokenizer, template."""
    ends = {name: head.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    config |= {f"{name}_token_id": id for name, id in ends.items()}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.build(head).save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    about |= {f"{name}_token": tokenizer.text(head, name) for name in ends}
    about["chat_template"] = head.get("tokenizer.chat_template")
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
