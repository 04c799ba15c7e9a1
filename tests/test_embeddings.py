"""`POST /v1/embeddings`, and the first Nitro's route, on the fake engine: shapes, refusals, batches, aborts, faults."""

import asyncio
import base64
import json
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from runners import Gate
from running import CEILING, RunningServer, raw_request

from nitro.config import ServeConfig
from nitro.service.embedding_request import MAX_INPUTS
from nitro.service.rerank_request import MAX_DOCUMENTS

ENCODER = "nitro.engines.backends.fake:FakeEncoder"
WIDTH = 8


@pytest.fixture(scope="module")
def encoder() -> Iterator[RunningServer]:
    """An embedding model of inputs of 64 tokens, of which 2 are put around a text."""
    with RunningServer(ServeConfig(engine=ENCODER, port=0, context=64)) as server:
        yield server.ready()


def post(server: RunningServer, path: str = "/v1/embeddings", **body: object) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=CEILING)


def vectors(reply: httpx.Response) -> list[list[float]]:
    assert reply.status_code == 200, reply.text
    data = reply.json()["data"]
    assert [each["index"] for each in data] == list(range(len(data)))
    return [each["embedding"] for each in data]


def refused(reply: httpx.Response, param: str | None, code: str | None = "invalid_value") -> str:
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == (param, code), error
    return error["message"]


def expected(*tokens: int) -> list[float]:
    """What the fake engine makes of tokens."""
    counts = [sum(token % WIDTH == place for token in tokens) for place in range(WIDTH)]
    length = sum(count**2 for count in counts) ** 0.5
    return pytest.approx([count / length for count in counts], abs=1e-6)


def test_every_kind_of_input(fake_server: RunningServer) -> None:
    text, ids = "ab", [97, 98]
    for given in (text, ids):
        assert vectors(post(fake_server, input=given)) == [expected(97, 98)]
        assert vectors(post(fake_server, input=[given, [99] if given is ids else "c"])) == [
            expected(97, 98),
            expected(99),
        ]
    reply = post(fake_server, input=["ab", "c"], user="me").json()
    assert reply["object"] == "list" and reply["model"] == "FakeRunner"
    assert reply["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert {each["object"] for each in reply["data"]} == {"embedding"}


def test_base64_is_of_float32(fake_server: RunningServer) -> None:
    numbers = post(fake_server, input=["ab", "c"], encoding_format="base64")
    for text, floats in zip(vectors(numbers), vectors(post(fake_server, input=["ab", "c"])), strict=True):
        assert list(struct.unpack(f"<{WIDTH}f", base64.b64decode(text))) == floats


def test_the_sdk_reads_it(fake_server: RunningServer) -> None:
    client = fake_server.client()
    for options in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        reply = client.embeddings.create(input=["ab"], model="any", **options)
        embedding = reply.data[0].embedding
        if options.get("encoding_format") == "base64":
            embedding = list(struct.unpack(f"<{WIDTH}f", base64.b64decode(embedding)))
        assert embedding == expected(97, 98) and reply.usage.prompt_tokens == 2
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(input="ab", model="any", dimensions=4)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [1, -1]}, "input"),
        ({"input": [[1], [2**40]]}, "input[1]"),
        ({"input": [[1], [100000]]}, "input[1]"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 4}, "dimensions"),
        ({"input": "a", "truncate": "START"}, "truncate"),
        ({"content": ["a", ""]}, "content[1]"),
        ({"inputs": "", "embedding_type": "float"}, "inputs"),
    ],
)
def test_what_is_wrong_is_refused_by_name(fake_server: RunningServer, body: dict[str, object], param: str) -> None:
    assert f"'{param}'" in refused(post(fake_server, **body), param)


