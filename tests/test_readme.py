"""The README's examples, and commands of other pages, run as they stand but for addresses and paths."""

import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import httpx
import pytest
from hub import Repo
from hub import running as hub_running
from lora_files import products, write_peft
from PIL import Image
from projectors import SIDE, write_oracle
from running import CEILING, RunningServer, server_process
from tiny_models import WIDTH

from nitro.__main__ import main as entry
from nitro.cli.main import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(TEXT)
HOST = "http://localhost:3928"


def blocks(language: str, word: str, page: str = "") -> list[str]:
    """Of the README, or of another page in docs."""
    found = BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8")) if page else BLOCKS
    return [code for name, code in found if name == language and word in code]


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_known() -> None:
    """A new kind of block needs a test here."""
    known = [
        *blocks("sh", "make serve"),
        *blocks("sh", "curl "),
        *blocks("sh", "activate"),
        *blocks("python", "OpenAI"),
        *blocks("sh", "nitro pull"),
    ]
    assert sorted(known) == sorted(code for _, code in BLOCKS)


def test_the_targets_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(
        r"\bmake ([a-z-]+)", "\n".join(code for _, code in BLOCKS) + " ".join(re.findall("`[^`]+`", TEXT))
    )
    assert named and set(named) <= targets


def test_curl(fake_server: RunningServer, tmp_path: Path) -> None:
    (code,) = blocks("sh", "curl ")
    assert '"content":"' in run(["sh", "-c", code.replace(HOST, fake_server.url)], tmp_path).replace('": "', '":"')


def test_a_picture(model: Path, tmp_path: Path) -> None:
    """With a tiny model that sees: a picture that is too long for a command line."""
    tokens = (301, 302, 303, 304, 305)
    projector = write_oracle(model, tmp_path / "mmproj.gguf", tokens)
    size = 512
    noise = Image.frombytes("RGB", (size, size), random.Random(0).randbytes(3 * size**2))
    noise.save(tmp_path / "photo.png")
    assert (tmp_path / "photo.png").stat().st_size > 2**17
    (served,) = blocks("sh", "--mmproj", "media.md")
    (asking,) = blocks("sh", "photo.png", "media.md")
    command = shlex.split(served.replace("gemma-3-4b-it-Q4_K_M.gguf", str(model)))
    assert command[:3] == ["nitro", "serve", str(model)] and command[4] == "mmproj-F16.gguf"
    with server_process(str(model), command[3], str(projector), "--ctx", "256") as server:
        told = json.loads(run(["sh", "-c", asking.replace(HOST, server.wait_ready())], tmp_path))
    assert told["usage"]["prompt_tokens_details"]["image_tokens"] == SIDE**2 and told["choices"]


def test_adapters(model: Path, tmp_path: Path) -> None:
    """Both commands, for a tiny model; the converted adapter is served, too."""
    (code,) = blocks("sh", "--lora", "adapters.md")
    shutil.copy(model, tmp_path / "qwen3-4b.gguf")
    write_peft(tmp_path / "poet", products({"model.layers.0.self_attn.q_proj": (WIDTH, WIDTH)}))
    lines = [line.partition("#")[0].replace("~/", f"{tmp_path}/") for line in code.splitlines()]
    serve, convert = map(shlex.split, lines)
    assert (serve[:2], convert[:2]) == (["nitro", "serve"], ["nitro", "convert"])
    run([sys.executable, "-m", "nitro", *convert[1:], "--positions", "64"], tmp_path)
    (tmp_path / "poet.gguf").rename(tmp_path / "lawyer.gguf")
    with server_process(*serve[2:], cwd=tmp_path) as server:
        told = httpx.get(f"{server.wait_ready()}/v1/models").json()["data"]
    assert {each["id"] for each in told} == {"qwen3-4b", "poet", "lawyer"}


def test_the_sdk(fake_server: RunningServer, tmp_path: Path) -> None:
    """It ends: a small model need not."""
    (code,) = blocks("python", "OpenAI")
    assert f"{HOST}/v1" in code and re.search(r"max_tokens=\d+", code)
    assert run([sys.executable, "-c", code.replace(HOST, fake_server.url)], tmp_path)


def test_the_program_is_found_as_it_says(tmp_path: Path) -> None:
    """With the environment of these tests in place of the one that `make install` makes."""
    if not shutil.which("nitro", path=str(Path(sys.prefix) / "bin")):
        pytest.skip("Nitro is not installed here")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (code,) = blocks("sh", "activate")
    *before, command = code.splitlines()
    assert command == "nitro --help"
    found = run(["sh", "-ec", "\n".join([*before, "command -v nitro"])], tmp_path)
    assert Path(found.strip()).samefile(Path(sys.prefix) / "bin" / "nitro")


def test_the_program_is_the_command() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    (target,) = (EntryPoint("nitro", value, "").load() for value in scripts.values())
    assert [*scripts] == ["nitro"] and target is entry


def test_many_models(tmp_path: Path, model: Path) -> None:
    """Its commands but those that stay, with a hub of our own; `git diff` is a text here."""
    (code,) = blocks("sh", "nitro pull")
    lines = [line.partition("#")[0].strip() for line in code.splitlines()]
    assert {line.split("nitro ")[1].split()[0] for line in lines} <= set(main.commands)
    nitro = f"{sys.executable} -m nitro"
    with hub_running() as hub:
        hub.repos["bartowski/Qwen3-0.6B-GGUF"] = Repo({"Qwen3-0.6B-Q8_0.gguf": model.read_bytes()})
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "NITRO_DATA": str(tmp_path / "data")}
        env = {**os.environ, **own, "NITRO_STORES": "hub"}

        def say(line: str) -> str:
            command = ["sh", "-c", line.replace("git diff", "echo changed").replace("nitro ", f"{nitro} ")]
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=CEILING)
            assert done.returncode == 0, done.stderr
            return done.stdout

        pull, listing, *_, asking = lines
        assert "is here" in say(pull)
        assert "Qwen3-0.6B-GGUF" in say(listing)
        assert say(asking.replace("nitro run", "nitro run --max-tokens 4"))
