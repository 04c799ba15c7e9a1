"""GGUF files whose weights stay in ggml's blocks for MLX: the same numbers as gguf-py's, and as llama.cpp's."""

from pathlib import Path
from types import SimpleNamespace

import gguf
import mlx.core as mx
import numpy as np
import pytest
from doctored import doctor
from gguf import GGMLQuantizationType as Type
from kept_files import quantized
from mlx import nn
from mlx_lm.models.mla import MultiLinear
from mlx_lm.models.switch_layers import SwitchLinear
from test_same_file import divergence, random_tokens
from tiny_families import EXPERT_LAYER, FAMILIES, PLAIN_LAYER, tensors, write_family
from tiny_models import write_gguf

from bench import limits
from bench.quantized_models import FILE_TYPES, quantize
from nitro.engines.backends.mlx import block_layers, gguf_loader
from nitro.engines.backends.mlx.gguf_loader import open_gguf
from nitro.engines.runner import CannotOpen
from nitro.gguf import folder, weights
from nitro.gguf.header import Tensor

pytestmark = pytest.mark.skipif(not block_layers.is_installed(), reason="mlx-kquant is not installed")

WIDE = 256  # the types of large blocks need rows of 256
SLOW = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")  # for llama.cpp's quantiser
WRONG = 0.05  # nats, mean: more than any limit of these, of a file with one fault


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in float32, with rows of 256."""
    return write_gguf(tmp_path_factory.mktemp("wide") / "wide.gguf", width=WIDE)


def in_float32(file: Path) -> Path:
    """The same numbers in float32, unpacked by llama.cpp: then it computes in float32."""
    return quantize(file, file.with_name(f"f32-{file.name}"), "F32")


def random_rows(type: str, rows: int = 64, columns: int = 512) -> np.ndarray:
    """Random bytes are valid blocks, some with scales that are no numbers."""
    block, size = gguf.GGML_QUANT_SIZES[Type[type]]
    return np.random.default_rng(0).integers(0, 256, (rows, columns // block * size), dtype=np.uint8)


@pytest.mark.parametrize("type", block_layers.CODECS)
def test_every_bit_is_gguf_pys(type: str) -> None:
    from nitro.engines.backends.mlx import block_products

    rows = random_rows(type)
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(rows, Type[type])
    ours = np.array(block_products.unpack(mx.array(rows), block_layers.CODECS[type]))
    finite = np.isfinite(theirs)
    assert finite.mean() > 0.85
    assert (ours.view(np.uint32) == theirs.view(np.uint32))[finite].all()


@pytest.mark.parametrize("kind", [kind for kind in FILE_TYPES if kind != "F32" and kind not in SLOW])
def test_every_type_that_llama_cpp_writes(wide: Path, tmp_path: Path, kind: str) -> None:
    file = quantize(wide, tmp_path / "some.gguf", kind)
    types = {tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    assert types == {kind, "F32"}
    assert divergence(file, random_tokens(100), in_float32(file)).mean() < limits.BLOCKS.nats


def test_types_that_take_long_to_write(wide: Path, tmp_path: Path) -> None:
    """All of them in one file, each for one matrix of the first layer."""
    others = {rf"blk\.0\.{name}": kind for name, kind in zip(PLAIN_LAYER, SLOW, strict=False)}
    file = quantized(wide, tmp_path / "some.gguf", "Q8_0", others)
    assert {tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors} == {*SLOW, "Q8_0", "F32"}
    assert divergence(file, random_tokens(100), in_float32(file)).mean() < limits.BLOCKS.nats


@pytest.mark.parametrize("fault", ["swapped tensor", limits.BLOCKS.fault])
def test_what_a_fault_would_look_like(wide: Path, tmp_path: Path, fault: str) -> None:
    file = quantize(wide, tmp_path / "some.gguf", "Q4_K")
    wrong = doctor(file, tmp_path / "wrong.gguf", fault)
    assert divergence(wrong, random_tokens(100), in_float32(file)).mean() > WRONG > limits.LIBRARY.nats


def test_a_mixture_of_types(wide: Path, tmp_path: Path) -> None:
    """As most files have it: each tensor has its own type."""
    file = quantize(wide, tmp_path / "mixed.gguf", "Q4_K", pure=False)
    assert {tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors} == {"Q4_K", "Q6_K", "F32"}
    assert divergence(file, random_tokens(100), in_float32(file)).mean() < limits.BLOCKS.nats


def test_a_tied_embedding(tmp_path: Path) -> None:
    source = write_family(tmp_path / "source.gguf", "llama, tied, biased")
    file = quantize(source, tmp_path / "tied.gguf", "IQ4_NL", pure=False)
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    assert types["token_embd.weight"] != types["blk.0.ffn_up.weight"] == "IQ4_NL" and "output.weight" not in types
    assert divergence(file, random_tokens(100), in_float32(file)).mean() < limits.BLOCKS.nats


@pytest.mark.parametrize(("kind", "pure"), [("MXFP4", False), ("IQ4_NL", True)])
def test_experts(tmp_path: Path, kind: str, pure: bool) -> None:
    source = write_family(tmp_path / "source.gguf", "qwen3moe")
    file = quantize(source, tmp_path / "experts.gguf", kind, pure)
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    assert {types[f"blk.0.{name}"] for name in EXPERT_LAYER if "exps" in name} == {kind}
    assert divergence(file, random_tokens(100), in_float32(file)).mean() < limits.BLOCKS.nats


def test_a_split_file(tmp_path: Path) -> None:
    """As one file, the same distributions to the last bit."""
    names = list(tensors(FAMILIES["qwen3moe"]))
    whole = write_family(tmp_path / "whole.gguf", "qwen3moe", Type.MXFP4)
    parts = [tmp_path / f"part-0000{number}-of-00002.gguf" for number in (1, 2)]
    for number, (part, kept) in enumerate(zip(parts, (names[:9], names[9:]), strict=True), start=1):
        write_family(part, "qwen3moe", Type.MXFP4, kept=kept, split=(number, 2, len(names)))
    assert (divergence(whole, random_tokens(20), whole) == divergence(parts[0], random_tokens(20), whole)).all()


@pytest.mark.parametrize("kind", ["Q4_K", "IQ4_XS", "Q8_0"])
def test_mlx_kquants_own_layers(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Those that a GPU computes with, here on the CPU."""
    monkeypatch.setattr(block_layers, "_exact_layer", block_layers._layer)
    monkeypatch.setattr(gguf_loader, "PREFERS_MLX", False)
    file = quantize(wide, tmp_path / "some.gguf", kind)
    network = open_gguf(file).network
    assert type(network.lm_head).__name__ == "KQuantLinear"
    assert type(network.model.embed_tokens).__name__ == "KQuantEmbedding"
    assert divergence(file, random_tokens(100), in_float32(file)).mean() < limits.LIBRARY.nats