def test_other_servers_names(fake_server: RunningServer) -> None:
    assert post(fake_server, "/embeddings", content="ab", embd_normalize=2).json()["data"]
    refused(post(fake_server, input="a", normalize=False), "normalize", "unsupported_parameter")
    reply = post(fake_server, input="a", colour="red", input_type="query")
    assert reply.headers["x-nitro-ignored"] == "colour, input_type"
    refused(post(fake_server), "input", "missing_required_parameter")


def test_an_input_that_is_too_long(encoder: RunningServer) -> None:
    """By default it is refused, with the numbers and its place."""
    said = refused(post(encoder, input=["a", "b" * 63]), "input[1]", "context_length_exceeded")
    assert "64 tokens" in said and "65 tokens" in said and "input[1]" in said
    said = refused(post(encoder, input="b" * 300000), "input", "context_length_exceeded")
    assert "more than 65536 tokens" in said
    refused(post(encoder, input=[[1] * 65]), "input[0]", "context_length_exceeded")
    assert vectors(post(encoder, input="b" * 62)) == [expected(2, *[98] * 62, 3)]
    assert vectors(post(encoder, input=[[1] * 64])) == [expected(1)], "ids are taken as they are"
    for truncate in (True, "END"):
        reply = post(encoder, input="b" * 62 + "c" * 300000, truncate=truncate)
        assert vectors(reply) == [expected(2, *[98] * 62, 3)] and reply.json()["usage"]["prompt_tokens"] == 64
    assert vectors(post(encoder, input="bc" * 50, truncate_prompt_tokens=-1))


def test_a_server_may_truncate_or_take_the_mean(serve: Callable[..., RunningServer]) -> None:
    truncating = serve(engine=ENCODER, context=64, embedding_overflow="truncate").ready()
    long = "b" * 62 + "c" * 31
    assert vectors(post(truncating, input=[long])) == [expected(2, *[98] * 62, 3)]
    refused(post(truncating, input=[long], truncate=False), "input[0]", "context_length_exceeded")
    mean = serve(engine=ENCODER, context=64, embedding_overflow="mean").ready()
    reply = post(mean, input=["a", long, "b"])
    (_, found, _) = vectors(reply)
    pieces = [[0, 0, 63, 1, 0, 0, 0, 0], [0, 0, 1, 32, 0, 0, 0, 0]]  # "b" is 98, "c" 99
    weighted = [0.0] * WIDTH
    for piece, tokens in zip(pieces, (64, 33), strict=True):
        length = sum(count**2 for count in piece) ** 0.5
        weighted = [whole + tokens * count / length for whole, count in zip(weighted, piece, strict=True)]
    length = sum(number**2 for number in weighted) ** 0.5
    assert found == pytest.approx([number / length for number in weighted], abs=1e-6)
    assert reply.json()["usage"]["prompt_tokens"] == 3 + 64 + 33 + 3


def test_dimensions_of_a_model_that_was_trained_for_them(encoder: RunningServer) -> None:
    """The vector is cut and of length 1 again."""
    (whole,) = vectors(post(encoder, input="abc"))
    for dimensions in (2, 4, 8):
        (cut,) = vectors(post(encoder, input="abc", dimensions=dimensions))
        length = sum(number**2 for number in whole[:dimensions]) ** 0.5
        assert cut == pytest.approx([number / length for number in whole[:dimensions]], abs=1e-6)
    assert "one of 2, 4, 8" in refused(post(encoder, input="abc", dimensions=3), "dimensions")


def test_the_models_own_prefixes(encoder: RunningServer) -> None:
    plain = vectors(post(encoder, input="query: a"))
    for kind in ("query", "search_query", "retrieval.query"):
        assert vectors(post(encoder, input="a", input_type=kind)) == plain
    assert vectors(post(encoder, input="a", task="retrieval.passage")) == vectors(post(encoder, input="passage: a"))
    assert "query, document" in refused(post(encoder, input="a", input_type="poem"), "input_type")


