"""Token ids and logits of a folder in mlx-lm's layout, computed by mlx-lm in float32."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import dequantize_model, load_model
from tokenizers import Tokenizer


def run(request: dict[str, Any]) -> dict[str, Any]:
    """As in score_gguf. Strings are encoded as in the MLX engine: by tokenizer.json, with nothing added. `added`: a
    LoRA of any kind to add to the weights, or null."""
    folder = Path(request["model"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    strings = [tokenizer.encode(text, add_special_tokens=False).ids for text in request["strings"]]
    ids = request["ids"] or [tokenizer.encode(text).ids[: request["limit"]] for text in request["texts"]]
    network = _network(folder, request["nitro"])
    network.set_dtype(mx.float32)
    if request.get("adapter") or request.get("added"):
        network = dequantize_model(network)
    if request.get("adapter"):
        load_adapters(network, request["adapter"])
    if request.get("added"):
        _add(network, folder, Path(request["added"]), request["nitro"])
    if mx.default_device() == mx.Device(mx.cpu):
        _multiply_by_numpy()
    arrays = {f"text_{i}": np.array(network(mx.array(row)[None])[0].astype(mx.float32)) for i, row in enumerate(ids)}
    arrays["strings"] = np.array([id for row in strings for id in row], np.int64)
    np.savez(request["out"], allow_pickle=False, **arrays)
    texts = {id: text for text, id in tokenizer.get_vocab().items()}
    vocabulary = [texts.get(id) for id in range(max(texts) + 1)]
    arguments = getattr(network, "args", None)  # a few models do not have them
    settings = json.loads(json.dumps(vars(arguments) if arguments else {}, default=str))
    return {"lengths": [len(row) for row in strings], "ids": ids, "vocabulary": vocabulary, "settings": settings}


def _multiply_by_numpy() -> None:
    """From now on NumPy computes the products of layers: MLX's CPU build leaves those of plain weights to the reference
    BLAS, and those of packed ones to loops, which takes twenty times as long."""

    def plain(layer: Any) -> Any:
        return layer.weight

    def unpacked(layer: Any) -> Any:
        packed = (layer.weight, layer.scales, layer.get("biases"))
        return mx.dequantize(*packed, group_size=layer.group_size, bits=layer.bits, mode=layer.mode)

    def product(x: mx.array, weight: mx.array) -> mx.array:
        rows, columns = (np.asarray(each.astype(mx.float32)) for each in (x, weight))
        return mx.array(rows @ columns.T).astype(x.dtype)

    def with_bias(layer: Any, y: mx.array) -> mx.array:
        return y + layer.bias if "bias" in layer else y

    for kind, weight in ((nn.Linear, plain), (nn.QuantizedLinear, unpacked)):
        kind.__call__ = lambda self, x, weight=weight: with_bias(self, product(x, weight(self)))
    for kind, weight in ((nn.Embedding, plain), (nn.QuantizedEmbedding, unpacked)):
        kind.as_linear = lambda self, x, weight=weight: product(x, weight(self))


def _add(network: Any, base: Path, adapter: Path, nitro: str) -> None:
    """Add a LoRA's products to the weights. `base`: the folder of the network; `nitro`: see `_network`."""
    _find_nitro(nitro)
    model = importlib.import_module("nitro.checkpoints.adapter_base").of(base)
    found = importlib.import_module("nitro.checkpoints.adapter_reader").read(adapter, model.header)
    modules = dict(network.named_modules())
    for name, change in model.fitted(found).on(modules).layers.items():
        modules[name].weight = modules[name].weight + mx.array(change.product())


def _find_nitro(package: str) -> None:
    spec = importlib.util.spec_from_file_location("native", Path(__file__).with_name("native.py"))
    assert spec and spec.loader
    native = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    native.find_nitro(Path(package))


def _network(folder: Path, nitro: str) -> Any:
    """By mlx-lm; of a folder in ggml's blocks, which it cannot read, by the MLX engine, on the CPU: on a GPU products
    with blocks are bfloat16, whatever is multiplied. `nitro`: its package."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if (config.get("quantization") or {}).get("mode") != "kquant":
        return load_model(folder)[0]
    mx.set_default_device(mx.cpu)
    _find_nitro(nitro)
    return importlib.import_module("nitro.engines.backends.mlx.folder_weights").load(folder, config)[0]
