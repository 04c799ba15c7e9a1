"""What can be known to fail fails before a weight is read, with one sentence that says what to do."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiny_models import write_folder, write_gguf

from nitro.cli.main import main
from nitro.convert import checkpoint, environments, llama_cpp_converter, preflight, routes, verify
from nitro.convert.plan import ConversionPlan, default_target
from nitro.errors import ConvertError

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 96}
TOKENIZER = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}


def safetensors(arrays: dict[str, np.ndarray], about: dict[str, str] | None = None) -> bytes:
    head, data = {"__metadata__": about or {"format": "pt"}}, b""
    for name, array in arrays.items():
        span = [len(data), len(data) + array.nbytes]
        head[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": span}
        data += array.tobytes()
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


WEIGHTS = {"model.embed_tokens.weight": np.zeros((4, 96), np.float32), "model.norm.weight": np.ones(96, np.float32)}


@pytest.fixture
def hf(tmp_path: Path) -> Path:
    folder = tmp_path / "original"
    folder.mkdir()
    write(folder / "config.json", CONFIG)
    write(folder / "tokenizer.json", TOKENIZER)
    (folder / "model.safetensors").write_bytes(safetensors(WEIGHTS))
    return folder


@pytest.fixture
def no_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but headers is looked at."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a backend was asked")

    monkeypatch.setattr(environments, "run", refuse)
    monkeypatch.setattr(llama_cpp_converter, "folder", refuse)


def write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))


def check(source: Path, to: str, **options: Any) -> None:
    target = options.pop("target", None) or default_target(source, to, options.get("type"), options.get("bits"))
    preflight.check(ConversionPlan(checkpoint.read(source), to, target, **options), lambda line: None)


def shorter(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def index(*shards: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        write(folder / checkpoint.INDEX, {"weight_map": {f"t{i}": shard for i, shard in enumerate(shards)}})

    return do


def rename(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.safetensors").rename(folder / name)


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: write(folder / "config.json", {**CONFIG, **changes})


def content(name: str, text: str | None) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink() if text is None else (folder / name).write_text(text)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a truncated shard": (shorter, r"model.safetensors has \d+ bytes and should have \d+; download it again"),
    "a header that is none": (content("model.safetensors", "<html>"), "is not a safetensors file"),
    "an empty shard": (content("model.safetensors", ""), "is not a safetensors file"),
    "a missing shard": (index("model.safetensors", "model-2.safetensors"), "lacks model-2.safetensors, which"),
    "a tensor that no shard holds": (index("model.safetensors"), "names the tensor t0, which no shard holds"),
    "one shard of three": (rename("model-00001-of-00003.safetensors"), "holds 1 of 3 shards"),
    "no weights": (content("model.safetensors", None), "has no .*safetensors"),
    "weights that run code": (rename("pytorch_model.bin"), "pytorch_model.bin is not read"),
    "no configuration": (content("config.json", None), "without config.json"),
    "a configuration that is no JSON": (content("config.json", "{"), "config.json is not JSON"),
    "no tokenizer": (content("tokenizer.json", None), "has no tokenizer: none of tokenizer.json"),
    "a damaged tokenizer": (content("tokenizer.json", "{}"), "tokenizer.json is not a tokenizer"),
    "an unknown tokenizer": (content("tokenizer.json", '{"model": {"type": "Odd"}}'), "unknown kind 'Odd'"),
    "quantised before": (config(quantization_config={"quant_method": "awq", "bits": 4}), r"already quantised \(awq\)"),
}


@pytest.mark.usefixtures("no_backend")
@pytest.mark.parametrize("to", ["mlx", "gguf"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder(hf: Path, case: str, to: str) -> None:
    damage, says = BROKEN[case]
    damage(hf)
    with pytest.raises(ConvertError, match=says):
        check(hf, to)


@pytest.mark.usefixtures("no_backend")
def test_what_mlx_lm_would_convert_wrongly(hf: Path) -> None:
    """By way of a GGUF it is right: llama.cpp's converter follows these settings."""
    config(model_type="falcon_h1", key_multiplier=0.5)(hf)
    with pytest.raises(ConvertError, match=r"cannot be converted by mlx-lm: key_multiplier is 0\.5, .* --to gguf\.$"):
        check(hf, "mlx")
    for to, options in (("gguf", {}), ("mlx", {"type": "Q4_K_M"})):
        with pytest.raises(AssertionError, match="a backend was asked"):
            check(hf, to, **options)