def test_an_embedding_model_generates_nothing(encoder: RunningServer) -> None:
    for path, body in (
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("/v1/completions", {"prompt": "a"}),
        ("/inferences/llamacpp/chat_completion", {"messages": [{"role": "user", "content": "a"}]}),
        ("/v1/responses", {"input": "a"}),
        ("/v1/responses", {"input": "a", "stream": True}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3}),
    ):
        reply = post(encoder, path, **body)
        assert reply.status_code == 400 and "'FakeEncoder' is an embedding model" in reply.text
    assert post(encoder, "/tokenize", content="ab").json() == {"tokens": [97, 98]}
    assert post(encoder, "/detokenize", tokens=[97, 98]).json() == {"content": "ab"}
    (about,) = httpx.get(f"{encoder.url}/v1/models").json()["data"]
    capable = [name for name, can in about["capabilities"].items() if can]
    assert capable == ["embeddings"]


def test_a_model_that_makes_none(serve: Callable[..., RunningServer]) -> None:
    server = serve(engine="runners:WithoutEmbeddings").ready()
    assert "'WithoutEmbeddings' makes no embeddings" in refused(post(server, input="a"), "model")
    assert not httpx.get(f"{server.url}/v1/models").json()["data"][0]["capabilities"]["embeddings"]


@pytest.mark.parametrize(
    ("path", "field", "most"), [("embeddings", "input", MAX_INPUTS), ("rerank", "documents", MAX_DOCUMENTS)]
)
def test_a_request_has_a_number_of_texts(fake_server: RunningServer, path: str, field: str, most: int) -> None:
    asked = {"query": "a", field: ["a"] * (most + 1)}
    refused = httpx.post(f"{fake_server.url}/v1/{path}", json=asked, timeout=CEILING)
    assert refused.status_code == 400 and refused.json()["error"]["param"] == field, refused.text
    assert str(most) in refused.text


def test_thousands_of_inputs_do_not_hold_up_others(serve: Callable[..., RunningServer], gate: Gate) -> None:
    """A chat and another request for embeddings begin and end while the thousands are computed."""
    server = serve(engine="runners:GatedRunner", model=gate.path)
    gate.accept()
    server.ready()
    many = json.dumps({"input": ["ab"] * 3000}).encode()
    with raw_request(server.url, many, path="/v1/embeddings"):
        gate.wait_inside()
        with (
            raw_request(server.url, json.dumps({"input": "c"}).encode(), path="/v1/embeddings") as few,
            raw_request(server.url, json.dumps(CHAT).encode()) as chat,
        ):
            while len(server.engine.generations.embeddings) < 2 or not server.engine.generations.computing:
                server.run(_turn())
            for sock in (few, chat):
                sock.setblocking(False)
            steps = 0
            answered: set[socket.socket] = set()
            while len(answered) < 2:
                gate.let_go()
                gate.wait_inside()
                server.run(_turn())
                steps += 1
                assert steps < 40
                for sock in (few, chat):
                    if _has_answer(sock):
                        answered.add(sock)
            waiting = server.engine.steps[-1].inputs
            assert waiting > 2000
    gate.open()
    assert _released(server)


CHAT = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3}


async def _turn() -> None:
    """A turn of the server's event loop."""


def _has_answer(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1))
    except BlockingIOError:
        return False


def _released(server: RunningServer) -> bool:
    async def wait() -> bool:
        async with asyncio.timeout(CEILING):
            while server.server.models.default.leases or server.engine.generations.embeddings:
                await asyncio.sleep(0)
        return True

    return server.run(wait())


