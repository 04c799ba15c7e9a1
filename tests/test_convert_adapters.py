"""LoRAs by the command a user types: what is made is proven, what is wrong is refused, and a wrong result is seen."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from lora_files import products, write_mlx, write_peft
from real_models import write_hf
from tiny_families import EXPERT_FEED_FORWARD, EXPERTS, write_family
from tiny_models import FEED_FORWARD, HEADS, KV_HEADS, WIDTH, write_gguf

from nitro.checkpoints import adapter_base, adapter_reader, gguf_adapter, mlx_adapter
from nitro.checkpoints.adapters import Adapter, LowRank
from nitro.cli.main import main
from nitro.convert import adapter_proof, adapters, gguf_to_mlx
from nitro.convert.comparison import EXACT
from nitro.gguf import layer_tensors

Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"
SHAPES = {
    Q: (WIDTH, WIDTH),
    "model.layers.0.self_attn.k_proj": (WIDTH // HEADS * KV_HEADS, WIDTH),
    DOWN: (WIDTH, FEED_FORWARD),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same model in all kinds."""
    folder = tmp_path_factory.mktemp("bases")
    file = write_gguf(folder / "tiny.gguf")
    (folder / "mlx").mkdir()
    gguf_to_mlx.convert(file, folder / "mlx")
    return {"gguf": file, "hf": write_hf(file, folder / "hf"), "mlx": folder / "mlx"}


@pytest.fixture
def peft(tmp_path: Path) -> Path:
    """rsLoRA, with a rank and an alpha of its own."""
    layers = products(SHAPES, q_proj=2)
    return write_peft(
        tmp_path / "peft", layers, use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"down_proj": 3}
    )


def convert(source: Path, to: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["convert", str(source), "--to", to, "--positions", "64", *map(str, arguments)])


def proof(made: Path) -> dict:
    return json.loads((made / "nitro-proof.json" if made.is_dir() else Path(f"{made}.proof.json")).read_text())


@pytest.mark.parametrize(("to", "computed_on"), [("gguf", ("gguf",)), ("mlx", ("hf", "mlx"))])
def test_every_base_gives_the_same(bases: dict[str, Path], peft: Path, to: str, computed_on: tuple[str, ...]) -> None:
    made = {}
    for kind, base in bases.items():
        target = peft.with_name(f"made-{kind}" + (".gguf" if to == "gguf" else ""))
        done = convert(peft, to, "--base", base, "-o", target)
        assert done.exit_code == 0, done.output
        found = proof(target)
        assert found["passed"] and found["layers"] == 3 and found["largest_error"] < 1e-6
        if kind in computed_on:
            assert found["scores"]["mean_kl"] <= EXACT.mean and found["moved"] > 0.1
        else:
            assert found["scores"] is None and "not computed: the base is a" in found["computed"]
        name = "adapters.safetensors"
        made[kind] = (target if to == "gguf" else target / name).read_bytes()
    assert made["gguf"] == made["hf"] == made["mlx"]


@pytest.mark.parametrize(("to", "option"), [("gguf", ("--type", "f16")), ("mlx", ("--dtype", "float16"))])
def test_in_half_the_size(bases: dict[str, Path], tmp_path: Path, to: str, option: tuple[str, str]) -> None:
    """Also where b is so small that half of its digits would be lost; which is caught if they are."""
    layers = {name: (a, b * 1e-6) for name, (a, b) in products(SHAPES).items()}
    peft = write_peft(tmp_path / "peft", layers)
    sizes = []
    for arguments in ((), option):
        target = tmp_path / ("made.gguf" if to == "gguf" else "made")
        done = convert(peft, to, "--base", bases["gguf" if to == "gguf" else "hf"], "-o", target, "--force", *arguments)
        assert done.exit_code == 0, done.output
        sizes.append((target if to == "gguf" else target / "adapters.safetensors").stat().st_size)
        error = proof(target)["largest_error"]
        assert 1e-5 < error < 1e-3 if arguments else error < 1e-6
    assert sizes[1] < 0.8 * sizes[0]


