"""Embeddings on llama.cpp: an embedding model beside transformers, and a chat model beside llama.cpp's own pooling.

tests/convert/record_embeddings.py says how the vectors were made.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gguf import GGUFReader
from running import CEILING, RunningServer

from bench import encode_limit, minilm
from nitro.config import ServeConfig
from nitro.engines.options import EngineOptions
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.gguf import embedding, header
from nitro.models import description, fit
from nitro.models.facts import read
from nitro.models.stores import scan

DATA = Path(__file__).parent / "data"
RECORDED = json.loads((DATA / "minilm_vectors.json").read_text(encoding="utf-8"))
REFERENCE = [np.frombuffer(base64.b64decode(vector), "<f4") for vector in RECORDED["vectors"]]
TEXTS: list[str] = RECORDED["texts"]
MIB = 2**20


@pytest.fixture(scope="session")
def minilm_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return minilm.write_gguf(minilm.folder(), tmp_path_factory.mktemp("minilm") / "minilm.gguf")


@pytest.fixture(scope="module")
def embedder(minilm_gguf: Path) -> Iterator[RunningServer]:
    with RunningServer(ServeConfig(engine="llama", model=str(minilm_gguf), port=0)) as server:
        yield server.ready()


def embed(server: RunningServer, given: Any, **options: Any) -> list[np.ndarray]:
    """As the OpenAI SDK asks for them and reads them."""
    reply = server.client().embeddings.create(input=given, model="any", **options)
    return [np.array(each.embedding) for each in reply.data]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_vectors_are_transformers(embedder: RunningServer) -> None:
    """Together in one request, and alone."""
    together = embed(embedder, TEXTS)
    for text, tokens, wanted, found in zip(TEXTS, RECORDED["tokens"], REFERENCE, together, strict=True):
        assert cosine(found, wanted) > 0.9999, text
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
        reply = embedder.client().embeddings.create(input=text, model="any", encoding_format="float")
        assert reply.usage.prompt_tokens == tokens, text
        assert cosine(np.array(reply.data[0].embedding), found) > 0.99999, text


def test_the_reply_is_llama_servers(embedder: RunningServer) -> None:
    """As tests/convert/record_llama_server.py has recorded it."""
    recorded = json.loads((DATA / "minilm_llama_server.json").read_text(encoding="utf-8"))["reply"]
    body = {"input": TEXTS, "encoding_format": "base64"}
    reply = httpx.post(f"{embedder.url}/v1/embeddings", json=body, timeout=CEILING).json()
    assert reply.keys() == recorded.keys() and reply["usage"] == recorded["usage"]
    for ours, theirs in zip(reply["data"], recorded["data"], strict=True):
        assert ours.keys() == theirs.keys() - {"encoding_format"} and ours["index"] == theirs["index"]
        assert cosine(_read(ours["embedding"]), _read(theirs["embedding"])) > 0.9999


def _read(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_a_short_input_among_many(embedder: RunningServer) -> None:
    """One of a single word beside 64 others, of which the longest fill a step alone."""
    texts = ["x", *["The quick brown fox jumps over the lazy dog. " * (1 + i % 30) for i in range(64)], "Hello"]
    found = embed(embedder, texts)
    assert cosine(found[0], REFERENCE[TEXTS.index("x")]) > 0.9999
    assert cosine(found[-1], REFERENCE[TEXTS.index("Hello")]) > 0.9999
    assert cosine(found[30], REFERENCE[-1]) > 0.9999, "the same text, thirty times the sentence"


def test_token_ids_are_taken_as_they_are(embedder: RunningServer) -> None:
    (found,) = embed(embedder, [101, 7592, 102])
    assert cosine(found, REFERENCE[TEXTS.index("Hello")]) > 0.9999


def test_the_longest_input(embedder: RunningServer) -> None:
    """All 512 positions; a token more would end the process."""
    assert len(embed(embedder, [[101] * 512, [101]])) == 2
    for given in ([101] * 513, "x " * 511):
        reply = httpx.post(f"{embedder.url}/v1/embeddings", json={"input": given}, timeout=CEILING)
        assert reply.status_code == 400 and "513 tokens" in reply.json()["error"]["message"]
    assert (
        cosine(embed(embedder, "x " * 600, extra_body={"truncate": True})[0], embed(embedder, "x " * 510)[0]) > 0.9999
    )


def test_only_embeddings(embedder: RunningServer) -> None:
    body = {"messages": [{"role": "user", "content": "Hello"}]}
    reply = httpx.post(f"{embedder.url}/v1/chat/completions", json=body, timeout=CEILING)
    assert reply.status_code == 400 and "is an embedding model" in reply.json()["error"]["message"]


def test_deterministic(minilm_gguf: Path) -> None:
    """An input's vector is bit by bit the same, whatever is beside it."""
    from nitro.engines.backends.llama.opening import open_model

    runner = open_model(EngineSpec("llama", str(minilm_gguf), deterministic=True))
    rows = [[101, *range(2000, 2000 + length), 102] for length in (1, 9, 17, 40, 120)]
    assert runner.info.deterministic
    assert runner.embed(rows) == [runner.embed([row])[0] for row in rows]
    runner.close()


