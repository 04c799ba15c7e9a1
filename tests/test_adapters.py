"""LoRAs read from PEFT's folders, mlx-lm's and llama.cpp's files, and what is refused of them."""

import json
from math import sqrt
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from lora_files import Product, products, write_mlx, write_peft
from real_models import half_split
from safetensors.numpy import load_file, save_file
from tiny_models import FEED_FORWARD, HEADS, KV_HEADS, WIDTH, write_gguf

from nitro.checkpoints import adapter_base, adapter_kinds, adapter_reader, gguf_adapter, peft_adapter
from nitro.checkpoints.adapters import Adapter, LowRank
from nitro.errors import AdapterError

KV_WIDTH = WIDTH // HEADS * KV_HEADS
ATTENTION = "model.layers.0.self_attn"
SHAPES = {
    f"{ATTENTION}.q_proj": (WIDTH, WIDTH),
    f"{ATTENTION}.k_proj": (KV_WIDTH, WIDTH),
    "model.layers.1.mlp.down_proj": (WIDTH, FEED_FORWARD),
}
DOWN = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> adapter_base.Base:
    return adapter_base.of(write_gguf(tmp_path_factory.mktemp("base") / "tiny.gguf"))


def the_same(adapter: Adapter, layers: dict[str, Product], scale: float) -> None:
    assert adapter.layers.keys() == layers.keys()
    for name, (a, b) in layers.items():
        change = adapter.layers[name]
        assert np.array_equal(change.a, a) and np.array_equal(change.b, b) and change.scale == pytest.approx(scale)
        assert change.shape == (b.shape[0], a.shape[1]) and change.rank == a.shape[0]


# What PEFT says


@pytest.mark.parametrize(("rslora", "scale"), [(False, 8 / 4), (True, 8 / sqrt(4))])
def test_a_folder_of_peft(tmp_path: Path, rslora: bool, scale: float) -> None:
    layers = products(SHAPES)
    the_same(adapter_reader.read(write_peft(tmp_path / "peft", layers, use_rslora=rslora)), layers, scale)


def test_patterns_fit_the_end_of_a_name_and_the_first_counts(tmp_path: Path) -> None:
    layers = products(SHAPES, q_proj=2, down_proj=8)
    folder = write_peft(
        tmp_path / "peft",
        layers,
        rank_pattern={"q_proj": 2, "layers.1.mlp.down_proj": 8, "down_proj": 16},
        alpha_pattern={r"layers\.\d+\.self_attn\.[qk]_proj": 3, "proj": 100},
    )
    scales = {name: change.scale for name, change in adapter_reader.read(folder).layers.items()}
    assert scales == {f"{ATTENTION}.q_proj": 3 / 2, f"{ATTENTION}.k_proj": 3 / 4, DOWN: 8 / 8}


def test_bfloat16_and_an_embedding(tmp_path: Path) -> None:
    layers = products({"model.embed_tokens": (30, WIDTH)})
    folder = write_peft(
        tmp_path / "peft", layers, {"base_model.model.model.embed_tokens.base_layer.weight": np.zeros(3, np.float32)}
    )
    the_same(adapter_reader.read(folder), layers, 2.0)
    file = folder / "adapter_model.safetensors"
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    at, values = 0, b""
    for name, array in load_file(file).items():
        halves = (array.view(np.uint32) >> 16).astype(np.uint16)
        header[name] |= {"dtype": "BF16", "data_offsets": [at, at + halves.nbytes]}
        at, values = at + halves.nbytes, values + halves.tobytes()
    head = json.dumps(header).encode()
    file.write_bytes(len(head).to_bytes(8, "little") + head + values)
    found = adapter_reader.read(folder).layers["model.embed_tokens"]
    assert np.allclose(found.a, layers["model.embed_tokens"][0], rtol=2**-7)


