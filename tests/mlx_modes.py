"""Tiny folders in every mode of mlx-lm, written by mlx-lm itself, and such as other libraries write."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from tiny_models import write_folder

Arrays = dict[str, mx.array]


def write_original(folder: Path) -> Path:
    """An HF folder with float32 weights, which transformers' tokenizer loader takes too."""
    write_folder(folder, "plain")
    edit(folder / "config.json", architectures=["LlamaForCausalLM"], rope_theta=10000.0)
    edit(folder / "tokenizer_config.json", eos_token="<|im_end|>", tokenizer_class="PreTrainedTokenizerFast")
    write(folder, read(folder))
    return folder


def edit(file: Path, **changes: Any) -> None:
    """Change entries of an object; None removes one."""
    content = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def read(folder: Path) -> Arrays:
    """The folder's arrays by name."""
    arrays = mx.load(str(folder / "model.safetensors"))
    assert isinstance(arrays, dict)
    return arrays


def write(folder: Path, arrays: Arrays) -> None:
    """As another library than mlx-lm writes it."""
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, {"format": "pt"})


def _several(path: str, module: nn.Module) -> bool | dict[str, Any]:
    """Every mode in one folder, as a function that is given to mlx_lm.convert may say it."""
    layer = path.rpartition(".")[2]
    own: dict[str, Any] = {
        "v_proj": False,
        "down_proj": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
        "gate_proj": {"group_size": 16, "bits": 4, "mode": "nvfp4"},
        "embed_tokens": {"group_size": 32, "bits": 6},
    }
    found: bool | dict[str, Any] = own.get(layer, True)
    return found


# by name: arguments of mlx_lm.convert
CONVERSIONS: dict[str, dict[str, Any]] = {
    "affine": {},
    "3 bits": {"q_bits": 3, "q_group_size": 32},
    "mxfp4": {"q_mode": "mxfp4"},
    "nvfp4": {"q_mode": "nvfp4"},
    "mxfp8": {"q_mode": "mxfp8"},
    "recipe": {"q_group_size": 32, "quant_predicate": "mixed_3_6"},
    "several": {"q_mode": "mxfp4", "quant_predicate": _several},
}
LEARNT = ("awq", "dwq", "gptq", "dynamic")


def write_mode(original: Path, target: Path, name: str) -> Path:
    """A folder of that mode, a key of CONVERSIONS or one of LEARNT."""
    if name in LEARNT:
        _learn(original, target, name)
    else:
        from mlx_lm.convert import convert

        convert(str(original), str(target), quantize=True, **CONVERSIONS[name])
    return target


def _learn(original: Path, target: Path, name: str) -> None:
    """By the functions of mlx_lm.quant, on a few random tokens in place of the text that its commands download."""
    from mlx_lm.utils import load, quantize_model, save

    loaded: Any = load(str(original), return_config=True)
    network, tokenizer, config = loaded
    mx.random.seed(0)
    data = mx.random.randint(0, config["vocab_size"], (8, 32))
    network, config = {"awq": _awq, "dwq": _dwq, "gptq": _gptq, "dynamic": _dynamic}[name](
        network, config, data, partial(quantize_model, group_size=32, bits=4)
    )
    save(target, str(original), network, tokenizer, config)


def _awq(network: Any, config: dict[str, Any], data: mx.array, quantize: Callable[..., Any]) -> tuple[Any, Any]:
    from mlx_lm.quant import awq

    awq.awq_quantize(network, data, awq.AWQ_MODEL_CONFIGS["llama"], bits=4, group_size=32, n_grid=2)
    return network, awq.update_config(network, config)


def _dwq(network: Any, config: dict[str, Any], data: mx.array, quantize: Callable[..., Any]) -> tuple[Any, Any]:
    """What DWQ learns is scales and biases of a quantised model; here they are changed a little."""
    network, config = quantize(network, config)
    for _, module in network.named_modules():
        if "scales" in module:
            module.scales = module.scales * 1.01
            module.biases = module.biases * 0.99
    return network, config


def _gptq(network: Any, config: dict[str, Any], data: mx.array, quantize: Callable[..., Any]) -> tuple[Any, Any]:
    from mlx_lm.quant.gptq import gptq_quantize

    network, config["quantization"] = gptq_quantize(network, data, 4, 32, 6, 64)
    return network, config