def test_lanes_take_more_while_they_compute(minilm_gguf: Path) -> None:
    """Each input has its own vector, whichever lane it came into."""
    from nitro.engines.backends.llama.opening import open_model

    rows = [[101, *range(2000, 2000 + length), 102] for length in (60, 3, 200, 40, 7, 90, 300, 1)]
    runner = open_model(EngineSpec("llama", str(minilm_gguf), threads=2))
    assert runner.info.embedding.lanes == 2
    found: dict[int, bytes] = {}
    waiting = rows[3:]
    runner.embed_in_lanes(rows[:3], found.update, lambda *_: [waiting.pop(0)] if waiting else [])
    assert sorted(found) == list(range(len(rows))) and not waiting
    for place, row in enumerate(rows):
        alone = np.frombuffer(runner.embed([row])[0], "<f4")
        # a lane takes what is next when it is done: the places are in the order of asking
        assert cosine(np.frombuffer(found[place], "<f4"), alone) > 0.9999
    runner.close()


def test_what_it_needs_is_known(minilm_gguf: Path) -> None:
    """Before it is loaded: no KV cache, but a row of logits for each token."""
    about = read(minilm_gguf, "gguf")
    assert about.embeds and about.kv.token_bytes() == 0
    found = fit.of(about, EngineOptions(), 2**33)
    assert found.context == 512 and 120 * MIB < found.bytes < 400 * MIB
    assert fit.of(about, EngineOptions(), 90 * MIB).context == 0
    described = description.details(scan.at(minilm_gguf))
    assert described.embeds and not described.chat_template


# A chat model


def reference(runner: Any, tokens: list[int]) -> np.ndarray:
    """What llama.cpp itself pools, all tokens at a time."""
    import llama_cpp.llama_cpp as lib

    from nitro.engines.backends.llama.embedding_batch import EmbeddingBatch

    parameters = lib.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 512
    parameters.embeddings = True
    parameters.pooling_type = lib.LLAMA_POOLING_TYPE_MEAN
    context = lib.llama_init_from_model(runner._model.pointer, parameters)
    assert lib.llama_decode(context, EmbeddingBatch(512).fill([(0, 0, tokens)])) == 0
    width = runner.info.embedding.width
    found = np.ctypeslib.as_array(lib.llama_get_embeddings_seq(context, 0), (width,)).copy()
    lib.llama_free(context)
    return found


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_chat_model_has_the_mean_of_its_tokens(model: Path, deterministic: bool) -> None:
    """Of one token and of many calls' worth, alone and beside others; what chat holds is as before."""
    from nitro.engines.backends.llama.runner import LlamaRunner

    runner = LlamaRunner(EngineSpec("llama", str(model), context=512, parallel=2, deterministic=deterministic))
    rng = np.random.default_rng(1)
    sequences = [rng.integers(3, 200, length).tolist() for length in (1, 7, 300, 128, 129)]
    held = runner._kv._end(0)
    together = [np.frombuffer(vector, "<f4") for vector in runner.embed(sequences)]
    for tokens, found in zip(sequences, together, strict=True):
        alone = np.frombuffer(runner.embed([tokens])[0], "<f4")
        assert cosine(found, alone) > 0.99999 and cosine(found, reference(runner, tokens)) > 0.9999
        if deterministic:
            assert (found == alone).all()
    assert runner._kv._end(0) == held
    runner.release_idle_memory()
    assert cosine(np.frombuffer(runner.embed(sequences[:1])[0], "<f4"), together[0]) > 0.99999
    runner.close()


