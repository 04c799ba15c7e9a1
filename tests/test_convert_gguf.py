"""A GGUF converted to MLX's layout: its integers, its bytes, its tokenizer; and from there to transformers' layout."""

import json
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer, with_fast_products
from test_families import divergence, shares
from test_gguf_tokenizer import CORPUS
from test_same_file import TEXT, random_tokens
from tiny_families import FAMILIES, tensors, write_family
from tiny_models import CONTEXT, TEMPLATE, VOCABULARY, WIDTH, write_gguf

from nitro.convert import gguf_to_mlx, mlx_to_hf, safetensors
from nitro.engines.backends.mlx.folder_loader import open_folder
from nitro.engines.runner import LoadError
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.gguf import packing
from nitro.gguf.header import UnreadableGGUF

NAME = "blk.0.ffn_down.weight"  # as it is in the file: no rows of it are moved
GOAL = "model.layers.0.mlp.down_proj"


def to_mlx(file: Path, folder: Path) -> tuple[Path, list[str]]:
    folder.mkdir()
    return folder, gguf_to_mlx.convert(file, folder)


def to_hf(folder: Path, target: Path, **settings: Any) -> tuple[Path, list[str]]:
    target.mkdir()
    return target, mlx_to_hf.convert(folder, target, **settings)


def load(folder: Path) -> dict[str, mx.array]:
    return {name: array for file in folder.glob("*.safetensors") for name, array in mx.load(str(file)).items()}


def values_of(file: Path, name: str) -> np.ndarray:
    """As gguf-py unpacks them."""
    tensor = next(tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == name)
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)


def unpacked(folder: Path, goal: str) -> np.ndarray:
    """Unpacked by MLX in float32."""
    arrays, settings = load(folder), json.loads((folder / "config.json").read_text())["quantization"][goal]
    scales, biases = (arrays[f"{goal}.{kind}"].astype(mx.float32) for kind in ("scales", "biases"))
    return np.array(mx.dequantize(arrays[f"{goal}.weight"], scales, biases, **settings))


# Weights


