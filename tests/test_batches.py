"""`/v1/batches`, asked by the OpenAI SDK: validated, answered, cancelled, expired; what its lines may ask."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from running import CEILING, RunningServer, until

from nitro.batches import line_form, prefix_key

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
GATED = "runners:GatedRunner"


def line(id: str, text: str = "Hi", url: str = CHAT, **body: Any) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": text}]} if url == CHAT else {}
    return {"custom_id": id, "method": "POST", "url": url, "body": {"model": "m", **asked, **body}}


def written(lines: list[Any]) -> bytes:
    return b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in lines)


def begin(client: openai.OpenAI, lines: list[Any], endpoint: str = CHAT, window: str = "24h", **more: Any):
    file = client.files.create(file=("in.jsonl", io.BytesIO(written(lines))), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window=window, **more)


def ended(client: openai.OpenAI, id: str, wanted: tuple[str, ...] = ENDED):
    """The batch, polled until it is that."""
    end = time.monotonic() + CEILING
    while (batch := client.batches.retrieve(id)).status not in wanted:
        assert time.monotonic() < end, f"{id} is {batch.status}, {batch.request_counts} for ever"
    return batch


def results(client: openai.OpenAI, file: str | None) -> dict[str, Any]:
    """By custom id, in the order of the file."""
    if file is None:
        return {}
    found = [json.loads(line) for line in client.files.content(file).text.splitlines()]
    assert len({each["custom_id"] for each in found}) == len(found), "a line is there twice"
    return {each["custom_id"]: each for each in found}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    from running import FAKE

    from nitro.config import ServeConfig

    with RunningServer(ServeConfig(engine=FAKE, port=0, state=tmp_path_factory.mktemp("state"))) as server:
        yield server.ready()


@pytest.fixture
def client(server) -> openai.OpenAI:
    return server.client()


@pytest.fixture
def gated(serve, gate, tmp_path):
    """A server with one place whose engine waits for the test."""
    server = serve(engine=GATED, model=gate.path, state=tmp_path / "state", parallel=1)
    gate.accept()
    return server


def test_chat(client):
    whole = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    begun = begin(client, [line("b"), line("a", "Ho", max_tokens=2), line("c", temperature=-1)], metadata={"x": "y"})
    assert begun.status == "validating" and begun.object == "batch" and begun.metadata == {"x": "y"}
    assert begun.expires_at == begun.created_at + 86400 and begun.completion_window == "24h"
    batch = ended(client, begun.id)
    counts = batch.request_counts
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", 3, 2, 1)
    assert batch.completed_at and batch.in_progress_at and batch.finalizing_at and not batch.errors
    found = results(client, batch.output_file_id)
    assert list(found) == ["b", "a"]  # in the order of the input
    reply = found["b"]["response"]
    assert reply["status_code"] == 200 and reply["request_id"].startswith("req_") and found["b"]["error"] is None
    assert reply["body"]["choices"][0]["message"]["content"] == whole.choices[0].message.content
    assert found["a"]["response"]["body"]["usage"]["completion_tokens"] == 2
    usage = [each["response"]["body"]["usage"] for each in found.values()]
    assert batch.usage.output_tokens == sum(each["completion_tokens"] for each in usage)
    assert batch.usage.input_tokens == sum(each["prompt_tokens"] for each in usage)
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens
    assert batch.model == whole.model
    wrong = results(client, batch.error_file_id)["c"]["response"]
    assert wrong["status_code"] == 400 and wrong["body"]["error"]["param"] == "temperature"
    file = client.files.retrieve(batch.output_file_id)
    assert file.purpose == "batch_output" and file.filename == f"{batch.id}_output.jsonl"
    assert file.bytes == len(client.files.content(file.id).read())
    assert client.batches.list().data[0].to_dict() == batch.to_dict()


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/completions", {"prompt": "Hi", "max_tokens": 3}),
        ("/v1/embeddings", {"input": ["Hi", "Ho"]}),
        ("/v1/embeddings", {"input": "Hi", "encoding_format": "base64"}),
        ("/v1/responses", {"input": "Hi", "store": False}),
        (CHAT, {"messages": [{"role": "user", "content": "Hi"}], "n": 2, "logprobs": True}),
        (CHAT, {"messages": [{"role": "user", "content": "Hi"}], "service_tier": "priority"}),
    ],
)
def test_what_a_line_gets_is_what_a_client_gets(client, server, endpoint, body):
    """But for ids and times, and that it always waits for others."""
    import httpx

    told = httpx.post(f"{server.url}{endpoint}", json={"model": "m", **body}).json()
    batch = ended(client, begin(client, [line("a", url=endpoint, **body)], endpoint).id)
    assert batch.status == "completed", batch.errors
    reply = results(client, batch.output_file_id)["a"]["response"]["body"]

    def same(value: Any) -> Any:
        if isinstance(value, dict):
            changing = ("id", "created", "created_at", "completed_at", "timings", "service_tier", "cached_tokens")
            return {name: same(each) for name, each in value.items() if name not in changing}
        return list(map(same, value)) if isinstance(value, list) else value

    assert same(reply) == same(told)
    if "service_tier" in body:
        assert reply["service_tier"] == "flex"


def test_a_response_of_a_line_is_kept(client):
    batch = ended(client, begin(client, [line("a", url="/v1/responses", input="Hi")], "/v1/responses").id)
    reply = results(client, batch.output_file_id)["a"]["response"]["body"]
    assert client.responses.retrieve(reply["id"]).output_text


FAULTS = [
    (b"{", "invalid_json_line", None),
    (b"[1]", "invalid_json_line", None),
    (b"[" * 100_000, "invalid_json_line", None),
    (b'{"custom_id": "\\ud800"}', "invalid_json_line", None),
    ({**line("x"), "custom_id": None}, "missing_required_parameter", "custom_id"),
    ({**line("x"), "custom_id": ""}, "invalid_value", "custom_id"),
    ({**line("x"), "custom_id": 7}, "invalid_value", "custom_id"),
    ({**line("x"), "custom_id": "x" * 513}, "invalid_value", "custom_id"),
    ({**line("x"), "method": "GET"}, "invalid_method", "method"),
    ({**line("x"), "url": "/v1/embeddings"}, "invalid_url", "url"),
    ({**line("x"), "body": None}, "missing_required_parameter", "body"),
    ({**line("x"), "body": "text"}, "invalid_value", "body"),
    (line("x", stream=True), "unsupported_parameter", "body.stream"),
    (line("good"), "duplicate_custom_id", "custom_id"),
]


def test_faults_of_lines_are_told_by_line(client):
    lines = [line("good"), b"  ", *(wrong for wrong, _, _ in FAULTS), line("other")]
    batch = ended(client, begin(client, lines).id)
    assert batch.status == "failed" and batch.failed_at and not batch.output_file_id and not batch.error_file_id
    told = [(error.line, error.code, error.param) for error in batch.errors.data]
    assert told == [(number, code, param) for number, (_, code, param) in enumerate(FAULTS, 3)]
    assert all(error.message.endswith((".", "'")) or error.message for error in batch.errors.data)


def test_many_faults_and_none(client):
    batch = ended(client, begin(client, [b"nonsense"] * 500).id)
    assert batch.status == "failed" and len(batch.errors.data) == 100
    for lines in ([], [b"", b"\t"]):
        batch = ended(client, begin(client, lines).id)
        assert (batch.status, batch.errors.data[0].code) == ("failed", "empty_file")


def test_odd_but_right_files(client):
    first, last = json.dumps(line("a")).encode(), json.dumps(line("ü\u0000")).encode()
    long = json.dumps(line("long", "x" * 200_000, max_tokens=1)).encode()  # of several pieces
    data = b"\xef\xbb\xbf" + first + b"\r\n\n" + long + b"\n" + last  # no newline at its end
    file = client.files.create(file=("in.jsonl", io.BytesIO(data)), purpose="batch")
    begun = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="7d")
    assert begun.expires_at == begun.created_at + 7 * 86400
    batch = ended(client, begun.id)
    assert batch.status == "completed" and list(results(client, batch.output_file_id)) == ["a", "ü\u0000"]
    error = results(client, batch.error_file_id)["long"]["response"]["body"]["error"]
    assert error["code"] == "context_length_exceeded"


def test_what_is_no_batch(client):
    file = client.files.create(file=("in.jsonl", io.BytesIO(written([line("a")]))), purpose="batch")
    other = client.files.create(file=("in.jsonl", io.BytesIO(b"x")), purpose="user_data")
    right = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    for wrong, param in (
        ({"input_file_id": "file_none"}, "input_file_id"),
        ({"input_file_id": other.id}, "input_file_id"),
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"completion_window": "1s"}, "completion_window"),
        ({"completion_window": "31d"}, "completion_window"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.batches.create(**{**right, **wrong})
        assert caught.value.param == param
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/batches", body={"endpoint": CHAT}, cast_to=object)
    assert caught.value.param == "input_file_id"
    for call in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call("batch_none")
    with pytest.raises(openai.BadRequestError):
        client.batches.list(after="batch_none")


def test_pages(client):
    made = [begin(client, [line("a")]).id for _ in range(3)]
    page = client.batches.list(limit=2)
    assert [batch.id for batch in page.data] == [made[2], made[1]] and page.has_more
    assert next(iter(client.batches.list(limit=2, after=made[1]))).id == made[0]
    for id in made:
        ended(client, id)


def test_it_is_cancelled_within_a_step(gated, gate):
    client = gated.client()
    begun = begin(client, [line("a", max_tokens=1), *(line(str(number)) for number in range(50))])
    while client.batches.retrieve(begun.id).request_counts.completed == 0:
        gate.step()
    gate.wait_inside()
    with pytest.raises(openai.ConflictError):
        client.files.delete(begun.input_file_id)
    client.batches.cancel(begun.id)
    batch = ended(client, begun.id)  # while the engine is still inside that step
    assert batch.status == "cancelled" and batch.cancelled_at and batch.cancelling_at
    assert list(results(client, batch.output_file_id)) == ["a"] and batch.request_counts.total == 51
    gate.let_go()
    gate.open()
    assert client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}]).choices
    assert client.batches.cancel(begun.id).status == "cancelled"  # again: nothing changes
    assert client.files.delete(begun.input_file_id).deleted


def test_what_is_left_when_its_time_is_over(gated, gate):
    client = gated.client()
    options = {"output_expires_after": {"anchor": "created_at", "seconds": 7200}}
    begun = begin(client, [line("a", max_tokens=1), *(line(str(n)) for n in range(2500))], window="1h", **options)
    while client.batches.retrieve(begun.id).request_counts.completed == 0:
        gate.step()
    gate.wait_inside()
    batches = gated.server.batches
    now = batches.store.now + 3600.0
    batches.store._clock = lambda: now
    gated.run(batches.look_at_times())
    batch = ended(client, begun.id)
    counts = batch.request_counts
    assert (batch.status, counts.completed, counts.failed) == ("expired", 1, 2500) and batch.expired_at
    late = results(client, batch.error_file_id)
    assert list(late) == [str(n) for n in range(2500)]
    assert late["7"]["response"] is None and late["7"]["error"]["code"] == "batch_expired"
    output = client.files.retrieve(batch.output_file_id)
    assert output.expires_at == output.created_at + 7200
    gate.open()


def test_people_go_first(gated, gate):
    """A request that comes in the middle of a batch is answered before the lines that wait."""
    client = gated.client()
    begun = begin(client, [line(str(number)) for number in range(30)])
    gate.wait_inside()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.chat.completions.create, model="m", messages=[{"role": "user", "content": "Hi"}])
        open = gated.engine.generations.open
        until(lambda: [each for each in list(open) if each.accepted.done() and each.share.tier != "flex"])
        gate.open()
        asked.result(CEILING)
    assert client.batches.retrieve(begun.id).request_counts.completed < 25
    assert ended(client, begun.id).request_counts.completed == 30


def test_a_line_that_ends_the_engine_does_not_take_others_with_it(serve, tmp_path):
    client = serve(engine="runners:FaultyRunner", state=tmp_path, parallel=2).ready().client()
    lines = [line(str(number)) for number in range(6)] + [line("bad", "!exit"), line("row", "!row")]
    batch = ended(client, begin(client, lines).id)
    assert batch.status == "completed" and sorted(results(client, batch.output_file_id)) == list("012345")
    failed = results(client, batch.error_file_id)
    assert {id: each["response"]["status_code"] for id, each in failed.items()} == {"bad": 422, "row": 500}


def test_more_lines_than_may_queue(serve, tmp_path):
    client = serve(state=tmp_path, parallel=2, max_queue=0).ready().client()
    batch = ended(client, begin(client, [line(str(n), n=2) for n in range(20)]).id)
    assert batch.request_counts.completed == 20


def test_several_batches_take_turns_as_they_came(gated, gate):
    client = gated.client()
    made = [begin(client, [line(f"{b}-{n}") for n in range(5)]).id for b in range(3)]
    gate.open()
    found = [ended(client, id) for id in made]
    assert all(batch.request_counts.completed == 5 for batch in found)
    assert [batch.completed_at for batch in found] == sorted(batch.completed_at for batch in found)


def test_prompts_that_begin_alike_have_keys_that_do():
    system = b"You are a helpful assistant. " * 40
    keys = [prefix_key.of(system + b"%d" % n * 1000) for n in range(4)]
    other = prefix_key.of(b"Another one. " * 100)
    assert len(set(keys)) == 4 and len({key[:15] for key in keys}) == 1 and other[:3] != keys[0][:3]
    assert prefix_key.of(b"") == prefix_key.of(b"short") == b""
    body = {"model": "b", "messages": [{"role": "user", "content": "x" * 100}]}
    read = line_form.read(written([line("a", **body)])[:-1], 3, CHAT)
    assert (read.custom_id, read.place.model, read.place.number) == ("a", "b", 3) and read.place.prefix


def test_lines_of_a_model_and_a_prefix_come_together(serve, tmp_path):
    """Whatever their order in the file."""
    server = serve(state=tmp_path, parallel=1, log_level="info").ready()
    client = server.client()
    systems = ["One. " * 60, "Two. " * 60, "Three. " * 60]
    lines = []
    for n in range(12):
        system = {"role": "system", "content": systems[n % 3]}
        lines.append(line(str(n), messages=[system, {"role": "user", "content": f"{n}"}], max_tokens=1))
    batch = ended(client, begin(client, lines).id)
    assert batch.request_counts.completed == 12
    found = results(client, batch.output_file_id)
    computed = [
        usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
        for usage in (each["response"]["body"]["usage"] for each in found.values())
    ]
    assert sum(count > 150 for count in computed) <= 3, computed


def test_metrics(serve, gate, tmp_path):
    """Lines wait, run, and are done; then nothing is left but the files."""
    server = serve(engine="runners:GatedRunner", model=gate.path, state=tmp_path, parallel=1)
    gate.accept()
    server.ready()

    def figures() -> dict[str, float]:
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith("nitro_")}

    none = figures()
    assert none["nitro_batches_open"] == none["nitro_files"] == none["nitro_file_bytes"] == 0
    client = server.client()
    batch = begin(client, [line(str(n)) for n in range(5)])
    gate.wait_inside()
    until(lambda: figures()['nitro_batch_lines{state="running"}'] == 2)  # one has the slot, one waits for it
    held = figures()
    assert held["nitro_batches_open"] == held["nitro_files"] == 1
    assert held['nitro_batch_lines{state="waiting"}'] == 3 and held['nitro_batch_lines{state="done"}'] == 0
    gate.open()
    done = ended(client, batch.id)
    after = figures()
    assert after["nitro_batches_open"] == after['nitro_batch_lines{state="done"}'] == 0 and after["nitro_files"] == 2
    sizes = [client.files.retrieve(id).bytes for id in (done.input_file_id, done.output_file_id)]
    assert after["nitro_file_bytes"] == sum(sizes)


def test_a_key_sees_its_own(serve, tmp_path):
    """And its lines have its rights and count as its."""
    import hashlib

    secrets = {name: "sk-nitro-" + name * 43 for name in "abz"}
    entries = {"a": 'models = ["nothing"]', "b": "", "z": "admin = true"}
    (tmp_path / "keys.toml").write_text(
        "".join(
            f'[keys.{name}]\nhash = "sha256:{hashlib.sha256(secrets[name].encode()).hexdigest()}"\n{more}\n'
            for name, more in entries.items()
        )
    )
    (tmp_path / "keys.toml").chmod(0o600)
    server = serve(state=tmp_path / "state", keys=tmp_path / "keys.toml").ready()
    a, b, z = (server.client(api_key=secrets[name]) for name in "abz")
    made = {each: begin(each, [line("x")]).id for each in (a, b)}
    for each, id in made.items():
        assert [batch.id for batch in each.batches.list()] == [id]
        ended(each, id)
    assert {batch.id for batch in z.batches.list()} == set(made.values())
    for call in (b.batches.retrieve, b.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call(made[a])
    (own,) = [file for file in a.files.list() if file.purpose == "batch"]
    for call in (b.files.retrieve, b.files.content, b.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(own.id)
    refused = results(a, a.batches.retrieve(made[a]).error_file_id)["x"]["response"]
    assert refused["status_code"] == 403 and refused["body"]["error"]["param"] == "model"
    assert b.batches.retrieve(made[b]).request_counts.completed == 1
    assert z.files.content(b.batches.retrieve(made[b]).output_file_id).text