EXAMPLES: dict[str, Any] = {
    "use_dora": True,
    "modules_to_save": ["lm_head"],
    "trainable_token_indices": [5],
    "bias": "lora_only",
    "lora_bias": True,
    "layer_replication": [[0, 2], [1, 2]],
    "alora_invocation_tokens": [1, 2],
    "target_parameters": ["experts.gate_up_proj"],
    "use_qalora": True,
    "use_bdlora": {"nblocks": 2},
    "arrow_config": {"top_k": 1},
    "monteclora_config": {"num_samples": 2},
    "kasa_config": {"beta": 1e-4},
    "init_lora_weights": "pissa_niter_4",
    "a_new_variant": {"depth": 2},
}


@pytest.mark.parametrize("key", EXAMPLES)
def test_settings_that_are_no_lora_are_refused_by_name(tmp_path: Path, key: str) -> None:
    assert set(EXAMPLES) - {"a_new_variant"} == set(peft_adapter.REFUSED)
    folder = write_peft(tmp_path / "peft", products(SHAPES), **{key: EXAMPLES[key]})
    with pytest.raises(AdapterError, match=f"adapter_config.json has {key} = "):
        adapter_reader.read(folder)


def test_settings_of_training_are_not(tmp_path: Path) -> None:
    layers = products(SHAPES)
    settings = {"init_lora_weights": "gaussian", "layers_to_transform": [0, 1], "target_modules": ["q_proj"]}
    the_same(adapter_reader.read(write_peft(tmp_path / "peft", layers, **settings, lora_dropout=0.1)), layers, 2.0)


FIRST = f"base_model.model.{ATTENTION}.q_proj"


@pytest.mark.parametrize(
    "name",
    [
        *("base_model.model.lm_head.weight", f"{FIRST}.bias", f"{FIRST}.lora_magnitude_vector"),
        *(f"{FIRST}.lora_B.bias", "base_model.model.model.norm.weight", "transformer.x.lora_A.weight"),
    ],
)
def test_tensors_that_are_no_lora_are_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = write_peft(tmp_path / "peft", products(SHAPES), {name: np.ones((4, 4), np.float32)})
    with pytest.raises(AdapterError, match=f"tensor {name} is not part of a LoRA"):
        adapter_reader.read(folder)


