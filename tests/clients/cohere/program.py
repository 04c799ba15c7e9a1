"""Cohere's own client: `rerank`, of both versions of its API, sync and async."""

import inspect
import os

import cohere
import httpx
from steps import run, step

# what you change
co = cohere.ClientV2(base_url=os.environ["NITRO_URL"].removesuffix("/v1"), api_key="none")
# end of what you change
first = cohere.Client(base_url=os.environ["NITRO_URL"].removesuffix("/v1"), api_key="none")
later = cohere.AsyncClientV2(base_url=os.environ["NITRO_URL"].removesuffix("/v1"), api_key="none")

MODEL = os.environ["NITRO_MODEL"]
QUERY, DOCUMENTS = "abc", ["xyz", "aabbcc", "abc"]  # the model counts the letters that a document has of its query


@step("`rerank` of ClientV2", "ranks")
def rerank() -> None:
    found = co.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=2, max_tokens_per_doc=512)
    assert [result.index for result in found.results] == [1, 2]
    assert 1 > found.results[0].relevance_score > found.results[1].relevance_score == 0.5
    assert found.meta.tokens.input_tokens > 0


@step("`rerank` of Client, with documents", "ranks")
def rerank_of_version_1() -> None:
    documents = [{"text": text} for text in DOCUMENTS]
    found = first.rerank(model=MODEL, query=QUERY, documents=documents, return_documents=True, rank_fields=["text"])
    assert [result.document.text for result in found.results] == ["aabbcc", "abc", "xyz"]


@step("`rerank`, async", "ranks")
async def rerank_async() -> None:
    found = await later.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS)
    assert [result.index for result in found.results] == [1, 2, 0]


@step("an error, by the parameter's name", "ranks")
def error() -> None:
    try:
        co.rerank(model=MODEL, query=QUERY, documents=[])
    except cohere.errors.BadRequestError as problem:
        assert problem.body["error"]["param"] == "documents"
    else:
        raise AssertionError("it was answered")


@step("every parameter of `rerank` is known", "ranks")
def parameters() -> None:
    base = os.environ["NITRO_URL"].removesuffix("/v1")
    for client, path in ((co, "/v2/rerank"), (first, "/v1/rerank")):
        names = inspect.signature(client.rerank).parameters.keys() - {"request_options", "model"}
        assert {"query", "documents", "top_n"} < names
        for name in names:  # it counts, is refused by name, or is of a wrong type: no name is unknown
            body = {"query": QUERY, "documents": DOCUMENTS, name: "x"}
            assert "x-nitro-ignored" not in httpx.post(base + path, json=body, timeout=60).headers, name


run()