def test_a_gguf_becomes_mlx_lms_and_back(bases: dict[str, Path], peft: Path) -> None:
    way = [(peft, "gguf", bases["gguf"]), (peft.with_name("peft.gguf"), "mlx", bases["gguf"])]
    way += [(peft.with_name("peft-MLX"), "gguf", bases["hf"])]
    for source, to, base in way:
        done = convert(source, to, "--base", base)
        assert done.exit_code == 0, done.output
    last = adapters.fitted(peft.with_name("peft-MLX.gguf"), adapter_base.of(bases["gguf"]))
    errors = adapter_proof.layer_errors(adapter_reader.read(peft), last)
    assert errors.keys() == SHAPES.keys() and max(errors.values()) < 1e-6


def test_an_embedding_and_the_output_matrix(bases: dict[str, Path], tmp_path: Path) -> None:
    vocabulary = adapter_base.of(bases["gguf"]).shapes["lm_head.weight"][0]
    shapes = {"model.embed_tokens": (vocabulary, WIDTH), "lm_head": (vocabulary, WIDTH)}
    for name, source in (("a", write_peft), ("b", write_mlx)):
        folder = source(tmp_path / name, products(shapes))
        for to, base in (("gguf", "gguf"), ("mlx", "hf")):
            if (name, to) != ("b", "mlx"):
                done = convert(folder, to, "--base", bases[base], "-o", tmp_path / f"{name}-{to}")
                assert done.exit_code == 0, done.output
                assert proof(tmp_path / f"{name}-{to}")["scores"]["mean_kl"] <= EXACT.mean


def test_experts_are_stacked(tmp_path: Path) -> None:
    """PEFT's single experts, of which some have no LoRA."""
    file = write_family(tmp_path / "moe.gguf", "qwen3moe")
    (tmp_path / "moe").mkdir()
    gguf_to_mlx.convert(file, tmp_path / "moe")
    up, down = (EXPERT_FEED_FORWARD, WIDTH), (WIDTH, EXPERT_FEED_FORWARD)
    layers = {
        f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj": shape
        for layer in (0, 2)
        for expert in range(0, EXPERTS, 2)
        for part, shape in (("gate", up), ("up", up), ("down", down))
    }
    peft = write_peft(tmp_path / "peft", products({**layers, "model.layers.1.mlp.gate": (EXPERTS, WIDTH)}))
    for to, base in (("gguf", file), ("mlx", tmp_path / "moe")):
        done = convert(peft, to, "--base", base, "-o", tmp_path / f"made-{to}")
        assert done.exit_code == 0, done.output
        found = proof(tmp_path / f"made-{to}")
        assert found["layers"] == 7 and found["scores"]["mean_kl"] <= EXACT.mean and found["moved"] > 0.1
    beyond = write_peft(tmp_path / "beyond", products({f"model.layers.0.mlp.experts.{EXPERTS}.up_proj": up}))
    assert f"and the model has {EXPERTS} experts" in convert(beyond, "gguf", "--base", file).output


def verify(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["verify", "--positions", "64", *map(str, arguments)])