def test_damage_is_refused_by_layer(tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "peft", products(SHAPES))
    file = folder / "adapter_model.safetensors"
    whole = load_file(file)
    part = f"{FIRST}.lora_B.weight"
    for changed, said in (
        ({part: None}, "only one of the two parts of model.layers.0.self_attn.q_proj"),
        ({part: whole[part][:, :2]}, "q_proj has the rank 2, and 4 by adapter_config.json"),
        ({part: np.full_like(whole[part], np.nan)}, "q_proj has numbers that are not finite"),
        ({part: whole[part].astype(np.int32)}, "it is I32; supported are"),
        ({part: whole[part][None, None]}, "dimensions; supported are two"),
        (dict.fromkeys(whole), "has no tensors of a LoRA"),
    ):
        save_file({n: np.ascontiguousarray(v) for n, v in {**whole, **changed}.items() if v is not None}, file)
        with pytest.raises(AdapterError, match=said):
            adapter_reader.read(folder)
    file.write_bytes(file.read_bytes() + b"1")
    with pytest.raises(AdapterError, match="download it again"):
        adapter_reader.read(folder)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"r": 0}, "rank of .* is 0"),
        ({"r": "four"}, "rank of .* is 'four'"),
        ({"lora_alpha": None}, "alpha of .* is None"),
        ({"rank_pattern": {"(": 4}}, "rank_pattern is not an object"),
        ({"alpha_pattern": [4]}, "alpha_pattern is not an object"),
        ({"peft_type": "IA3"}, "is of the kind 'IA3'"),
    ],
)
def test_settings_of_another_kind(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(AdapterError, match=said):
        adapter_reader.read(write_peft(tmp_path / "peft", products(SHAPES), **settings))


# mlx-lm's folders


def test_a_folder_of_mlx_lm(tmp_path: Path) -> None:
    layers = products({**SHAPES, "model.embed_tokens": (30, WIDTH)})
    the_same(adapter_reader.read(write_mlx(tmp_path / "mlx", layers, scale=20.0)), layers, 20.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fine_tune_type": "dora"}, "fine_tune_type = 'dora'"),
        ({"fine_tune_type": "full", "lora_parameters": None}, "fine_tune_type = 'full'"),
        ({"lora_parameters": {"rank": 4, "alpha": 8}}, "lora_parameters.scale is None"),
        ({"lora_parameters": {"rank": 8, "scale": 8}}, "has the rank 4, and 8 by adapter_config.json"),
    ],
)
def test_what_is_refused_of_mlx_lm(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(AdapterError, match=said):
        adapter_reader.read(write_mlx(tmp_path / "mlx", products(SHAPES), **settings))


# llama.cpp's files


def written(file: Path, also: dict[str, np.ndarray] | None = None, alpha: float = 8.0, **products: Product) -> Path:
    """As llama.cpp's own script does it. `products`: by the tensor's name with "__" for "."."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, (a, b) in products.items():
        writer.add_tensor(f"{name.replace('__', '.')}.lora_a", np.ascontiguousarray(a))
        writer.add_tensor(f"{name.replace('__', '.')}.lora_b", np.ascontiguousarray(b))
    for name, array in (also or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def permuted(array: np.ndarray, heads: int) -> np.ndarray:
    """LlamaModel.permute in llama.cpp's conversion/llama.py."""
    return array.reshape(heads, 2, len(array) // heads // 2, -1).swapaxes(1, 2).reshape(array.shape)


def test_a_gguf_has_the_rows_of_queries_and_keys_in_another_order(tmp_path: Path, base: adapter_base.Base) -> None:
    layers = products(SHAPES)
    (qa, qb), (ka, kb), down = layers.values()
    named = {
        "blk__0__attn_q__weight": (qa, permuted(qb, HEADS)),
        "blk__0__attn_k__weight": (ka, permuted(kb, KV_HEADS)),
        "blk__1__ffn_down__weight": down,
    }
    theirs = written(tmp_path / "theirs.gguf", **named)
    the_same(adapter_reader.read(theirs, base.header), layers, 2.0)
    ours = tmp_path / "ours.gguf"
    gguf_adapter.write(adapter_reader.read(write_peft(tmp_path / "peft", layers)), base.need_header(), ours)
    found, expected = ({t.name: t.data for t in gguf.GGUFReader(file).tensors} for file in (ours, theirs))
    assert found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)
    assert np.array_equal(half_split(found["blk.0.attn_q.weight.lora_b"], HEADS), qb)


def test_one_alpha_gives_every_layer_its_scale(tmp_path: Path, base: adapter_base.Base) -> None:
    """rsLoRA with ranks and alphas of their own."""
    layers = products(SHAPES, q_proj=2, down_proj=8)
    folder = write_peft(
        tmp_path / "peft",
        layers,
        use_rslora=True,
        rank_pattern={"q_proj": 2, "down_proj": 8},
        alpha_pattern={"k_proj": 3},
    )
    source = adapter_reader.read(folder)
    gguf_adapter.write(source, base.need_header(), tmp_path / "made.gguf")
    made = adapter_reader.read(tmp_path / "made.gguf", base.header)
    for name, change in source.layers.items():
        assert np.allclose(made.layers[name].product(), change.product(), rtol=1e-5, atol=1e-6), name


def test_a_scale_of_0_is_not_one_of_1(tmp_path: Path, base: adapter_base.Base) -> None:
    source = adapter_reader.read(write_peft(tmp_path / "peft", products(SHAPES), lora_alpha=0))
    gguf_adapter.write(source, base.need_header(), tmp_path / "made.gguf")
    made = adapter_reader.read(tmp_path / "made.gguf", base.header)
    assert all(not change.product().any() for change in made.layers.values())
    assert adapter_kinds.read_header(tmp_path / "made.gguf").get(gguf_adapter.ALPHA) == 1.0


def test_alpha_0_means_a_scale_of_1(tmp_path: Path, base: adapter_base.Base) -> None:
    file = written(tmp_path / "lora.gguf", alpha=0.0, blk__1__ffn_down__weight=products(SHAPES)[DOWN])
    assert adapter_reader.read(file, base.header).layers[DOWN].scale == 1.0


def test_what_is_refused_of_ggufs(tmp_path: Path, base: adapter_base.Base) -> None:
    down = products(SHAPES)[DOWN]
    named = {"blk__1__ffn_down__weight": down}
    norm = written(tmp_path / "norm.gguf", {"blk.0.attn_norm.weight": np.ones(WIDTH, np.float32)}, **named)
    with pytest.raises(
        AdapterError, match=r"blk.0.attn_norm.weight is not part of a LoRA, and llama.cpp leaves it out"
    ):
        adapter_reader.read(norm, base.header)
    half = written(tmp_path / "half.gguf", {"blk.0.ffn_up.weight.lora_a": down[0]}, **named)
    with pytest.raises(AdapterError, match=r"only one of the two parts of blk.0.ffn_up.weight"):
        adapter_reader.read(half, base.header)
    unknown = written(tmp_path / "unknown.gguf", blk__1__ssm_in__weight=down)
    with pytest.raises(AdapterError, match=r"tensor blk.1.ssm_in.weight is not known"):
        adapter_reader.read(unknown, base.header)
    with pytest.raises(AdapterError, match="is a model and not an adapter"):
        adapter_kinds.kind(base.path)


# A model


def test_an_adapter_fits_its_model(tmp_path: Path, base: adapter_base.Base) -> None:
    layers = {f"model.language_{name}": product for name, product in products(SHAPES).items()}
    fitted = base.fitted(adapter_reader.read(write_peft(tmp_path / "peft", layers)))
    assert set(fitted.layers) == set(SHAPES)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"model.layers.2.mlp.down_proj": (WIDTH, FEED_FORWARD)}, "layers.2.mlp.down_proj, and the model has no such"),
        ({"model.layers.0.mlp.fc1": (WIDTH, WIDTH)}, "layers.0.mlp.fc1, and the model has no such layer"),
        ({DOWN: (WIDTH, WIDTH)}, f"of {WIDTH} × {WIDTH}, which is {WIDTH} × {FEED_FORWARD} in"),
    ],
)
def test_one_of_another_model(tmp_path: Path, base: adapter_base.Base, shapes: dict, said: str) -> None:
    with pytest.raises(AdapterError, match=said):
        base.fitted(adapter_reader.read(write_peft(tmp_path / "peft", products(shapes))))