@pytest.mark.usefixtures("no_backend")
def test_a_group_size_that_does_not_divide(hf: Path) -> None:
    with pytest.raises(
        ConvertError, match=r"64 does not divide the 96 columns of model.embed_tokens.weight; use --group"
    ):
        check(hf, "mlx", bits=4)
    with pytest.raises(AssertionError, match="a backend was asked"):
        check(hf, "mlx", bits=4, group_size=32)


@pytest.mark.usefixtures("no_backend")
def test_too_little_disk(hf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10**6}))
    with pytest.raises(ConvertError, match=r"About 0.1 GB are needed in .* but only 0.0 GB are free"):
        check(hf, "gguf", type="Q4_K_M")


OPTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "bits of a GGUF": ("gguf", {"bits": 4}, "use --type for a GGUF"),
    "a type for MLX": ("mlx", {"type": "Q8_0"}, "use --bits"),
    "a group size alone": ("mlx", {"group_size": 32}, "add --bits"),
    "no such matrix": ("gguf", {"type": "Q4_K_M", "imatrix": Path("/no/such")}, "no such file"),
    "a type that needs a matrix": ("gguf", {"type": "IQ2_XXS"}, "needs an importance matrix"),
    "an unknown type": ("gguf", {"type": "Q9"}, "Q9 is not a supported .* supported are: F32, F16, .*Q4_K_M"),
    "bits beside a recipe": ("mlx", {"bits": 4, "recipe": "mixed_4_6"}, "leave out --bits"),
    "the same kind": ("hf", {}, "already is of this kind"),
}


@pytest.mark.usefixtures("no_backend")
@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_say_nothing(hf: Path, case: str) -> None:
    to, options, says = OPTIONS[case]
    with pytest.raises(ConvertError, match=says):
        check(hf, to, **options)


@pytest.mark.usefixtures("no_backend")
def test_a_target_that_is_the_source_or_exists(hf: Path) -> None:
    with pytest.raises(ConvertError, match="is the source itself"):
        check(hf, "mlx", target=hf, force=True)
    (hf.parent / "there").mkdir()
    with pytest.raises(ConvertError, match="exists"):
        check(hf, "mlx", target=hf.parent / "there")
    with pytest.raises(ConvertError, match="is not a folder"):
        check(hf, "mlx", target=hf / "no" / "such")


def test_an_architecture_that_mlx_does_not_know(hf: Path) -> None:
    config(model_type="brandnew")(hf)
    with pytest.raises(ConvertError, match=r"has the architecture 'brandnew', which mlx-lm \d.* does not support"):
        check(hf, "mlx")