def test_mlx_kquants_own_experts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_layers, "_exact_layer", block_layers._layer)
    file = write_family(tmp_path / "experts.gguf", "qwen3moe", Type.MXFP4)
    distances = divergence(file, random_tokens(100), in_float32(file))
    assert np.median(distances) < limits.LIBRARY.nats, "a few tokens get other experts"


def test_the_switch(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Types that both hold are MLX's, unless told otherwise; the numbers are the same."""
    file = quantize(wide, tmp_path / "some.gguf", "Q5_1")
    assert type(open_gguf(file).network.lm_head).__name__ == "QuantizedLinear"
    monkeypatch.setattr(gguf_loader, "PREFERS_MLX", False)
    assert type(open_gguf(file).network.lm_head).__name__ == "BlockLinear"
    assert divergence(file, random_tokens(100), in_float32(file)).mean() < limits.BLOCKS.nats


def test_mlx_load_is_not_used(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads Q4_K wrongly: every second group of 32 weights."""
    file = quantize(wide, tmp_path / "some.gguf", "Q4_K")
    stored = next(tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == "blk.0.ffn_up.weight")
    right = gguf.quants.dequantize(stored.data, Type.Q4_K)
    theirs = np.array(mx.load(str(file))["blk.0.ffn_up.weight"].astype(mx.float32))
    assert theirs.shape == right.shape and np.abs(theirs - right).max() > 0.1
    monkeypatch.setattr(mx, "load", lambda *_, **__: pytest.fail("mx.load reads a GGUF"))
    layer = open_gguf(file).network.model.layers[0].mlp.up_proj
    ours = np.array(layer(mx.eye(WIDE))).T
    assert (ours == right).all()


def test_a_tensor_where_blocks_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by tensor and type before a weight is read."""
    up = gguf.quants.quantize(tensors(FAMILIES["llama"])["blk.0.ffn_up.weight"], Type.MXFP4)
    file = write_family(tmp_path / "odd.gguf", "llama", replaced={"blk.0.ffn_up.weight": (up, Type.MXFP4)})
    monkeypatch.setattr(block_layers, "can_replace", lambda module: False)
    monkeypatch.setattr(weights, "stored", lambda *_: pytest.fail("a weight is read"))
    with pytest.raises(
        CannotOpen, match=r"odd\.gguf: tensor blk\.0\.ffn_up\.weight is MXFP4, which MLX's model cannot"
    ):
        open_gguf(file)


def test_an_unknown_architecture_is_told_first(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no type of it could be held."""
    file = quantize(wide, tmp_path / "some.gguf", "Q4_K")
    file.write_bytes(file.read_bytes().replace(b"llama", b"lxama"))
    monkeypatch.setattr(block_layers, "is_installed", lambda: False)
    with pytest.raises(CannotOpen, match="has the architecture 'lxama'; supported are llama, qwen2"):
        open_gguf(file)


# The layers alone


def test_layers_of_experts_do_what_mlx_lms_do() -> None:
    from nitro.engines.backends.mlx.block_products import BlockSwitchLinear, unpack

    dense = SwitchLinear(64, 24, 5)
    layer = BlockSwitchLinear(dense, "mxfp4")
    layer.weight = mx.array(random_rows("MXFP4", 5 * 24, 64) % 100 + 60).reshape(5, 24, -1)
    dense.weight = unpack(layer.weight.reshape(5 * 24, -1), "mxfp4").reshape(5, 24, 64)
    layer.bias = dense.bias = mx.random.normal((5, 24), key=mx.random.key(1))
    x = mx.random.normal((2, 3, 1, 1, 64), key=mx.random.key(2))
    chosen = mx.array([[[0, 3], [4, 4], [1, 0]], [[2, 3], [3, 3], [0, 4]]], mx.uint32)
    np.testing.assert_allclose(layer(x, chosen), dense(x, chosen), rtol=1e-5, atol=1e-5)
    sorted_rows = mx.random.normal((6, 1, 64), key=mx.random.key(3))
    order = mx.array([0, 0, 1, 3, 3, 4], mx.uint32)
    theirs = dense(sorted_rows, order, sorted_indices=True)
    np.testing.assert_allclose(layer(sorted_rows, order, sorted_indices=True), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transpose", [True, False])
def test_layers_of_heads_do_what_mlx_lms_do(transpose: bool) -> None:
    from nitro.engines.backends.mlx.block_products import BlockMultiLinear, unpack

    dense = MultiLinear(64, 32, 3)
    layer = BlockMultiLinear(dense, "iq4_nl")
    rows = gguf.quants.quantize(np.random.default_rng(0).standard_normal((3 * 32, 64)).astype(np.float32), Type.Q8_0)
    layer.codec, layer.weight = "q8_0", mx.array(rows).reshape(3, 32, -1)
    dense.weight = unpack(mx.array(rows), "q8_0").reshape(3, 32, 64)
    x = mx.random.normal((2, 3, 4, 64 if transpose else 32), key=mx.random.key(1))
    np.testing.assert_allclose(layer(x, transpose), dense(x, transpose), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "embedding", "experts", "heads"])
def test_both_sorts_of_layers_compute_the_same(kind: str) -> None:
    """mlx-kquant's, which a GPU has, and ours: with the same weights and biases, products in bfloat16 and float32."""
    dense = {
        "linear": nn.Linear(64, 24),
        "embedding": nn.Embedding(24, 64),
        "experts": SwitchLinear(64, 24, 3),
        "heads": MultiLinear(64, 24, 3),
    }[kind]
    *rows, _ = dense.weight.shape
    values = np.random.default_rng(0).standard_normal((np.prod(rows), 64)).astype(np.float32)
    arrays = {"weight": mx.array(gguf.quants.quantize(values, Type.Q8_0)).reshape(*rows, -1)}
    if "bias" in dense:
        arrays["bias"] = mx.random.normal(rows, key=mx.random.key(2))
    x = mx.random.normal((2, 3, 1, 64), key=mx.random.key(1)).astype(mx.bfloat16)
    inputs = {
        "linear": [(x,)],
        "embedding": [(mx.array([3, 23, 0]),)],
        "experts": [(x[..., None, :], mx.array([[[0], [2], [1]], [[1], [1], [0]]], mx.uint32))],
        "heads": [(x, True), (x[:, :1, :, :24], False)],
    }[kind]
    theirs, ours = (make(dense, "q8_0") for make in (block_layers._layer, block_layers._exact_layer))
    for given in inputs:
        found = []
        for layer in (theirs, ours):
            layer.update(arrays)
            found.append(np.array(layer(*given).astype(mx.float32)))
        assert found[0].shape == found[1].shape
        np.testing.assert_allclose(*found, rtol=0.02, atol=0.1)


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [("gpt-oss", "bfloat16"), ("gemma2", "bfloat16"), ("gemma3", "bfloat16"), ("qwen3moe", "float16")],
)
def test_what_a_gpu_computes_in(architecture: str, dtype: str) -> None:
    """The hidden states of some exceed what float16 holds."""
    stored = {str(i): Tensor(type, (64, 64), Path(), 0) for i, type in enumerate(("MXFP4", "Q8_0", "F32"))}
    assert folder.dtype(SimpleNamespace(architecture=architecture, tensors=stored)) == dtype