def _dynamic(network: Any, config: dict[str, Any], data: mx.array, quantize: Callable[..., Any]) -> tuple[Any, Any]:
    from mlx_lm.quant.dynamic_quant import estimate_sensitivities, estimate_threshold

    found = dict(estimate_sensitivities(network, data, 4, 32, 5, 32))
    threshold = estimate_threshold(network, found, 5.5, 4, 32, 5, 32)

    def predicate(path: str, module: Any) -> bool | dict[str, int]:
        if not hasattr(module, "to_quantized"):
            return False
        return {"bits": 5, "group_size": 32} if found[path] > threshold else True

    return quantize(network, config, quant_predicate=predicate)


# Other libraries. AutoAWQ and GPTQ pack eight codes into a word of int32.

GROUP = 32
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # awq/utils/packing_utils.py
IN_ORDER = tuple(range(8))


def write_other(original: Path, target: Path, layers: Callable[[str, np.ndarray], Arrays], **config: Any) -> Path:
    """A folder whose layers are what `layers` makes of each: its name and its weight → arrays."""
    shutil.copytree(original, target)
    edit(target / "config.json", **config)
    arrays: Arrays = {}
    for name, array in read(original).items():
        is_layer = ".layers." in name and array.ndim == 2
        arrays |= layers(name.removesuffix(".weight"), np.array(array)) if is_layer else {name: array}
    write(target, arrays)
    return target


def awq(name: str, weight: np.ndarray) -> Arrays:
    """AutoAWQ's layout for gemm: [inputs, outputs / 8]."""
    codes, scales, zeros = _codes(weight)
    return {
        f"{name}.qweight": _words(codes.T, AWQ_ORDER),
        f"{name}.qzeros": _words(zeros.T, AWQ_ORDER),
        f"{name}.scales": mx.array(scales.T),
    }


def gptq(name: str, weight: np.ndarray) -> Arrays:
    """GPTQ's layout: [inputs / 8, outputs], zeros less one."""
    codes, scales, zeros = _codes(weight)
    return {
        f"{name}.qweight": mx.array(np.array(_words(codes, IN_ORDER)).T),
        f"{name}.qzeros": _words(zeros.T - 1 & 15, IN_ORDER),
        f"{name}.scales": mx.array(scales.T),
    }


def compressed(name: str, weight: np.ndarray) -> Arrays:
    """compressed-tensors' pack-quantized."""
    codes, scales, _ = _codes(weight)
    shape = mx.array(np.array(weight.shape))
    parts = {"weight_packed": _words(codes, IN_ORDER), "weight_scale": mx.array(scales), "weight_shape": shape}
    return {f"{name}.{part}": array for part, array in parts.items()}


def floats8(name: str, weight: np.ndarray) -> Arrays:
    """E4M3, without scales, so that every name and shape fits."""
    return {f"{name}.weight": mx.to_fp8(mx.array(weight))}


def integers8(name: str, weight: np.ndarray) -> Arrays:
    """Integers and a scale for each row, as bitsandbytes writes them."""
    scales = np.abs(weight).max(axis=1)
    codes = np.round(weight * 127 / scales[:, None]).astype(np.int8)
    return {f"{name}.weight": mx.array(codes), f"{name}.SCB": mx.array(scales)}


def awq_numbers(weight: np.ndarray) -> np.ndarray:
    """What the codes of `awq` mean."""
    codes, scales, zeros = _codes(weight)
    groups = codes.reshape(*scales.shape, -1).astype(np.float32) - zeros[..., None]
    numbers: np.ndarray = (groups * scales.astype(np.float32)[..., None]).reshape(weight.shape)
    return numbers


def _codes(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    groups = weight.reshape(len(weight), -1, GROUP)
    least, largest = groups.min(-1), groups.max(-1)
    scales = (largest - least) / 15
    zeros = np.clip(np.round(-least / scales), 0, 15)
    codes = np.clip(np.round(groups / scales[..., None]) + zeros[..., None], 0, 15)
    return codes.reshape(weight.shape).astype(np.uint32), scales.astype(np.float16), zeros.astype(np.uint32)


def _words(codes: np.ndarray, order: tuple[int, ...]) -> mx.array:
    eights = codes.reshape(*codes.shape[:-1], -1, 8)[..., order]
    words = (eights << np.arange(0, 32, 4, dtype=np.uint32)).sum(-1).astype(np.uint32)
    return mx.array(words.view(np.int32))
