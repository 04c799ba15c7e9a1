"""A model that is split into several GGUF files: served by both engines, converted and compared by its first."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from running import RunningServer
from tiny_families import FAMILIES, tensors, write_family

from nitro.cli.main import main
from nitro.convert import checkpoint, verify
from nitro.convert.plan import default_target
from nitro.engines.types import GenerationParams, SamplingParams
from nitro.engines.work import encode_work
from nitro.gguf import split_files


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(tmp_path_factory.mktemp("model") / "whole.gguf", "llama")


@pytest.fixture(scope="module")
def first(whole: Path) -> Path:
    names = list(tensors(FAMILIES["llama"]))
    for number, kept in ((1, names[:5]), (2, names[5:])):
        part = whole.with_name(f"tiny-{number:05}-of-00002.gguf")
        write_family(part, "llama", kept=kept, split=(number, 2, len(names)))
    return whole.with_name("tiny-00001-of-00002.gguf")


def nitro(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("engine", ["llama", "mlx"])
def test_it_is_served(engine: str, whole: Path, first: Path, serve: Callable[..., RunningServer]) -> None:
    async def answer() -> list[int]:
        bursts = await server.engine.generate(
            encode_work(["Once upon a time"], GenerationParams(SamplingParams(temperature=0), 8))
        )
        return [token async for burst in bursts for _, output in burst for token in output.tokens]

    answers = []
    for model in (whole, first):
        server = serve(engine=engine, model=str(model), context=64, parallel=1).ready()
        answers.append(server.run(answer()))
    assert len(answers[0]) > 1 and answers[0] == answers[1]
    assert server.run(server.engine.ready()).fingerprint == verify.fingerprint_of(first)


@pytest.mark.parametrize("to", [("mlx",), ("gguf", "--type", "F32")], ids=["mlx", "gguf"])
def test_it_is_converted(to: tuple[str, ...], first: Path, tmp_path: Path) -> None:
    target = tmp_path / "made"
    done = nitro("convert", first, "--to", *to, "-o", target, "--positions", 64)
    assert done.exit_code == 0, done.output
    assert checkpoint.read(target).parameters == checkpoint.read(first).parameters
    assert default_target(first, "mlx", None, 4).name == "tiny-MLX-4bit"


def test_it_is_compared(whole: Path, first: Path) -> None:
    done = nitro("verify", whole, first, "--positions", 64)
    assert done.exit_code == 0, done.output
    assert json.loads(first.with_name(first.name + ".proof.json").read_text())["matrices"] == 30
    done = nitro("verify", whole, split_files.files(first)[1])
    assert done.exit_code == 1 and "use the first, which ends in -00001-of-00002.gguf." in done.stderr


def test_a_change_in_any_file_is_another_model(first: Path, tmp_path: Path) -> None:
    copies = [tmp_path / file.name for file in split_files.files(first)]
    for file, copy in zip(split_files.files(first), copies, strict=True):
        copy.write_bytes(file.read_bytes())
    assert verify.fingerprint_of(copies[0]) == verify.fingerprint_of(first)
    copies[1].write_bytes(copies[1].read_bytes() + b"x")
    assert verify.fingerprint_of(copies[0]) != verify.fingerprint_of(first)


def test_names_are_taken_apart_and_put_together() -> None:
    assert split_files.parse("a-00002-of-00012.gguf") == split_files.SplitName("a", 2, 12)
    assert split_files.part_name("a", 2, 12) == "a-00002-of-00012.gguf"
    for name in ("a.gguf", "a-2-of-3.gguf", "a-00002-of-00012", "a-00002-of-00012.bin", "a-00002-of-00012.gguf.part"):
        assert split_files.parse(name) is None
    assert [split_files.model_name(name) for name in ("a-00001-of-00003.gguf", "a.gguf", "a")] == ["a", "a", "a"]


def test_the_others_are_found_from_the_first_alone() -> None:
    names = [file.name for file in split_files.files(Path("folder/a-00001-of-00003.gguf"))]
    assert names == [f"a-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    for single in (Path("a-00002-of-00003.gguf"), Path("a.gguf")):
        assert split_files.files(single) == [single]
