"""A GGUF goes to MLX by the command a user types; both are served, each by its engine, and answer alike."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from llama_scorer import LlamaScorer
from running import RunningServer
from same_answer import assert_same_answer, tolerance
from tiny_models import write_gguf

from nitro.cli.main import main
from nitro.config import ServeConfig
from nitro.engines.types import GenerationParams, SamplingParams
from nitro.engines.work import encode_work

CONTEXT = 256
LENGTH = 12  # tokens of an answer
PROMPTS = [f"Question {number}: what is the " + "river and the " * number + "name?" for number in range(10)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="module")
def converted(source: Path) -> Path:
    target = source.with_name("converted")
    done = CliRunner().invoke(main, ["convert", str(source), "--to", "mlx", "-o", str(target), "--positions", "64"])
    assert done.exit_code == 0, done.output
    return target


def test_the_proof_lies_beside_it(converted: Path) -> None:
    found = json.loads((converted / "nitro-proof.json").read_text())
    assert found["passed"] and found["token_ids"] == "200 of 200" and found["chat_template"] == "equal"
    assert found["scores"]["mean_kl"] <= 1e-5


def test_a_target_that_is_there_is_left_alone(source: Path, converted: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in converted.iterdir()}
    done = CliRunner().invoke(main, ["convert", str(source), "--to", "mlx", "-o", str(converted)])
    assert done.exit_code == 1 and "--force" in done.output
    assert before == {file.name: file.stat().st_mtime_ns for file in converted.iterdir()}


def test_both_are_served_and_answer_alike(source: Path, converted: Path) -> None:
    scorer = LlamaScorer(source, context=CONTEXT, exact=True)
    prompts = [scorer.tokenizer.encode(text) for text in PROMPTS]
    explained = tolerance(scorer, (prompts[9] * 9)[:120])
    for engine, model in (("llama", source), ("mlx", converted)):
        for prompt, answer in zip(prompts, answers(engine, model), strict=True):
            assert_same_answer(scorer, prompt, answer, max(explained, LOOSE if engine == "llama" else 0.0))
    scorer.close()


LOOSE = 0.05  # logits: the engine has flash attention and 16 bits of KV, which the scorer has not


def answers(engine: str, model: Path) -> list[list[int]]:
    async def one(text: str) -> list[int]:
        tokens = []
        async for burst in await server.engine.generate(
            encode_work([text], GenerationParams(SamplingParams(temperature=0), LENGTH))
        ):
            tokens += [token for _, output in burst for token in output.tokens]
        return tokens

    async def all_at_once() -> list[list[int]]:
        return await asyncio.gather(*map(one, PROMPTS))

    config = ServeConfig(engine=engine, model=str(model), port=0, context=CONTEXT, parallel=4)
    with RunningServer(config) as server:
        server.ready()
        return server.run(all_at_once())
