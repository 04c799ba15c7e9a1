"""Models whose files are damaged, or no files at all: each is served, or refused in one sentence. By hand and with
commands as a user gives them, `make soak` tries hundreds."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import httpx
import pytest
from click.testing import CliRunner
from running import CEILING, RunningServer, server_process
from tiny_models import write_folder, write_gguf

from nitro.cli.main import main
from nitro.config import ServeConfig
from nitro.engines.client.spawn import ENVIRONMENT
from nitro.engines.runner import LoadError
from nitro.errors import ConvertError, StartError
from nitro.gguf import header
from nitro.gguf.header import UnreadableGGUF
from nitro.models import conversion_report
from soak import damaged, damaged_files, damaged_folders, gguf_parts
from soak.gguf_parts import STRING, UINT32, Gguf, take_apart, value

TRY = Path(__file__).with_name("try_damaged.py")


# One of each kind


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_files(engine: str, tmp_path: Path) -> None:
    list(damaged.gguf_files(1, len(damaged_files.DAMAGES), tmp_path))
    check(engine, tmp_path)


def test_folders(tmp_path: Path) -> None:
    for folder in damaged.folders(1, len(damaged_folders.DAMAGES), tmp_path):
        if "no-file" in folder.name:  # that are refused before an engine is asked
            subprocess.run(["rm", "-r", folder], check=True)
    check("mlx", tmp_path)


def check(engine: str, folder: Path) -> None:
    """A library may abort, which llama.cpp does on a wrong vocabulary; that ends its process, and is told so."""
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run([sys.executable, TRY, engine, folder], capture_output=True, text=True, env=environment)
    tried = list(map(json.loads, done.stdout.splitlines()))
    assert done.returncode == 0 and len(tried) == len(list(folder.iterdir())), done.stderr
    for one in tried:
        assert one["ended"] in ((0, -signal.SIGABRT) if engine == "llama" else (0,)), (one, done.stderr)
        assert one["megabytes"] < 1000, one
        assert one["refusal"] is None or 20 < len(one["refusal"]) <= 600, one
    assert sum(one["refusal"] is not None for one in tried) > len(tried) / 2


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    def made(name: str, seed: int) -> list[str]:
        paths = [*damaged.gguf_files(seed, 5, tmp_path / name), *damaged.folders(seed, 3, tmp_path / name)]
        files = [path if path.is_file() else path / "tokenizer.json" for path in paths]
        return [hashlib.sha256(file.read_bytes() if file.is_file() else b"").hexdigest() for file in files]

    assert made("a", 1) == made("b", 1) != made("c", 2)


# A GGUF's header


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("whole") / "whole.gguf").read_bytes()


def with_alignment(content: bytes) -> Callable[[Gguf], None]:
    return lambda gguf: gguf.pairs.update({b"general.alignment": content})


CHANGES: dict[str, Callable[[Gguf], object]] = {
    "its alignment is 0, which is no power of 2": with_alignment(value(UINT32, 0)),
    "its alignment is 48, which is no power of 2": with_alignment(value(UINT32, 48)),
    "its alignment is '32', which is no power of 2": with_alignment(value(STRING, b"32")),
    "a tensor occurs twice": lambda gguf: gguf.tensors.append(gguf.tensors[0]),
    "tensor output.weight has 0 dimensions": lambda gguf: setattr(tensor(gguf), "shape", []),
    "tensor output.weight has 5 dimensions": lambda gguf: setattr(tensor(gguf), "shape", [1] * 5),
    "tensor output.weight has rows of 3, which is no multiple of 32": lambda gguf: (
        setattr(tensor(gguf), "type", 8),
        setattr(tensor(gguf), "shape", [3, 3]),
    ),
    "it has a list of 16777217 values": lambda gguf: gguf.pairs.update(
        {b"long": gguf_parts.texts()[:8] + (2**24 + 1).to_bytes(8, "little")}
    ),
    "its lists are nested too deeply": lambda gguf: gguf.pairs.update(
        {b"deep": b"\x09\0\0\0" + (b"\x09\0\0\0" + (1).to_bytes(8, "little")) * 5000}
    ),
    "it ends within its header": lambda gguf: gguf.pairs.update(
        {b"long": value(STRING, b"")[:4] + (2**40).to_bytes(8, "little")}
    ),
}


def tensor(gguf: Gguf) -> gguf_parts.Tensor:
    return next(each for each in gguf.tensors if each.name == b"output.weight")


@pytest.mark.parametrize("says", CHANGES)
def test_what_a_header_may_not_say(whole: bytes, says: str, tmp_path: Path) -> None:
    gguf = take_apart(whole)
    CHANGES[says](gguf)
    (tmp_path / "damaged.gguf").write_bytes(gguf.whole())
    for deep in (True, False):
        with pytest.raises(UnreadableGGUF) as refusal:
            header.read(tmp_path / "damaged.gguf", deep)
        assert str(refusal.value).endswith(f"damaged.gguf is not a GGUF file, or is damaged ({says}).")


# As a user meets them


def refused(*arguments: object) -> str:
    """What `nitro serve` says last, having ended with status 1."""
    with server_process(*map(str, arguments)) as server:
        _, said = server.process.communicate(timeout=CEILING)
        assert server.process.returncode == 1 and "Traceback" not in said, said
    return said.splitlines()[-1].removeprefix("nitro: ")


def convert_refused(source: Path, to: str) -> str:
    done = CliRunner().invoke(main, ["convert", str(source), "--to", to, "-o", str(source.with_name("made"))])
    assert done.exit_code == 1 and len(done.output.splitlines()) == 1, done.output
    return done.output.removeprefix("nitro: ").strip()


def test_a_truncated_file_is_told_alike(whole: bytes, tmp_path: Path) -> None:
    file = tmp_path / "cut.gguf"
    file.write_bytes(whole[:-100])
    sentence = f"{file} is not a GGUF file, or is damaged (it ends before its weights do)."
    assert refused(file, "--engine", "llama") == convert_refused(file, "mlx") == sentence


def test_the_first_thing_that_llama_cpp_stumbled_over_is_told(whole: bytes, tmp_path: Path) -> None:
    gguf = take_apart(whole)
    del gguf.pairs[b"llama.embedding_length"]
    (tmp_path / "less.gguf").write_bytes(gguf.whole())
    assert "key not found in model: llama.embedding_length" in refused(tmp_path / "less.gguf", "--engine", "llama")


def test_a_template_that_is_no_utf8_is_left_out(whole: bytes, tmp_path: Path) -> None:
    gguf = take_apart(whole)
    gguf.pairs[b"tokenizer.chat_template"] = value(STRING, b"{{ messages }}\xff")
    (tmp_path / "odd.gguf").write_bytes(gguf.whole())
    config = ServeConfig(engine="llama", model=str(tmp_path / "odd.gguf"), port=0, context=64, parallel=1)
    with RunningServer(config) as server:
        server.ready()
        asked = httpx.post(f"{server.url}/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]})
        assert asked.status_code == 400 and "has no chat template" in asked.text
        asked = httpx.post(f"{server.url}/v1/completions", json={"prompt": "Once", "max_tokens": 2})
        assert asked.status_code == 200


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_weights_that_are_no_numbers(engine: str, whole: bytes, tmp_path: Path) -> None:
    gguf = take_apart(whole)
    gguf.data = b"\xff" * len(gguf.data)
    file = tmp_path / "nan.gguf"
    file.write_bytes(gguf.whole())
    assert refused(file, "--engine", engine) == f"{file} computes what is no number: its weights are damaged."


def test_more_layers_than_weights(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", "plain")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
    assert "num_hidden_layers is 1000000000, and the weights are 21 arrays" in refused(folder, "--engine", "mlx")


# What is no file


@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a device"])
def test_what_would_be_waited_for(kind: str, tmp_path: Path) -> None:
    """Named itself, or as one of the files in a folder; at once, and before an engine is asked."""
    folder = write_folder(tmp_path / "model", "plain")
    model = special(tmp_path / "model.gguf", kind)
    assert refused(model) == convert_refused(model, "mlx") == f"{model} is {kind}, and no file."
    for name in ("config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "model-2.safetensors"):
        file = folder / name
        kept = file.read_bytes() if file.exists() else None
        file.unlink(missing_ok=True)
        special(file, kind)
        assert refused(folder) == convert_refused(folder, "hf") == f"{file} is {kind}, and no file."
        file.unlink()
        if kept is not None:
            file.write_bytes(kept)


def special(file: Path, kind: str) -> Path:
    if kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a device":
        file.symlink_to("/dev/zero")
    else:
        here = os.open(file.parent, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{here}/{file.name}")  # whose own path may be too long
        os.close(here)
    return file


def test_a_text_file_of_any_length(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", "plain")
    os.truncate(folder / "tokenizer.json", 2**40)  # no byte of it takes room
    assert refused(folder) == f"{folder / 'tokenizer.json'} has {2**40} bytes, which no such file of a model has."


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert refused(tmp_path / "loop") == f"{tmp_path / 'loop'}: no such file."
    assert convert_refused(tmp_path / "loop", "mlx") == f"{tmp_path / 'loop'}: no such file or folder."


ODD = {
    "names 3, which is not a file beside it": {"weight_map": {"a": 3}},
    "names '../a.safetensors', which is not a file beside it": {"weight_map": {"a": "../a.safetensors"}},
    "names {}, which is not a file beside it": {"weight_map": {"a": {}}},
}


@pytest.mark.parametrize("says", ODD)
def test_an_index_that_names_no_file(says: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", "plain")
    (folder / "model.safetensors.index.json").write_text(json.dumps(ODD[says]))
    assert says in convert_refused(folder, "hf")


def test_what_conversion_stumbles_over(tmp_path: Path) -> None:
    """Something that nobody thought of."""
    folder, text = write_folder(tmp_path / "model", "plain"), b"[" * 10**5
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    refusal = convert_refused(folder, "hf")
    assert "model.safetensors is not a safetensors file, or is damaged (maximum recursion depth" in refusal
    (folder / "model.safetensors").unlink()
    (folder / "config.json").write_bytes(text)
    assert "maximum recursion depth" in convert_refused(folder, "hf")


@pytest.mark.parametrize("content", [b"{", b"[" * 10**5, b"[]", b'{"a": "\xff"}', b"{}" + b" " * 2**20])
def test_a_proof_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "nitro-proof.json").write_bytes(content)
    assert conversion_report.read(tmp_path) is None
    (tmp_path / "nitro-proof.json").unlink()
    os.mkfifo(tmp_path / "nitro-proof.json")
    assert conversion_report.read(tmp_path) is None


# Sentences


@pytest.mark.parametrize("kind", [StartError, ConvertError, LoadError])
def test_a_sentence_is_one_line_whatever_stands_in_it(kind: type[Exception]) -> None:
    """A file's own words may."""
    said = str(kind("the type \x1b[31m'a\nb\udcff'\r\n is " + "x" * 10**6))
    assert said.startswith("the type \ufffd[31m'a b\ufffd' is xxx") and len(said) <= 600 and said.endswith("x")
    said.encode()


def test_no_backtrace_is_made_of_an_abort() -> None:
    assert ENVIRONMENT["GGML_NO_BACKTRACE"] == "1"


def test_every_damage_changes_the_file(whole: bytes) -> None:
    """But for some that may draw what was there."""
    for name, damage in damaged_files.DAMAGES.items():
        made = [damage(take_apart(whole), Random(seed)) for seed in range(6)]
        assert any(content != whole for content in made), name
    assert take_apart(whole).whole() == whole