def test_two_of_any_kind_are_compared(bases: dict[str, Path], peft: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.gguf"
    assert convert(peft, "gguf", "--base", bases["gguf"], "-o", made, "--type", "f16").exit_code == 0
    base = ("--base", bases["gguf"])
    done = verify(peft, made, *base)
    assert done.exit_code == 0 and "passed" in done.stdout and "mean KL" in done.stdout, done.output
    done = verify(made, peft, *base)
    assert done.exit_code == 0 and "not computed" in done.stdout, done.output
    other = write_peft(tmp_path / "other", products(SHAPES), use_rslora=True)
    done = verify(peft, other, *base)
    assert done.exit_code == 1 and "FAILED" in done.stdout and Q in done.stdout
    done = verify(peft, other, "--reference", made, *base)
    assert done.exit_code == 1 and done.stdout.count(f"compared with {made}") == 2


@pytest.mark.parametrize(
    ("a", "b", "base", "said"),
    [
        ("peft", "peft", None, "is a LoRA; name its model with --base MODEL"),
        ("peft", "gguf", "gguf", "A LoRA is compared with a LoRA"),
        ("gguf", "gguf", "gguf", "--base is for LoRAs"),
    ],
)
def test_what_is_not_compared(bases: dict[str, Path], peft: Path, a: str, b: str, base: str | None, said: str) -> None:
    paths = {**bases, "peft": peft}
    done = verify(paths[a], paths[b], *(("--base", paths[base]) if base else ()))
    assert done.exit_code == 1 and said in done.stderr


# Results that are wrong


def _without_rslora(adapter: Adapter) -> Adapter:
    changed = {n: replace(change, scale=change.scale / change.rank**0.5) for n, change in adapter.layers.items()}
    return replace(adapter, layers=changed)


def _one_alpha(adapter: Adapter) -> Adapter:
    """As if nobody had read alpha_pattern."""
    return replace(
        adapter, layers={n: replace(change, scale=8 / change.rank**0.5) for n, change in adapter.layers.items()}
    )


def _rows_of_the_model(adapter: Adapter) -> Adapter:
    """Of the queries, as if nobody had moved them: writing moves them once more."""
    change = adapter.layers[Q]
    moved = change.b.reshape(HEADS, -1, 2, change.rank).swapaxes(1, 2).reshape(change.b.shape)
    return replace(adapter, layers={**adapter.layers, Q: replace(change, b=moved)})


def _one_less(adapter: Adapter) -> Adapter:
    return replace(adapter, layers={name: change for name, change in adapter.layers.items() if name != DOWN})


def _another_layer(adapter: Adapter) -> Adapter:
    layers = {**adapter.layers, DOWN.replace("1", "0"): adapter.layers[DOWN]}
    return replace(adapter, layers={name: change for name, change in layers.items() if name != DOWN})


FAULTS = [_without_rslora, _one_alpha, _rows_of_the_model, _one_less, _another_layer]


@pytest.mark.parametrize(("to", "fault"), [*(("gguf", fault) for fault in FAULTS), ("mlx", _one_alpha)])
def test_a_doctored_adapter_is_caught(
    bases: dict[str, Path], peft: Path, to: str, fault: Callable[[Adapter], Adapter]
) -> None:
    """By its layers, and by what is computed with it."""
    base = adapter_base.of(bases["gguf" if to == "gguf" else "hf"])
    wrong = fault(adapters.fitted(peft, base))
    made = peft.with_name("made")
    if to == "gguf":
        gguf_adapter.write(wrong, base.need_header(), made)
    else:
        made.mkdir()
        mlx_adapter.write(wrong, base.blocks(), made)
    found = adapter_proof.prove(peft, made, base, 64, lambda line: None)
    assert not found.passed and "adds something else" in found.failures[0]
    assert found.scores and found.scores.mean_kl > EXACT.mean


def test_a_wrong_result_is_removed(bases: dict[str, Path], peft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = layer_tensors.in_file_order
    monkeypatch.setattr(layer_tensors, "in_file_order", lambda header, name, rows: order(header, name, rows)[::-1])
    done = convert(peft, "gguf", "--base", bases["gguf"])
    assert done.exit_code == 1 and "The result is not the same adapter and was removed" in done.output
    assert [path.name for path in peft.parent.iterdir()] == ["peft"]


# What is refused


@pytest.mark.parametrize(
    ("to", "arguments", "said"),
    [
        ("gguf", (), "is a LoRA; name its model with --base MODEL"),
        ("gguf", ("--type", "Q8_0"), "--type Q8_0 is for models; a LoRA is written as f32 or f16"),
        ("mlx", ("--dtype", "bfloat16"), "--dtype bfloat16 is for models; a LoRA is written as float32 or float16"),
        ("mlx", ("--type", "F16"), "--type is for models"),
        ("mlx", ("--bits", 4), "--bits is for models"),
        ("mlx", ("--group-size", 32), "--group-size is for models"),
        ("hf", ("--base", "."), "A LoRA converts to gguf and to mlx only"),
        ("gguf", ("--base", "missing.gguf"), "missing.gguf cannot be read: No such file"),
    ],
)
def test_options(peft: Path, to: str, arguments: tuple[object, ...], said: str) -> None:
    done = convert(peft, to, *arguments)
    assert done.exit_code == 1 and said in done.output and done.output.count("\n") == 1
    assert [path.name for path in peft.parent.iterdir()] == ["peft"]


def test_a_base_is_for_a_lora(bases: dict[str, Path]) -> None:
    assert "--base is for a LoRA" in convert(bases["hf"], "mlx", "--base", bases["gguf"]).output


def test_what_is_there_is_kept_and_replaced_with_force(bases: dict[str, Path], peft: Path) -> None:
    base = bases["gguf"]  # on which mlx-lm computes nothing
    assert convert(peft, "mlx", "--base", base).exit_code == 0
    config = peft.with_name("peft-MLX") / "adapter_config.json"
    config.write_text("{}")
    done = convert(peft, "mlx", "--base", base)
    assert done.exit_code == 1 and "--force" in done.output and config.read_text() == "{}"
    assert convert(peft, "mlx", "--base", base, "--force").exit_code == 0
    assert json.loads(config.read_text())["lora_parameters"]["keys"] == [
        "mlp.down_proj",
        "self_attn.k_proj",
        "self_attn.q_proj",
    ]


def test_one_of_its_own_kind_and_one_of_another_model(bases: dict[str, Path], peft: Path, tmp_path: Path) -> None:
    folder = write_mlx(tmp_path / "mlx", products(SHAPES))
    assert "already is of this kind" in convert(folder, "mlx", "--base", bases["hf"]).output
    other = write_family(tmp_path / "other.gguf", "qwen3")
    done = convert(write_peft(tmp_path / "wide", products({DOWN: (WIDTH, 2 * WIDTH + 1)})), "gguf", "--base", other)
    assert done.exit_code == 1 and "is for another model: it changes model.layers.1.mlp.down_proj" in done.output
    assert convert(peft, "gguf", "--base", bases["gguf"], "-o", tmp_path / "lora.gguf").exit_code == 0
    done = convert(tmp_path / "lora.gguf", "mlx", "--base", other)
    assert done.exit_code == 1 and "is for the architecture 'llama'" in done.output


def test_a_model_whose_embedding_is_its_output(tmp_path: Path) -> None:
    """llama.cpp would end with the process, and mlx-lm would change the output, which PEFT does not."""
    file = write_family(tmp_path / "tied.gguf", "llama, tied, biased")
    vocabulary = adapter_base.of(file).shapes["model.embed_tokens.weight"][0]
    folder = write_peft(tmp_path / "peft", products({"model.embed_tokens": (vocabulary, WIDTH)}))
    for to in ("gguf", "mlx"):
        done = convert(folder, to, "--base", file)
        assert done.exit_code == 1 and "no output matrix of its own" in done.output


def test_layers_that_a_gguf_holds_otherwise(tmp_path: Path) -> None:
    base = adapter_base.Base(tmp_path, layer_tensors.header_of(tmp_path, {"model_type": "qwen3_5"}), {})
    change = LowRank(np.ones((1, 4), np.float32), np.ones((4, 1), np.float32), 1.0)
    for name in ("linear_attn.out_proj", "linear_attn.in_proj_z"):
        adapter = Adapter(tmp_path, "peft", {f"model.layers.0.{name}": change})
        with pytest.raises(adapters.AdapterError, match="hold it otherwise than the original"):
            gguf_adapter.write(adapter, base.need_header(), tmp_path / "made.gguf")
        with pytest.raises(adapters.AdapterError, match="hold it otherwise than the original"):
            adapters.for_mlx(adapter, base)
