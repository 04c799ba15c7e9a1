"""A GGUF and the file of its tower on MLX: what transformers computes with the folder that both were made of."""

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
import seeing_gguf
import tiny_vision
from msgspec.structs import replace
from seers import CLOSE, GREEDY, Seer
from tiny_adapters import write_adapter

from nitro.engines.adapters import AdapterSource
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.runner import CannotOpen, Chunk, LoadError
from nitro.engines.types import EngineSpec

RECORD = tiny_vision.record()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return seeing_gguf.write(tmp_path_factory.mktemp("seeing"))


@pytest.fixture
def seer(files: tuple[Path, Path]) -> Iterator[Seer]:
    runner = Seer(files[0], projector=str(files[1]))
    yield runner
    runner.media_thread.shutdown()
    runner.close()


def test_logits_are_those_of_transformers(seer: Seer) -> None:
    assert seer.info.media and seer.info.media.image
    for case, recorded in zip(tiny_vision.CASES, RECORD["gemma3"]["cases"], strict=True):
        tokens = seer.read(case)
        assert len(tokens) == len(recorded["ids"])
        for steps in ([len(tokens)], [len(tokens) // 2, len(tokens) - len(tokens) // 2]):
            assert np.abs(seer.logits(tokens, steps)[-1] - recorded["logits"]).max() < CLOSE


def test_an_adapter_of_its_text(files: tuple[Path, Path], tmp_path: Path, seer: Seer) -> None:
    adapter = write_adapter(tmp_path / "lora.gguf", files[0], size=0.2)
    info = seer.load_adapter(AdapterSource(7, "a", str(adapter)))
    assert info.rank == 4
    tokens = seer.read(tiny_vision.CASES[0])
    chunk = Chunk(0, 0, tokens, 0, len(tokens), GREEDY, media=seer.runs)
    plain, adapted = (
        np.array(seer._adapters.read(replace(chunk, adapters=set), 0, len(tokens), seer._model.network.make_cache()))
        for set in ((), ((7, 1.0),))
    )
    assert np.abs(plain[-1] - RECORD["gemma3"]["cases"][0]["logits"]).max() < CLOSE
    assert np.abs(adapted - plain).max() > 1


def test_it_may_be_left_out(files: tuple[Path, Path]) -> None:
    runner = Seer(files[0], projector=str(files[1]), mmproj="off")
    assert runner.media is None and runner.info.media is None
    tokens = runner.read(tiny_vision.CASES[2])
    assert np.abs(runner.logits(tokens, [len(tokens)])[0] - RECORD["gemma3"]["cases"][2]["logits"]).max() < CLOSE
    runner.media_thread.shutdown()
    runner.close()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"clip__projector_type": "pixtral"}, "is a projector of the kind 'pixtral'; supported is gemma3"),
        ({"clip__vision__projection_dim": 65}, "is no projector of tiny.gguf"),
        ({"clip__use_gelu": False}, "clip.use_gelu is not set"),
    ],
)
def test_another_tower(files: tuple[Path, Path], tmp_path: Path, changed: dict[str, object], why: str) -> None:
    """One that was found is left out, and a request is told why; one that was named ends the start."""
    _, other = seeing_gguf.write(tmp_path, **changed)
    runner = MlxRunner(EngineSpec("mlx", str(files[0]), context=64, parallel=1, projector=str(other)))
    assert runner.media is None and runner.info.media and why in str(runner.info.media.why_not)
    runner.close()
    with pytest.raises(CannotOpen, match="--engine llama"):
        MlxRunner(EngineSpec("mlx", str(files[0]), context=64, parallel=1, mmproj=str(other)))


def test_what_is_no_tower(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="its architecture is 'gemma3'"):
        MlxRunner(EngineSpec("mlx", str(files[0]), context=64, parallel=1, mmproj=str(files[0])))
    with pytest.raises(CannotOpen, match=r"gone\.gguf cannot be read"):
        MlxRunner(EngineSpec("mlx", str(files[0]), context=64, parallel=1, mmproj=str(tmp_path / "gone.gguf")))
    folder = tiny_vision.write(tmp_path / "folder", "gemma3")
    with pytest.raises(LoadError, match="--mmproj is for GGUF files"):
        MlxRunner(EngineSpec("mlx", str(folder), context=64, parallel=1, mmproj=str(files[1])))


def test_older_names_of_a_feed_forward(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Older files have both layers' names the other way round."""
    swapped = tmp_path / "swapped.gguf"
    reader = gguf.GGUFReader(files[1])
    names = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}
    writer = gguf.GGUFWriter(swapped, "clip")
    for field in reader.fields.values():
        if field.name.startswith("clip."):
            value, kinds = field.contents(), field.types
            if kinds[0] == gguf.GGUFValueType.ARRAY:
                writer.add_array(field.name, value)
            else:
                writer.add_key_value(field.name, value, kinds[0])
    for tensor in reader.tensors:
        part = tensor.name.split(".")
        name = tensor.name.replace(part[-2], names.get(part[-2], part[-2]))
        writer.add_tensor(name, tensor.data)
    seeing_gguf.close(writer, swapped)
    runners = [Seer(files[0], mmproj=str(file)) for file in (files[1], swapped)]
    prompts = [(runner, runner.read(tiny_vision.CASES[0])) for runner in runners]
    one, other = (runner.logits(tokens, [len(tokens)]) for runner, tokens in prompts)
    assert np.array_equal(one, other)
    for runner in runners:
        runner.media_thread.shutdown()
        runner.close()
