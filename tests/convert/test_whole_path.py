"""The real model by every way from one kind to another: each result is proven, and served, and both engines agree."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from llama_scorer import LlamaScorer
from real_models import write_hf
from running import RunningServer
from safetensors.numpy import load_file
from same_answer import assert_same_answer, tolerance

from nitro.cli.main import main
from nitro.config import ServeConfig
from nitro.convert import checkpoint
from nitro.engines.types import GenerationParams, SamplingParams
from nitro.engines.work import encode_work

pytestmark = pytest.mark.convert

POSITIONS = 200
CONTEXT = 256
LENGTH = 8  # tokens of an answer
ASKED = (
    *("the capital of France", "the largest ocean", "two and two", "the first month", "the color of snow"),
    *("a baby cat", "the opposite of hot", "the boiling point of water", "the author of Hamlet", "a word for happy"),
)
PROMPTS = [f"<|im_start|>user\nWhat is {each}?<|im_end|>\n<|im_start|>assistant\n" for each in ASKED]


# name: (made of, to, options, type of the weights)
MADE = {
    "mlx": ("source", "mlx", (), "4bit"),
    "hf": ("source", "hf", (), "F32"),
    "plain-mlx": ("hf", "mlx", (), "F32"),
    "8bit-mlx": ("hf", "mlx", ("--bits", "8"), "8bit"),
    "f32.gguf": ("hf", "gguf", (), "F32"),
    "f16.gguf": ("hf", "gguf", ("--type", "F16"), "F16"),
    "q8.gguf": ("hf", "gguf", ("--type", "Q8_0"), "Q8_0"),
    "back-hf": ("mlx", "hf", (), "F32"),
    "back.gguf": ("8bit-mlx", "gguf", (), "F16"),
}


def proof(made: Path) -> dict:
    return json.loads((made / "nitro-proof.json" if made.is_dir() else Path(f"{made}.proof.json")).read_text())


class Models:
    """Made when they are asked for, in one folder."""

    def __init__(self, folder: Path, source: Path):
        self._folder, self._source = folder, source

    def __getitem__(self, name: str) -> Path:
        if name == "source":
            return self._source
        target = self._folder / name
        if not target.exists():
            source, to, options, _ = MADE[name]
            command = ["convert", str(self[source]), "--to", to, *options, "-o", str(target)]
            done = CliRunner().invoke(main, [*command, "--positions", str(POSITIONS)])
            assert done.exit_code == 0, done.output
        return target


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, smollm: Path) -> Models:
    return Models(tmp_path_factory.mktemp("models"), smollm)


@pytest.mark.parametrize("name", MADE)
def test_every_way_is_proven(models: Models, name: str) -> None:
    made = models[name]
    found = proof(made)
    assert found["passed"] and found["token_ids"] == "200 of 200" and found["chat_template"] == "equal"
    assert found["type"] == checkpoint.read(made).type == MADE[name][3]
    assert found["scores"]["positions"] > 0.9 * POSITIONS and found["scores"]["clear_positions"] > 50


@pytest.mark.parametrize("name", ["hf", "back-hf"])
def test_the_weights_are_those_of_another_writer(models: Models, tmp_path: Path, smollm: Path, name: str) -> None:
    """gguf-py's values, bit for bit."""
    ours, theirs = (load_file(each / "model.safetensors") for each in (models[name], write_hf(smollm, tmp_path / "hf")))
    assert ours.keys() == theirs.keys()
    for key, array in theirs.items():
        assert np.array_equal(ours[key], array), key


# (on llama.cpp, on MLX): the same numbers in both
PAIRS = [("source", "mlx"), ("f32.gguf", "plain-mlx"), ("back.gguf", "8bit-mlx")]


@pytest.mark.parametrize(("gguf", "folder"), PAIRS)
def test_both_engines_answer_alike(models: Models, gguf: str, folder: str) -> None:
    said = {engine: answers(engine, models[name]) for engine, name in (("llama", gguf), ("mlx", folder))}
    scorer = LlamaScorer(models[gguf], context=CONTEXT, exact=True)
    prompts = [scorer.tokenizer.encode(text) for text in PROMPTS]
    explained = tolerance(scorer, [token for prompt in prompts for token in prompt][:120])
    for rows in said.values():
        for prompt, answer in zip(prompts, rows, strict=True):
            assert_same_answer(scorer, prompt, answer, max(explained, LOOSE))
    scorer.close()


LOOSE = 0.05  # logits: the engine has flash attention and 16 bits of KV, which the scorer has not


@pytest.mark.parametrize("name", ["f16.gguf", "q8.gguf"])
def test_the_other_types_are_served_as_well(models: Models, name: str) -> None:
    said = answers("llama", models[name], PROMPTS[:1])
    with_it = LlamaScorer(models[name], context=CONTEXT)
    assert b"".join(map(with_it.tokenizer.token_bytes, said[0])) == b"The capital of France is Paris."
    with_it.close()


def answers(engine: str, model: Path, prompts: list[str] = PROMPTS) -> list[list[int]]:
    """To two at once, greedily."""

    async def one(text: str) -> list[int]:
        tokens = []
        async for burst in await server.engine.generate(
            encode_work([text], GenerationParams(SamplingParams(temperature=0), LENGTH))
        ):
            tokens += [token for _, output in burst for token in output.tokens]
        return tokens

    async def together(texts: list[str]) -> list[list[int]]:
        return await asyncio.gather(*map(one, texts))

    with RunningServer(ServeConfig(engine=engine, model=str(model), port=0, context=CONTEXT, parallel=2)) as server:
        server.ready()
        pairs = [server.run(together(prompts[start : start + 2])) for start in range(0, len(prompts), 2)]
    return [answer for pair in pairs for answer in pair]


def test_k_quants_and_sentencepiece(gemma: Path, tmp_path: Path) -> None:
    """Embeddings of six bits become eight; for the rest MLX holds the integers of Q4_K."""
    command = ["convert", str(gemma), "--to", "mlx", "-o", str(tmp_path / "gemma"), "--positions", "128"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    found = proof(tmp_path / "gemma")
    assert (found["passed"], found["token_ids"], found["type"]) == (True, "200 of 200", "8bit")
