"""`POST /v1/rerank`, `/v2/rerank`, `/rerank` and `/v1/score` over HTTP: Jina's, Cohere's, TEI's and vLLM's requests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tiny_encoders
from running import CEILING, RunningServer

from nitro.config import ServeConfig
from nitro.service.rerank_request import probability

RERANKER = "nitro.engines.backends.fake:FakeReranker"
QUERY, DOCUMENTS = "abc", ["xyz", "aabbcc", "abc", "", "cba", "xaxb"]
LOGITS = [-3.0, 3.0, 0.0, -3.0, 0.0, -1.0]  # see FakeReranker
BEST = [1, 2, 4, 5, 0, 3]
Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(ServeConfig(engine=RERANKER, port=0, context=64, model="ranks")) as server:
        yield server.ready()


@pytest.fixture
def ask(server: RunningServer) -> Ask:
    def post(path: str = "/v1/rerank", **body: Any) -> httpx.Response:
        return httpx.post(server.url + path, json=body, timeout=CEILING)

    return post


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank", "/reranking"])
def test_the_best_come_first(ask: Ask, path: str) -> None:
    reply = ask(path, model="ranks", query=QUERY, documents=DOCUMENTS)
    assert reply.status_code == 200, reply.text
    body = reply.json()
    assert [result["index"] for result in body["results"]] == BEST, "of equal scores the first comes first"
    scores = [result["relevance_score"] for result in body["results"]]
    assert scores == pytest.approx([probability(LOGITS[place]) for place in BEST])
    assert all(set(result) == {"index", "relevance_score"} for result in body["results"])
    tokens = sum(len(QUERY) + len(document) + 4 for document in DOCUMENTS)
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert body["meta"] == {"tokens": {"input_tokens": tokens}} and body["object"] == "list"


def test_raw_scores_are_logits(ask: Ask) -> None:
    results = ask(query=QUERY, documents=DOCUMENTS, raw_scores=True).json()["results"]
    assert [result["relevance_score"] for result in results] == [LOGITS[place] for place in BEST]


@pytest.mark.parametrize("name", ["top_n", "top_k"])
def test_only_some(ask: Ask, name: str) -> None:
    results = ask(query=QUERY, documents=DOCUMENTS, **{name: 2}).json()["results"]
    assert [result["index"] for result in results] == BEST[:2]
    assert len(ask(query=QUERY, documents=DOCUMENTS, **{name: 99}).json()["results"]) == len(DOCUMENTS)


def test_documents_come_back(ask: Ask) -> None:
    documents = ["xyz", {"text": "abc", "source": 7}]
    results = ask(query=QUERY, documents=documents, return_documents=True).json()["results"]
    assert [result["document"] for result in results] == [{"text": "abc", "source": 7}, {"text": "xyz"}]


def test_what_tei_asks_and_is_answered(ask: Ask) -> None:
    reply = ask("/rerank", query=QUERY, texts=DOCUMENTS[:3], raw_scores=True, return_text=True, truncate=False)
    assert reply.json() == [
        {"index": 1, "score": 3.0, "text": "aabbcc"},
        {"index": 2, "score": 0.0, "text": "abc"},
        {"index": 0, "score": -3.0, "text": "xyz"},
    ]
    assert "text" not in ask("/rerank", query=QUERY, texts=["a"]).json()[0]


def test_scores_of_pairs(ask: Ask) -> None:
    reply = ask("/v1/score", text_1=QUERY, text_2=DOCUMENTS[:3], raw_scores=True).json()
    assert [(each["index"], each["score"], each["object"]) for each in reply["data"]] == [
        (0, -3.0, "score"),
        (1, 3.0, "score"),
        (2, 0.0, "score"),
    ]
    reply = ask("/score", queries=["abc", "x"], documents=["abc", "xx"], use_activation=False).json()
    assert [each["score"] for each in reply["data"]] == [0.0, 1.0]
    assert ask("/score", text_1="x", text_2="xx").json()["data"][0]["score"] == pytest.approx(probability(1.0))


def test_many_documents(ask: Ask) -> None:
    """More than a step takes, and than a slice of their preparation."""
    documents = ["abc" if place % 7 else "aaaabbbb" for place in range(300)]
    results = ask(query=QUERY, documents=documents, raw_scores=True).json()["results"]
    assert [result["index"] for result in results] == sorted(range(300), key=lambda place: place % 7 != 0)


def test_what_is_too_long(ask: Ask) -> None:
    reply = ask(query=QUERY, documents=["a", "a" * 58])
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["param"] == "documents[1]" and error["code"] == "context_length_exceeded"
    assert "64 tokens" in error["message"] and "65 tokens" in error["message"]
    assert ask(query=QUERY, documents=["a" * 57]).status_code == 200
    error = ask("/rerank", query=QUERY, texts=["a" * 100]).json()["error"]
    assert error["param"] == "texts[0]", "as the client calls it"
    error = ask(query="a" * 70, documents=["a"], truncate=True).json()["error"]
    assert error["param"] == "query", "a query is never cut"


def test_a_document_may_be_cut(ask: Ask) -> None:
    results = ask(query=QUERY, documents=["x" * 57 + "abc", "x" * 2 + "abc"], truncate=True, raw_scores=True).json()
    assert [(each["index"], each["relevance_score"]) for each in results["results"]] == [(1, 0.0), (0, -3.0)]
    results = ask(query=QUERY, documents=["xxabc", "a" * 90], max_tokens_per_doc=3, raw_scores=True).json()
    assert [(each["index"], each["relevance_score"]) for each in results["results"]] == [(1, 0.0), (0, -2.0)]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"documents": ["a"]}, "query"),
        ({"query": "a"}, "documents"),
        ({"query": " ", "documents": ["a"]}, "query"),
        ({"query": "a", "documents": []}, "documents"),
        ({"query": "a", "documents": "a"}, "documents"),
        ({"query": "a", "documents": [3]}, "documents[0]"),
        ({"query": "a", "documents": ["b", {"title": "x"}]}, "documents[1]"),
        ({"query": "a", "documents": ["b", {"text": 3}]}, "documents[1]"),
        ({"query": "a", "texts": []}, "texts"),
        ({"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
        ({"query": "a", "documents": ["b"], "top_k": 0}, "top_k"),
        ({"query": "a", "documents": ["b"], "max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"query": "a", "documents": ["b"], "rank_fields": ["title"]}, "rank_fields"),
        ({"query": "a", "documents": ["b"], "return_embeddings": True}, "return_embeddings"),
        ({"query": "a", "documents": ["b"], "instruction": "x"}, "instruction"),
    ],
)
def test_bad_requests(ask: Ask, body: dict[str, Any], param: str) -> None:
    reply = ask(**body)
    assert reply.status_code == 400 and reply.json()["error"]["param"] == param, reply.text


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_1"),
        ({"text_1": ["a", ""], "text_2": ["a", "b"]}, "text_1[1]"),
        ({"queries": [], "documents": ["b"]}, "queries"),
        ({"text_1": "a"}, "text_2"),
    ],
)
def test_bad_pairs(ask: Ask, body: dict[str, Any], param: str) -> None:
    reply = ask("/v1/score", **body)
    assert reply.status_code == 400 and reply.json()["error"]["param"] == param, reply.text


def test_what_asks_for_nothing(ask: Ask) -> None:
    reply = ask(query="a", documents=["b"], rank_fields=["text"], return_embeddings=False, priority=3, user="x", new=1)
    assert reply.status_code == 200 and reply.headers["x-nitro-ignored"] == "new"


def test_it_generates_and_embeds_nothing(ask: Ask) -> None:
    reply = ask("/v1/chat/completions", messages=[{"role": "user", "content": "Hello"}])
    assert reply.status_code == 400 and "is a reranker" in reply.json()["error"]["message"]
    reply = ask("/v1/embeddings", input="Hello")
    assert reply.status_code == 400 and "makes no embeddings" in reply.json()["error"]["message"]


def test_others_are_no_rerankers(fake_server: RunningServer) -> None:
    reply = httpx.post(f"{fake_server.url}/v1/rerank", json={"query": "a", "documents": ["b"]}, timeout=CEILING)
    error = reply.json()["error"]
    assert reply.status_code == 400 and error["param"] == "model" and "is no reranker" in error["message"]


def test_the_log_and_the_metrics(ask: Ask, server: RunningServer) -> None:
    reply = ask(query="ab", documents=["c", "de"])
    assert "inputs=2 prompt=15" in server.log_of(reply)
    assert 'nitro_embedded_inputs_total{model="ranks"}' in httpx.get(f"{server.url}/metrics").text


@pytest.mark.parametrize(("truncate", "status"), [("truncate", 200), ("error", 400)])
def test_the_servers_own_way(truncate: str, status: int, serve: Callable[..., RunningServer]) -> None:
    server = serve(engine=RERANKER, context=64, embedding_overflow=truncate).ready()
    reply = httpx.post(f"{server.url}/rerank", json={"query": "a", "documents": ["b" * 90]}, timeout=CEILING)
    assert reply.status_code == status, reply.text


def test_both_engines(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """A cross-encoder as a GGUF on llama.cpp, and as transformers' folder on MLX."""
    kind = "xlm-roberta, cross"
    models = {
        "llama": tiny_encoders.write_gguf(tmp_path / "ranks.gguf", kind),
        "mlx": tiny_encoders.write(tmp_path / "ranks", kind),
    }
    body = {"query": "what is the cat ?", "documents": ["the cat sat on the mat.", "a moon", "the light house runs"]}
    found = {}
    for engine, model in models.items():
        server = serve(engine=engine, model=str(model)).ready()
        reply = httpx.post(f"{server.url}/v1/rerank", json=body, timeout=CEILING).json()
        found[engine] = {result["index"]: result["relevance_score"] for result in reply["results"]}, reply["usage"]
    (one, usage), (other, same_usage) = found["llama"], found["mlx"]
    assert list(one) == list(other) and usage == same_usage
    assert one == pytest.approx(other, abs=2e-3)