def test_an_architecture_that_the_converter_does_not_know(hf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = hf.parent / "converter" / "conversion"
    known.mkdir(parents=True)
    (known / "__init__.py").write_text('TEXT_MODEL_MAP: dict[str, str] = {"LlamaForCausalLM": "llama"}')
    monkeypatch.setattr(llama_cpp_converter, "folder", lambda say: known.parent)
    asked: list[Path] = []
    monkeypatch.setattr(preflight, "check_vocabulary", lambda folder, converter, say: asked.append(folder))
    check(hf, "gguf")
    assert asked == [hf]
    config(architectures=["BrandNew"])(hf)
    with pytest.raises(
        ConvertError, match=r"'BrandNew', which the converter of llama-cpp-python \d.* does not support"
    ):
        check(hf, "gguf")


def test_a_gguf_of_an_unknown_architecture_or_tokenizer(tmp_path: Path) -> None:
    odd = write_gguf(tmp_path / "odd.gguf", pre="brandnew")
    with pytest.raises(ConvertError, match="pre-tokenizer 'brandnew'"):
        check(odd, "mlx")
    data = write_gguf(tmp_path / "new.gguf").read_bytes().replace(b"llama", b"lmmla")
    (tmp_path / "new.gguf").write_bytes(data)
    with pytest.raises(ConvertError, match="'lmmla'"):
        check(tmp_path / "new.gguf", "mlx")


def test_a_gguf_that_is_quantised_or_damaged(tmp_path: Path, smollm: Path) -> None:
    with pytest.raises(ConvertError, match=r"already quantised \(mostly Q4_1\)"):
        check(smollm, "gguf", type="Q8_0", target=tmp_path / "x.gguf")
    with pytest.raises(ConvertError, match="already is a GGUF file; --type"):
        check(smollm, "gguf", target=tmp_path / "x.gguf")
    short = tmp_path / "short.gguf"
    short.write_bytes(smollm.read_bytes()[:-1000])
    with pytest.raises(ConvertError, match="it ends before its weights do"):
        checkpoint.read(short)
    with pytest.raises(ConvertError, match="no such file or folder"):
        checkpoint.read(tmp_path / "none")


def test_kinds_and_types_are_told_apart(tmp_path: Path, hf: Path, smollm: Path) -> None:
    assert [(each.kind, each.type) for each in map(checkpoint.read, (hf, smollm))] == [("hf", "F32"), ("gguf", "Q4_1")]
    mlx = checkpoint.read(write_folder(tmp_path / "mlx", "plain"))
    assert (mlx.kind, mlx.architecture) == ("hf", "llama"), "a folder that mlx-lm did not save"
    (hf / "model.safetensors").write_bytes(safetensors(WEIGHTS, {"format": "mlx"}))
    assert checkpoint.read(hf).kind == "mlx"
    assert checkpoint.read(hf).parameters == 4 * 96 + 96


# The command


def nitro(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("case", ["a truncated shard", "a missing shard"])
def test_a_failure_is_one_line_and_leaves_nothing(hf: Path, case: str) -> None:
    damage, says = BROKEN[case]
    damage(hf)
    for command in (("convert", hf, "--to", "mlx"), ("verify", hf, hf)):
        done = nitro(*command)
        assert (done.exit_code, done.stdout) == (1, "")
        assert re.match(rf"nitro: .*{says}", done.stderr) and done.stderr.count("\n") == 1
    assert [path.name for path in hf.parent.iterdir()] == ["original"]


def test_a_gguf_is_quantised_and_proven(tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "tiny.gguf")
    done = nitro("convert", source, "--to", "gguf", "--type", "q8_0", "--positions", 64)
    assert done.exit_code == 0, done.output
    made = tmp_path / "tiny-Q8_0.gguf"
    assert checkpoint.read(made).type == "Q8_0"
    proof = json.loads((tmp_path / "tiny-Q8_0.gguf.proof.json").read_text())
    assert proof["passed"] and proof["token_ids"] == "200 of 200" and proof["chat_template"] == "equal"
    assert proof["fingerprint"] == verify.fingerprint_of(made)
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.gguf", made.name, made.name + ".proof.json"}


def test_a_proof_that_fails_is_a_conversion_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step makes another model of the same shape."""
    source = write_gguf(tmp_path / "tiny.gguf")

    def other(plan: ConversionPlan, source: Path, target: Path, bar: Any) -> list[str]:
        write_gguf(target, seed=1)
        return []

    monkeypatch.setitem(routes.STEPS, ("gguf", "gguf"), [("wrong", other)])
    done = nitro("convert", source, "--to", "gguf", "--type", "F32", "--positions", 64)
    assert done.exit_code == 1
    assert "not the same model and was removed: 16 of 16 matrices differ" in done.stderr
    assert "mean KL divergence" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]