def test_a_client_that_leaves_ends_its_request(serve: Callable[..., RunningServer], gate: Gate) -> None:
    server = serve(engine="runners:GatedRunner", model=gate.path)
    gate.accept()
    server.ready()
    sock = raw_request(server.url, json.dumps({"input": ["ab"] * 3000}).encode(), path="/v1/embeddings")
    gate.wait_inside()
    sock.close()
    assert _released(server)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(post, server, input="c")
        while not any(each.accepted.done() for each in list(server.engine.generations.embeddings.values())):
            server.run(_turn())  # so that the engine knows that the first one has left
        gate.open()
        assert vectors(other.result(CEILING)) == [expected(99)]
    assert sum(record.embedded for record in server.engine.steps) < 40, "the rest was never computed"
    assert server.log_line().endswith("client=left")


def test_requests_share_steps(serve: Callable[..., RunningServer], gate: Gate) -> None:
    server = serve(engine="runners:GatedRunner", model=gate.path)
    gate.accept()
    server.ready()
    first = raw_request(server.url, json.dumps({"input": "a"}).encode(), path="/v1/embeddings")
    gate.wait_inside()
    others = [raw_request(server.url, json.dumps({"input": "b"}).encode(), path="/v1/embeddings") for _ in range(5)]
    while sum(each.accepted.done() for each in server.engine.generations.embeddings.values()) < 6:
        server.run(_turn())
    gate.let_go()
    gate.wait_inside()
    gate.open()
    for sock in (first, *others):
        assert sock.recv(12) == b"HTTP/1.1 200"
        sock.close()
    assert [record.embedded for record in server.engine.steps] == [1, 5]


def test_faults(serve: Callable[..., RunningServer]) -> None:
    """A bug fails the requests of its step; a vector without a direction fails its own; a crash is told, and the engine
    comes back."""
    server = serve(engine="runners:FaultyRunner").ready()
    broken = post(server, input=["a", "!bug"])
    assert broken.status_code == 500 and "a made-up bug" in broken.text
    zero = post(server, input=["a", "!zero"])
    assert zero.status_code == 500 and "no direction" in zero.text
    assert vectors(post(server, input="c")) == [expected(99)]
    crashed = post(server, input="!exit")
    assert crashed.status_code == 503 and crashed.json()["error"]["code"] == "engine_died"
    assert vectors(post(server, input="c")) == [expected(99)]
    assert post(server, input="!exit").status_code == 503
    server.run(server.engine.ready())
    assert post(server, input="!exit").status_code == 422, "suspected of two deaths"


def test_it_is_counted_and_logged(serve: Callable[..., RunningServer]) -> None:
    server = serve().ready()
    post(server, input=["ab", "c"])
    assert "inputs=2 prompt=3 time=" in server.log_line()
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'nitro_embedded_inputs_total{model="FakeRunner"} 2.0' in metrics
    assert 'nitro_embedded_tokens_total{model="FakeRunner"} 3.0' in metrics


def test_a_strict_server(serve: Callable[..., RunningServer]) -> None:
    server = serve(strict=True).ready()
    refused(post(server, input="a", colour="red"), "colour", "unknown_parameter")
    refused(post(server, input="a", input_type="query"), "input_type", "unknown_parameter")
    assert post(server, input="a", model="other").status_code == 404
    assert post(server, input="a", user="me").status_code == 200


def test_the_first_nitros_route(fake_server: RunningServer) -> None:
    """Its reply as it wrote it, but for index and usage, which were always 0."""
    path = "/inferences/llamacpp/embedding"
    reply = post(fake_server, path, input=["b", 7, "jj"], model="any", dimensions=3, encoding_format="base64")
    one = '{{"embedding":[0,0,1,0,0,0,0,0],"index":{},"object":"embedding"}}'
    usage = '"usage":{"prompt_tokens":3,"total_tokens":3}'
    assert reply.text == f'{{"data":[{one.format(0)},{one.format(1)}],"model":"_","object":"list",{usage}}}'
    assert post(fake_server, "/inferences/server/embedding", input="b").json()["usage"]["total_tokens"] == 1
    assert post(fake_server, path).json()["data"] == []
    wrong = post(fake_server, path, input=[""])
    assert wrong.status_code == 400 and "input" in wrong.json()["message"]