def test_an_embedding_that_is_the_output_as_well(tmp_path: Path) -> None:
    shapes = {"model.embed_tokens.weight": (30, WIDTH)}
    adapter = adapter_reader.read(write_peft(tmp_path / "peft", products({"model.embed_tokens": (30, WIDTH)})))
    with pytest.raises(AdapterError, match="no output matrix of its own"):
        adapter_base.Base(tmp_path, None, shapes).fitted(adapter)
    assert adapter_base.Base(tmp_path, None, {**shapes, "lm_head.weight": (30, WIDTH)}).fitted(adapter).layers


@pytest.mark.parametrize("content", [None, "[]", "{", '{"x": 1}', '{"peft_type": "LORA"}'])
def test_what_is_no_adapter(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(AdapterError, match="adapter"):
        adapter_kinds.kind(tmp_path)
    assert adapter_kinds.is_adapter(tmp_path) == (content is not None)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    folder = write_peft(tmp_path / "peft", products(SHAPES))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"adapter_model.bin is not read, since opening such a file runs code"):
        adapter_reader.read(folder)


def test_the_product_is_what_is_added() -> None:
    a, b = np.array([[1.0, 2.0]], np.float32), np.array([[3.0], [5.0]], np.float32)
    assert LowRank(a, b, 2.0).product().tolist() == [[6.0, 12.0], [10.0, 20.0]]