def test_chat_goes_on_beside_embeddings(smollm_server: RunningServer) -> None:
    """The answer is the same, and the prefix is still cached."""
    client = smollm_server.client()
    ask = {
        "model": "any",
        "messages": [{"role": "user", "content": "Count to ten."}],
        "max_tokens": 8,
        "temperature": 0,
    }
    before = client.chat.completions.create(**ask)
    vectors = embed(smollm_server, ["A man eats.", "Someone is eating food.", "The stock market fell."] * 5)
    after = client.chat.completions.create(**ask)
    assert after.choices[0].message.content == before.choices[0].message.content
    assert after.usage.prompt_tokens_details.cached_tokens >= before.usage.prompt_tokens - 1
    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2])
    assert cosine(vectors[0], vectors[3]) > 0.9999


# Files


def with_metadata(source: Path, target: Path, key: str, value: int) -> Path:
    """A copy in which a number of the metadata is another one."""
    target.write_bytes(source.read_bytes())
    field = GGUFReader(target, "r+").fields[key]
    field.parts[field.data[0]][0] = value
    return target


def test_kinds_of_files(minilm_gguf: Path, model: Path, smollm: Path, tmp_path: Path) -> None:
    assert embedding.kind_of(header.read(minilm_gguf)) == embedding.EmbeddingKind("mean", causal=False)
    assert embedding.kind_of(header.read(model)) is None and embedding.kind_of(header.read(smollm)) is None
    made = header.Header(tmp_path, {"general.architecture": "qwen3", "qwen3.pooling_type": 3}, {})
    assert embedding.kind_of(made) == embedding.EmbeddingKind("last", causal=True)
    made = header.Header(tmp_path, {"general.architecture": "gemma-embedding", "gemma-embedding.pooling_type": 1}, {})
    assert embedding.kind_of(made) == embedding.EmbeddingKind("mean", causal=False)
    made = header.Header(tmp_path, {"general.architecture": "modern-bert"}, {})
    assert embedding.kind_of(made) == embedding.EmbeddingKind("mean", causal=False)


def test_other_poolings(minilm_gguf: Path, tmp_path: Path) -> None:
    """The first token's vector is another one, as transformers has it, too; a model that ranks is refused."""
    from nitro.engines.backends.llama.opening import open_model

    first = open_model(
        EngineSpec("llama", str(with_metadata(minilm_gguf, tmp_path / "a.gguf", "bert.pooling_type", 2)))
    )
    vector = np.frombuffer(first.embed([[101, 7592, 102]])[0], "<f4")
    first.close()
    assert first.info.embedding.pooling == "cls" and cosine(vector, REFERENCE[0]) < 0.9
    ranks = with_metadata(minilm_gguf, tmp_path / "b.gguf", "bert.pooling_type", 4)
    with pytest.raises(LoadError, match="would be wrong"):
        open_model(EngineSpec("llama", str(ranks)))
    with pytest.raises(LoadError, match="--draft is for models that generate text"):
        open_model(EngineSpec("llama", str(minilm_gguf), draft=str(minilm_gguf)))


def test_what_encoding_alone_takes(minilm_gguf: Path, tmp_path: Path) -> None:
    """bench/encode_limit.py: of one text at a time, and of more than a step takes."""
    with encode_limit.running(minilm_gguf, threads=2) as alone:
        assert alone.rate(encode_limit.Work(1, 8, 0.01)) > 0 and alone.rate(encode_limit.Work(8, 300, 0.01)) > 0
    with (
        encode_limit.running(tmp_path / "none.gguf", threads=1) as alone,
        pytest.raises(RuntimeError, match="llama_encode alone has failed"),
    ):
        alone.rate(encode_limit.Work(1, 8, 0.01))


def test_sentence_transformers_files_beside_it(minilm_gguf: Path, tmp_path: Path) -> None:
    from nitro.engines.backends.llama.opening import open_model

    copy = tmp_path / "model.gguf"
    copy.symlink_to(minilm_gguf)
    prompts = {"prompts": {"query": "query: ", "plain": ""}, "default_prompt_name": "query"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (tmp_path / "config.json").write_text(json.dumps({"matryoshka_dimensions": [128, 64]}))
    runner = open_model(EngineSpec("llama", str(copy)))
    runner.close()
    about = runner.info.embedding
    assert (about.prefixes, about.default_prefix) == (prompts["prompts"], "query: ")
    assert (about.dimensions, about.before, about.after) == ([64, 128], [101], [102])
