"""Tiny GGUFs with the metadata and the tensors that llama.cpp's converter gave a tiny checkpoint of transformers
(tests/data/architectures.json, written by tests/convert/record_architectures.py). The weights are random, so that
nothing large is kept, and no torch is needed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from bench import limits, tiny_vocabulary

WRITERS: dict[type, Callable[..., None]] = {
    bool: gguf.GGUFWriter.add_bool,
    int: gguf.GGUFWriter.add_uint32,
    float: gguf.GGUFWriter.add_float32,
    np.float64: gguf.GGUFWriter.add_float32,
    str: gguf.GGUFWriter.add_string,
}
RECORDED = Path(__file__).parents[1] / "tests" / "data" / "architectures.json"
FAMILIES: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
SAME = [name for name, family in FAMILIES.items() if isinstance(family["mlx"], float)]  # that MLX opens
# of the random values, where 0 makes two experts of a token equal but for rounding
SEEDS = {"minimax-m2": 1}
# scale of the random values, where it is not that of a matrix; the first pattern that fits counts
SCALES = {
    r"norm": None,
    r"token_embd\.weight": 2.0,
    r"output\.weight": 2.5,
    r"\.bias|sinks|ssm_d$": 0.4,
    r"layer_output_scale|\.scale$": None,
}


def most(architecture: str) -> dict[str, float]:
    """The largest mean divergence in nats of the same model, of each of those that are recorded
    (tests/convert/record_architectures.py). `architecture`: general.architecture."""
    of_engines = limits.of_family(architecture).nats
    return {"llama.cpp": of_engines, "mlx": of_engines, "mlx, hf": limits.FAMILY.nats}


def recipe(file: Path) -> dict[str, Any]:
    """What is recorded of a GGUF: architecture, metadata, and tensors by general name with shape and layers. Shapes
    that differ from the first layer's are there by the layer's number."""
    reader = gguf.GGUFReader(file)
    architecture = reader.fields["general.architecture"].contents()
    prefix = f"{architecture}."
    tensors: dict[str, Any] = {}
    for tensor in reader.tensors:
        general, *_ = re.subn(r"^blk\.\d+\.", "blk.N.", tensor.name)
        shape = [int(size) for size in tensor.shape[::-1]]
        found = tensors.setdefault(general, {"shape": shape, "layers": []})
        numbers: list[str] = re.findall(r"^blk\.(\d+)\.", tensor.name)
        found["layers"] += map(int, numbers)
        if shape != found["shape"]:
            found.setdefault("other_shapes", {}).update(dict.fromkeys(numbers, shape))
    metadata = {
        key.removeprefix(prefix): field.contents() for key, field in reader.fields.items() if key.startswith(prefix)
    }
    return {"architecture": architecture, "metadata": metadata, "tensors": tensors}


def values(general: str, shape: list[int], random: np.random.Generator) -> np.ndarray:
    """Random float32 values, of a size that makes every tensor count."""
    if general == "rope_freqs.weight":  # Gemma 4's: a quarter is rotated
        return np.where(np.arange(shape[0]) < shape[0] // 4, 1, 1e30).astype(np.float32)
    if general.endswith("ssm_a"):
        return -random.uniform(0.5, 4, shape).astype(np.float32)
    scale = next((scale for pattern, scale in SCALES.items() if re.search(pattern, general)), 1.5)
    if scale is None:
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    of_matrix = len(shape) > 1 and not general.endswith(".bias")
    return (random.standard_normal(shape) * scale / (shape[-1] ** 0.5 if of_matrix else 1)).astype(np.float32)


def write_converted(
    path: Path, name: str, type: Type = Type.F32, found: dict[str, Any] | None = None, **keys: Any
) -> Path:
    """`type`: of the matrices whose rows it fits. `keys`: changed metadata, with "__" for ".", None for none. `found`:
    in place of the recorded family."""
    family = FAMILIES[name] if found is None else found
    random = np.random.default_rng(SEEDS.get(name, 0))
    writer = gguf.GGUFWriter(path, family["architecture"])
    changed = {key.replace("__", "."): value for key, value in keys.items()}
    for key, value in {**family["metadata"], **changed}.items():
        if isinstance(value, list):
            writer.add_array(f"{family['architecture']}.{key}", value)
        elif value is not None:
            WRITERS[value.__class__](writer, f"{family['architecture']}.{key}", value)
    tiny_vocabulary.add_to(writer)
    writer.add_chat_template(tiny_vocabulary.TEMPLATE)
    block = gguf.GGML_QUANT_SIZES[type][0]
    for general, tensor in family["tensors"].items():
        for number in tensor["layers"] or [0]:
            shape = tensor.get("other_shapes", {}).get(str(number), tensor["shape"])
            array = values(general, shape, random)
            if family["architecture"] == "gemma4" and general == "blk.N.attn_q_norm.weight":
                array *= shape[0] ** -0.5  # as it is in real ones, whose scores nothing else divides
            is_matrix = array.ndim > 1 and general.endswith(".weight") and array.shape[-1] % block == 0
            raw = gguf.quants.quantize(array, type) if is_matrix and type != Type.F32 else array
            tensor_type = type if is_matrix else Type.F32
            writer.add_tensor(general.replace("N", str(number)), raw, raw_dtype=tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