@pytest.mark.parametrize("type", [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0], ids=lambda type: type.name)
def test_packed_weights_are_the_files(type: Type, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", type)
    folder, notices = to_mlx(file, tmp_path / "mlx")
    assert notices == []
    values = values_of(file, NAME)
    assert values.std() > 0.05
    assert np.array_equal(unpacked(folder, GOAL), values)
    assert np.array_equal(unpacked(folder, "model.embed_tokens"), values_of(file, "token_embd.weight"))


@pytest.mark.parametrize("type", [Type.Q4_0, Type.Q4_1, Type.Q8_0], ids=lambda type: type.name)
def test_integers_scales_and_biases_are_what_mlx_reads(type: Type, tmp_path: Path) -> None:
    """mx.load, which reads these three types right, is another's implementation of the same layout."""
    file = write_gguf(tmp_path / "tiny.gguf", type)
    ours, theirs = load(to_mlx(file, tmp_path / "mlx")[0]), mx.load(str(file), format="gguf")
    for kind in ("weight", "scales", "biases"):
        mine, other = ours[f"{GOAL}.{kind}"], theirs[f"{NAME.removesuffix('.weight')}.{kind}"]
        assert mine.dtype == other.dtype
        assert mx.array_equal(mine, other)


@pytest.mark.parametrize("type", [Type.F32, Type.F16, Type.BF16], ids=lambda type: type.name)
def test_plain_weights_keep_their_bytes(type: Type, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", type)
    folder, notices = to_mlx(file, tmp_path / "mlx")
    assert notices == []
    array = load(folder)[f"{GOAL}.weight"]
    stored = next(tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == NAME).data
    assert array.dtype == {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}[type.name]
    assert np.array(array.view(mx.uint8)).tobytes() == stored.tobytes()
    assert load(folder)["model.norm.weight"].dtype == mx.float32
    assert "quantization" not in json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("type", packing.KINDS)
def test_any_block_keeps_its_values(type: str) -> None:
    """Random bytes, with ordinary numbers for scales. Those of K-quants are products, rounded to float16."""
    kind, random = packing.KINDS[type], np.random.default_rng(0)
    blocks = random.integers(0, 256, (8, 64, kind.block)).astype(np.uint8)
    scales = random.uniform(0.001, 0.01, (8, 64, 2)).astype(np.float16).view(np.uint8)
    if kind.bits == 2:  # those of ternary types stand last
        blocks[..., -2:] = scales[..., :2]
    else:
        blocks[..., :4] = scales
    packed = packing.pack(blocks.reshape(8, -1), type)
    scales, biases = (mx.array(part).astype(mx.float32) for part in (packed.scales, packed.biases))
    ours = np.array(mx.dequantize(mx.array(packed.words), scales, biases, group_size=packing.GROUP, bits=kind.bits))
    theirs = gguf.quants.dequantize(blocks.reshape(8, -1), Type[type])
    assert theirs.std() > (0.002 if kind.bits == 2 else 0.02)
    most = np.abs(theirs).max() * 2**-10 if type in packing.ROUNDED else 0
    assert np.abs(ours - theirs).max() <= most


def test_other_types_are_quantised_again_and_the_user_is_told(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", Type.F32)
    mxfp4 = gguf.quants.quantize(values_of(file, NAME), Type.MXFP4)
    file = with_tensor(tmp_path / "other.gguf", NAME, mxfp4, Type.MXFP4)
    folder, notices = to_mlx(file, tmp_path / "mlx")
    assert notices == ["1 tensors of type MXFP4 are quantised again, to 5 bits in groups of 32."]
    values = values_of(file, NAME)
    error = unpacked(folder, GOAL) - values
    assert 0 < error.std() < values.std() / 20


def with_tensor(path: Path, name: str, array: np.ndarray, type: Type, **keys: Any) -> Path:
    """The tiny llama with one tensor as given."""
    return write_family(path, "llama", replaced={name: (array, type)}, **keys)


def test_a_scale_too_large_for_float16_is_refused(tmp_path: Path) -> None:
    blocks = gguf.quants.quantize(np.full((WIDTH, 128), 60000.0, np.float32), Type.Q8_0)
    blocks[:, :2] = np.full(1, 600.0, np.float16).view(np.uint8)  # times 128 it is infinite
    file = with_tensor(tmp_path / "large.gguf", NAME, blocks, Type.Q8_0)
    with pytest.raises(UnreadableGGUF, match=rf"large\.gguf: tensor {NAME} has a scale that float16 cannot hold\."):
        to_mlx(file, tmp_path / "mlx")


@pytest.mark.parametrize("type", [Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0], ids=lambda type: type.name)
def test_packed_weights_answer_as_those_served_from_the_file(type: Type, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", type)
    folder, _ = to_mlx(file, tmp_path / "mlx")
    tokens = random_tokens(50)
    served, converted = (shares(MlxScorer(path, context=CONTEXT), tokens) for path in (file, folder))
    assert np.array_equal(served, converted)
    assert divergence(shares(LlamaScorer(file, context=CONTEXT, exact=True), tokens), converted) < 0.01


# Files


def test_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", Type.Q4_1)
    whole = load(to_mlx(file, tmp_path / "whole")[0])
    shards = safetensors.shards
    monkeypatch.setattr(safetensors, "shards", lambda tensors: shards(tensors, 30_000))
    folder, _ = to_mlx(file, tmp_path / "parts")
    files = sorted(file.name for file in folder.glob("*.safetensors"))
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    assert len(files) > 2
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in whole.values())
    assert set(index["weight_map"].values()) == set(files)
    assert all(name in mx.load(str(folder / file)) for name, file in index["weight_map"].items())
    parts = load(folder)
    assert parts.keys() == whole.keys()
    assert all(mx.array_equal(parts[name], whole[name]) for name in whole)


def test_a_split_file(tmp_path: Path) -> None:
    """Metadata in the first, tensors in all."""
    whole = load(to_mlx(write_family(tmp_path / "whole.gguf", "llama"), tmp_path / "whole")[0])
    names = list(tensors(FAMILIES["llama"]))
    for number, kept in ((1, names[:5]), (2, names[5:])):
        write_family(tmp_path / f"tiny-{number:05}-of-00002.gguf", "llama", kept=kept, split=(number, 2, len(names)))
    first = tmp_path / "tiny-00001-of-00002.gguf"
    parts = load(to_mlx(first, tmp_path / "parts")[0])
    assert parts.keys() == whole.keys()
    assert all(mx.array_equal(parts[name], whole[name]) for name in whole)
    second = tmp_path / "tiny-00002-of-00002.gguf"
    with pytest.raises(
        UnreadableGGUF, match=r"is one of 2 files; use the first, which ends in -00001-of-00002\.gguf\."
    ):
        to_mlx(second, tmp_path / "second")
    second.unlink()
    with pytest.raises(
        UnreadableGGUF, match=r"tiny-00002-of-00002\.gguf is missing; the model is split into 2 files\."
    ):
        to_mlx(first, tmp_path / "missing")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UnreadableGGUF, match="it ends before its weights do"):
        to_mlx(file, tmp_path / "mlx")


def test_what_is_beside_the_weights(tmp_path: Path) -> None:
    said = {"general.sampling.temp": 0.5, "general.sampling.top_k": 20}
    file = write_family(tmp_path / "tiny.gguf", "llama", general=said)
    folder, _ = to_mlx(file, tmp_path / "mlx")
    model = open_folder(folder)
    assert model.template == TEMPLATE
    assert (model.bos, model.eos) == ("<|im_start|>", "<|im_end|>")
    assert model.eog == {0, 2, 4}
    assert model.trained_context == CONTEXT
    assert model.sampling == SamplingDefaults(temperature=0.5, top_k=20)
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation == {
        "bos_token_id": 1,
        "eos_token_id": [0, 2, 4],
        "do_sample": True,
        "temperature": 0.5,
        "top_k": 20,
    }
    assert b"".join(map(model.tokenizer.token_bytes, model.tokenizer.encode("a<|im_end|>b"))) == b"ab"


# Real files


@pytest.fixture(scope="module")
def smollm_mlx(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, notices = to_mlx(smollm, tmp_path_factory.mktemp("converted") / "smollm")
    assert notices == []
    return folder


@pytest.fixture(scope="module")
def gemma_mlx(gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, notices = to_mlx(gemma, tmp_path_factory.mktemp("converted") / "gemma")
    assert notices == [
        "27 tensors of type Q4_K keep their integers; their scales are rounded to float16.",
        "9 tensors of type Q6_K are quantised again, to 8 bits in groups of 32.",
        "The file has no chat template; pass one with --chat-template to chat with the model.",
    ]
    return folder


@pytest.mark.parametrize(("file", "folder", "most"), [("smollm", "smollm_mlx", 0.01), ("gemma", "gemma_mlx", 0.02)])
def test_a_real_model_is_the_same(file: str, folder: str, most: float, request: pytest.FixtureRequest) -> None:
    """The ids of hard strings, and what follows 200 tokens of a text."""
    theirs = LlamaScorer(request.getfixturevalue(file), context=CONTEXT, exact=True)
    ours = MlxScorer(request.getfixturevalue(folder), context=CONTEXT)
    hard = {name: text for name, text in CORPUS.items() if len(text) < 5000}
    assert len(hard) > 300
    assert [name for name, text in hard.items() if ours.tokenizer.encode(text) != theirs.tokenizer.encode(text)] == []
    tokens = theirs.tokenizer.encode(f"{TEXT}\n" * 9)[:200]
    pieces = [[scorer.tokenizer.token_bytes(token) for token in tokens] for scorer in (ours, theirs)]
    assert pieces[0] == pieces[1]
    ours._model.network = with_fast_products(ours._model.network)
    their, our = shares(theirs, tokens), shares(ours, tokens)
    assert divergence(their, our) <= most
    second, best = np.partition(their, -2, axis=1)[:, -2:].T
    clear = best - second > 1
    assert clear.sum() > 50
    assert (their.argmax(axis=1) == our.argmax(axis=1))[clear].mean() >= 0.99


# On to transformers' layout


@pytest.mark.parametrize("name", FAMILIES)
def test_plain_weights_go_on_as_they_are(name: str, tmp_path: Path) -> None:
    """mlx-lm opens that layout, too."""
    folder, _ = to_mlx(write_family(tmp_path / "tiny.gguf", name), tmp_path / "mlx")
    target, notices = to_hf(folder, tmp_path / "hf")
    assert notices == []
    tokens = random_tokens(50)
    ours, theirs = (shares(MlxScorer(path, context=CONTEXT), tokens) for path in (folder, target))
    assert np.array_equal(ours, theirs)
    assert (target / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert (target / "chat_template.jinja").read_text() == TEMPLATE


def test_experts_are_apart(tmp_path: Path) -> None:
    file = write_family(tmp_path / "tiny.gguf", "qwen3moe")
    target, _ = to_hf(to_mlx(file, tmp_path / "mlx")[0], tmp_path / "hf")
    arrays, stack = load(target), values_of(file, "blk.1.ffn_down_exps.weight")
    for number, expert in enumerate(stack):
        assert np.array_equal(np.array(arrays[f"model.layers.1.mlp.experts.{number}.down_proj.weight"]), expert)
    assert not [name for name in arrays if "switch_mlp" in name]


@pytest.mark.parametrize("dtype", mlx_to_hf.UNPACKED)
def test_packed_weights_are_unpacked(dtype: str, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", Type.Q4_1)
    folder, _ = to_mlx(file, tmp_path / "mlx")
    target, notices = to_hf(folder, tmp_path / "hf", dtype=dtype)
    assert notices == [f"16 packed tensors were unpacked to {dtype}."]
    array, values = load(target)[f"{GOAL}.weight"], mx.array(values_of(file, NAME))
    assert array.dtype == mlx_to_hf.UNPACKED[dtype]
    assert mx.array_equal(array, values.astype(array.dtype))
    config = json.loads((target / "config.json").read_text())
    assert config["dtype"] == dtype
    assert not config.keys() & {"quantization", "quantization_config", "converted_from"}


def test_folders_that_are_refused(tmp_path: Path) -> None:
    folder, _ = to_mlx(write_gguf(tmp_path / "tiny.gguf", Type.Q4_1), tmp_path / "mlx")
    config, weights = folder / "config.json", folder / "model.safetensors"
    text, data = config.read_text(), weights.read_bytes()

    def refusal(name: str) -> str:
        with pytest.raises(LoadError) as error:
            to_hf(folder, tmp_path / name)
        return str(error.value)

    weights.write_bytes(data[: len(data) // 2])
    assert f"{weights} is missing or damaged" in refusal("cut")
    weights.unlink()
    assert f"{weights} is missing or damaged" in refusal("missing")
    weights.write_bytes(data)
    config.write_text(text.replace('"llama"', '"mamba"'))
    assert "is a mamba model; supported are gemma2, gemma3_text, " in refusal("unknown")
    config.write_text(text.replace('"quantization', '"no_quantization'))
    assert "does not say how lm_head is packed" in refusal("unsaid")
    config.write_text("{")
    assert "cannot be read, or names no model_type" in refusal("broken")
    config.unlink()
    assert "has no config.json" in refusal("empty")


def test_vocabulary_is_the_embeddings(tmp_path: Path) -> None:
    folder, _ = to_mlx(write_gguf(tmp_path / "tiny.gguf"), tmp_path / "mlx")
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == VOCABULARY
