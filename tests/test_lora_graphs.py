"""llama.cpp computes with a LoRA on every layer what it computes with the products added to the weights: of all
architectures that are known here. A layer that it multiplies otherwise would leave the LoRA out without a word."""

import os
from pathlib import Path

import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from tiny_models import VOCABULARY

from bench.converted_families import FAMILIES, SAME, write_converted
from nitro.checkpoints import adapter_base, gguf_adapter
from nitro.checkpoints.adapter_base import Base
from nitro.checkpoints.adapters import Adapter, LowRank, is_embedding
from nitro.convert import adapter_proof
from nitro.convert.workers import score_gguf
from nitro.errors import AdapterError
from nitro.gguf import architectures, layer_tensors, lora_faults
from nitro.gguf.header import UnreadableGGUF

IDS = [int(id) for id in np.random.default_rng(0).integers(3, VOCABULARY, 40)]
# ggml's table of GELU is float16: what was seen of Gemma is 0.002, of logits that move by 8
LIMIT = 0.01


def on_all_layers(base: Base) -> Adapter:
    """A random LoRA on all layers that can have one."""
    random = np.random.default_rng(1)
    has_output = "lm_head.weight" in base.shapes
    layers = {}
    for weight, shape in base.shapes.items():
        name = weight.removesuffix(".weight")
        if len(shape) < 2 or name == weight or (is_embedding(name) and not has_output):
            continue
        try:
            layer_tensors.tensor_of(base.need_header(), name)
        except UnreadableGGUF:
            continue
        *experts, rows, columns = shape
        a = random.standard_normal((*experts, 4, columns)) / columns**0.5
        b = random.standard_normal((*experts, rows, 4)) * 0.3
        layers[name] = LowRank(a.astype(np.float32), b.astype(np.float32), 1.5)
    return Adapter(base.path, "peft", layers)


def logits(model: Path, lora: Path | None = None) -> np.ndarray:
    parameters = lib.llama_model_default_params()
    parameters.n_gpu_layers = 0
    loaded = lib.llama_model_load_from_file(os.fsencode(model), parameters)
    adapter = lib.llama_adapter_lora_init(loaded, os.fsencode(lora)) if lora else None
    assert loaded and (adapter or not lora)
    [found] = score_gguf.score(loaded, lib.llama_model_get_vocab(loaded), [IDS], False, adapter)
    lib.llama_model_free(loaded)
    return found


def pair(folder: Path, name: str) -> tuple[Base, Path]:
    """A model of this kind, and a copy to add products to."""
    model, merged = (write_converted(folder / f"{copy}.gguf", name) for copy in ("model", "merged"))
    return adapter_base.of(model), merged


def without(adapter: Adapter, base: Base) -> Adapter:
    """Only the layers that llama.cpp computes with a LoRA."""
    header = base.need_header()
    kept = {
        n: c for n, c in adapter.layers.items() if not lora_faults.problem(header, layer_tensors.tensor_of(header, n))
    }
    return Adapter(adapter.path, adapter.kind, kept)


@pytest.mark.parametrize("name", SAME)
def test_a_lora_is_what_it_adds(tmp_path: Path, name: str) -> None:
    base, merged = pair(tmp_path, name)
    adapter = without(on_all_layers(base), base)
    if not adapter.layers:
        assert FAMILIES[name]["architecture"] == "falcon-h1", "whose weights hold other numbers"
        return
    gguf_adapter.write(base.fitted(adapter), base.need_header(), tmp_path / "lora.gguf")
    adapter_proof.add(adapter, merged)
    plain, expected, found = logits(base.path), logits(merged), logits(base.path, tmp_path / "lora.gguf")
    assert np.abs(expected - plain).max() > 1
    assert np.abs(found - expected).max() < LIMIT


ROWS = [
    (kind, tensor)
    for kind, architecture in (("deepseek-v3", "deepseek2"), ("gemma4", "gemma4"), ("gemma4-moe", "gemma4"))
    for tensor in lora_faults.NOT_COMPUTED[architecture]
    if tensor in FAMILIES[kind]["tensors"]
]


@pytest.mark.parametrize(("name", "tensor"), ROWS)
def test_what_is_refused_would_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, tensor: str
) -> None:
    """As long as llama.cpp is as the table says. (One it does not even load.)"""
    base, merged = pair(tmp_path, name)
    header, lora = base.need_header(), tmp_path / "lora.gguf"
    layers = on_all_layers(base).layers.items()
    of_row = {n: c for n, c in layers if architectures.general(layer_tensors.tensor_of(header, n)) == tensor}
    adapter = Adapter(base.path, "peft", of_row)
    with pytest.raises(AdapterError, match="without the LoRA or wrong"):
        gguf_adapter.write(adapter, header, lora)
    monkeypatch.setattr(lora_faults, "NOT_COMPUTED", {})
    gguf_adapter.write(adapter, header, lora)
    adapter_proof.add(adapter, merged)
    if tensor == "per_layer_token_embd.weight":
        with pytest.raises(AssertionError):
            logits(base.path, lora)
        return
    assert np.abs(logits(base.path, lora) - logits(merged)).max() > 1


def test_every_row_is_tried() -> None:
    tried = {tensor for _, tensor in ROWS}
    left = {tensor for tensors in lora_faults.NOT_COMPUTED.values() for tensor in tensors} - tried
    assert left == {"blk.N.attn_q.weight"}, "DeepSeek V2 Lite's, of which no kind is recorded"
