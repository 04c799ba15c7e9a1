"""Requests are recorded, listed and deleted; a disk that fails costs records only."""

import errno
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from runners import Gate
from running import CEILING, FAKE, RunningServer, raw_request

from nitro.config import ServeConfig
from nitro.records import folder, form, protocols, tape
from nitro.records.folder import RecordFolder
from nitro.records.form import Exchange, Head, Template
from nitro.records.secrets import Masks
from nitro.records.tape import Tape, Told

KEY = "a-key-of-this-server"
SAID = [{"role": "user", "content": "What is recorded?"}]
ANSWERING: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAID, "max_tokens": 4, "temperature": 0},
    "/v1/completions": {"prompt": "What is recorded?", "max_tokens": 4, "seed": 3, "n": 2},
    "/v1/responses": {"input": "What is recorded?", "max_output_tokens": 4, "temperature": 0},
    "/v1/messages": {"messages": SAID, "max_tokens": 4, "temperature": 0},
    "/api/chat": {"model": "", "messages": SAID, "options": {"num_predict": 4, "temperature": 0}},
    "/api/generate": {"model": "", "prompt": "What is recorded?", "options": {"num_predict": 4, "seed": 1}},
}
EMBEDDING: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": ["What is", "recorded?"]},
    "/api/embed": {"model": "", "input": "What is recorded?"},
    "/api/embeddings": {"model": "", "prompt": "What is recorded?"},
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    at = tmp_path_factory.mktemp("records") / "kept"
    with RunningServer(ServeConfig(engine=FAKE, port=0, api_key=KEY, record=at)) as server:
        yield server.ready()


@pytest.fixture
def client(recording: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=recording.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=CEILING) as client:
        assert client.delete("/v1/records").status_code == 200
        yield client


def records(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    reply = client.get("/v1/records", params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()["data"]


def post(client: httpx.Client, path: str, body: Any, **options: Any) -> httpx.Response:
    reply = client.post(path, json=body, **options)
    assert reply.status_code == 200, reply.text
    return reply


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", ANSWERING)
def test_an_answer_is_recorded_as_its_client_got_it(client: httpx.Client, path: str, stream: bool) -> None:
    body = {**ANSWERING[path], "stream": stream}
    reply = post(client, path, body)
    (listed,) = records(client)
    assert listed["id"] == reply.headers["x-request-id"] and listed["path"] == path and listed["stream"] is stream
    assert listed["about"] == "What is recorded?" and listed["deterministic"]
    assert listed["model"] == "FakeRunner" and listed["prompt_tokens"] > 0 and listed["completion_tokens"] >= 4
    exchange = client.get(f"/v1/records/{listed['id']}").json()["exchange"]
    assert exchange["request"] == body and exchange["status"] == 200
    assert 0 < exchange["first_seconds"] <= exchange["seconds"]
    if stream:
        assert "".join(text for _, text in exchange["stream"]) == reply.text
        times = [at for at, _ in exchange["stream"]]
        assert times == sorted(times) and times[0] > 0
    else:
        assert exchange["reply"] == reply.json()
    served = exchange["served"]
    assert served["fingerprint"].startswith("fp_") and served["first_token_seconds"] >= 0
    line = form.decode(json.dumps({"kind": "exchange", **exchange}).encode())
    assert isinstance(line, Exchange)
    answer = protocols.answer_of(line)
    assert answer.choices[0].text and answer.choices[0].finish
    if not stream or path not in ("/v1/chat/completions", "/v1/completions"):  # which tell no usage unless asked
        assert (answer.prompt_tokens, answer.completion_tokens) == (
            served["prompt_tokens"],
            served["completion_tokens"],
        )


def test_a_number_that_nobody_has_room_for_hides_no_record(client: httpx.Client) -> None:
    """It is JSON all the same: the body is recorded as text, and listed with the others."""
    path = "/v1/chat/completions"
    wanted = json.dumps({**ANSWERING[path], "seed": 0}).replace('"seed": 0', f'"x": [1e999, -{"9" * 400}]')
    client.post(path, content=wanted)
    post(client, path, ANSWERING[path])
    first, second = records(client)
    assert (first["about"], second["about"]) == ("What is recorded?", "")
    assert client.get(f"/v1/records/{second['id']}").json()["exchange"]["request_text"] == wanted


@pytest.mark.parametrize("path", EMBEDDING)
def test_vectors_are_recorded(client: httpx.Client, path: str) -> None:
    post(client, path, EMBEDDING[path])
    (listed,) = records(client)
    exchange = form.decode(client.get(f"/v1/records/{listed['id']}/file").content.splitlines()[-1])
    assert isinstance(exchange, Exchange) and listed["deterministic"] and listed["prompt_tokens"] > 0
    assert len(protocols.answer_of(exchange).vectors) == (2 if path == "/v1/embeddings" else 1)


def test_a_record_is_a_file_of_its_own(client: httpx.Client) -> None:
    path = "/v1/chat/completions"
    for _ in range(3):
        post(client, path, ANSWERING[path])
    newest, middle, oldest = records(client)
    lines = [form.decode(line) for line in client.get(f"/v1/records/{middle['id']}/file").content.splitlines()]
    head, template, exchange = lines
    assert isinstance(head, Head) and isinstance(template, Template) and isinstance(exchange, Exchange)
    assert exchange.id == middle["id"] and exchange.served.template == template.digest == form.digest(template.text)
    assert [each["id"] for each in records(client, limit=1)] == [newest["id"]]
    assert [each["id"] for each in records(client, after=newest["id"], limit=2)] == [middle["id"], oldest["id"]]


def test_one_is_deleted_and_the_others_stay(client: httpx.Client) -> None:
    for text in "abc":
        post(client, "/v1/completions", {"prompt": text, "max_tokens": 1})
    _, middle, _ = records(client)
    assert client.delete(f"/v1/records/{middle['id']}").json()["deleted"] == 1
    assert client.delete(f"/v1/records/{middle['id']}").status_code == 404
    assert client.get(f"/v1/records/{middle['id']}").status_code == 404
    post(client, "/v1/completions", {"prompt": "d", "max_tokens": 1})
    assert [each["about"] for each in records(client)] == ["d", "c", "a"]
    assert client.delete("/v1/records").json()["deleted"] == 3
    assert records(client) == []


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "many"}, {"after": "req_0"}])
def test_a_wrong_query_is_named(client: httpx.Client, query: dict[str, str]) -> None:
    refused = client.get("/v1/records", params=query)
    assert refused.status_code == 400 and refused.json()["error"]["param"] == next(iter(query))


def test_no_key_and_no_cookie_is_recorded(client: httpx.Client, recording: RunningServer) -> None:
    secret = {"Cookie": "session=cookie-value", "x-api-key": KEY, "User-Agent": "agent-name"}
    tool = {"authorization": "Bearer abcdefgh-1234", "note": f"with {KEY}", "url": "https://me:pass-word@example.org/"}
    inner = json.dumps({"api_key": "inner-value", "city": "Rome"})
    said = [*SAID, {"role": "user", "content": inner}]
    client.post("/v1/chat/completions", json={"messages": said, "max_tokens": 1, "metadata": tool}, headers=secret)
    assert client.get("/v1/records", headers={"Authorization": "Bearer wrong"}).status_code == 401
    client.post("/v1/chat/completions", json={"messages": SAID}, headers={"Authorization": "Bearer wrong"})
    (listed,) = records(client)
    written = client.get(f"/v1/records/{listed['id']}/file").text
    for text in (KEY, "cookie-value", "agent-name", "abcdefgh-1234", "pass-word", "inner-value"):
        assert text not in written
    assert "Rome" in written and "https://***@example.org/" in written


def test_what_is_refused_and_what_is_no_json_is_recorded(client: httpx.Client) -> None:
    assert client.post("/v1/chat/completions", json={"messages": 3}).status_code == 400
    assert client.post("/v1/chat/completions", content=b'{"messages": [').status_code == 400
    second, first = records(client)
    assert first["status"] == second["status"] == 400
    exchange = client.get(f"/v1/records/{second['id']}").json()["exchange"]
    assert exchange["request_text"] == '{"messages": [' and "request" not in exchange
    assert exchange["reply"]["error"]["message"]


def test_a_client_that_leaves_is_told(serve: Callable[..., RunningServer], gate: Gate, tmp_path: Path) -> None:
    server = serve(engine="runners:GatedRunner", model=gate.path, record=tmp_path / "kept")
    gate.accept()
    server.ready()
    sock = raw_request(server.url, json.dumps({"messages": SAID, "stream": True}).encode())
    gate.step(3)
    while b"content" not in sock.recv(65536):
        pass
    sock.close()
    assert "client=left" in server.log_line()
    gate.open()
    server.run(server.server.recorder.written())
    (listed,) = httpx.get(f"{server.url}/v1/records").json()["data"]
    assert listed["ended"] == "left" and listed["stream"] and listed["status"] == 200


def test_a_response_brings_what_it_goes_on_with(client: httpx.Client) -> None:
    first = post(client, "/v1/responses", {"input": "One", "max_output_tokens": 2}).json()
    post(client, "/v1/responses", {"input": "Two", "max_output_tokens": 2, "previous_response_id": first["id"]})
    newest, _ = records(client)
    history = client.get(f"/v1/records/{newest['id']}").json()["exchange"]["history"]
    assert history["items"][0]["content"][0]["text"] == "One" and history["items"][1]["role"] == "assistant"


def test_without_the_option_there_are_none(fake_server: RunningServer) -> None:
    reply = httpx.get(f"{fake_server.url}/v1/records")
    assert reply.status_code == 404 and "--record" in reply.json()["error"]["message"]


def test_a_folder_that_cannot_be_made_costs_records_only(
    serve: Callable[..., RunningServer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    at = tmp_path / "file" / "records"
    with caplog.at_level(logging.WARNING, "nitro.records"):
        server = serve(record=at).ready()
        for _ in range(2):
            assert server.client().chat.completions.create(model="", messages=SAID, max_tokens=2).choices
        server.run(server.server.recorder.written())
        (told,) = [record.getMessage() for record in caplog.records if record.name == "nitro.records"]
        assert str(at) in told and "not recorded" in told
        assert httpx.get(f"{server.url}/v1/records").json()["data"] == []
        (tmp_path / "file").unlink()
        assert server.client().chat.completions.create(model="", messages=SAID, max_tokens=2).choices
        server.run(server.server.recorder.written())
    assert "2 requests were not recorded" in caplog.records[-1].getMessage()
    assert len(httpx.get(f"{server.url}/v1/records").json()["data"]) == 1


def note(id: str, text: str = "x", template: str | None = None) -> tuple[Exchange, Template | None]:
    taken = Tape(id, "/v1/completions", "", {})
    taken.came(json.dumps({"prompt": text}).encode())
    taken.told = lambda: Told(form.Served(model="m"), template)
    return tape.exchange(taken, Masks())


def ids(at: Path) -> list[str]:
    return [exchange.id for exchange, _, _ in folder.newest_first(at)]


def test_files_are_bounded_in_size_and_number_and_only_ours_can_be_read(tmp_path: Path) -> None:
    at = tmp_path / "deep" / "er"
    kept = RecordFolder(at, most_bytes=3000, most_files=3)
    for number in range(20):
        kept.add(*note(f"req_{number}", "x" * 1000, template="{{ messages }}"))
    found = folder.files(at)
    assert len(found) == 3 and all(file.stat().st_size <= 3000 for file in found)
    assert {stat.S_IMODE(file.stat().st_mode) for file in found} == {0o600}
    assert stat.S_IMODE(at.stat().st_mode) == 0o700
    assert ids(at) == [f"req_{number}" for number in range(19, 13, -1)]
    for file in found:  # each says what its records need
        kinds = [type(line) for line in folder.read(file)]
        assert kinds[:2] == [Head, Template] and kinds.count(Template) == 1
    kept.close()


def test_another_servers_open_file_is_left_alone(tmp_path: Path) -> None:
    other, ours = (RecordFolder(tmp_path, 10**6, 1) for _ in range(2))
    other.add(*note("other"))
    for number in range(3):
        ours.add(*note(f"req_{number}"))
        ours.close()
    assert ids(tmp_path) == ["req_2", "other"]
    assert ours.remove(None) == 1 and ids(tmp_path) == ["other"]
    other.close()
    assert ours.remove(None) == 1 and ids(tmp_path) == []


def test_what_a_full_disk_cuts_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = RecordFolder(tmp_path, 10**6, 3)
    kept.add(*note("req_1"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _FullAfter(20, os.write))
        with pytest.raises(OSError, match="No space"):
            kept.add(*note("req_2"))
    kept.add(*note("req_3"))
    assert ids(tmp_path) == ["req_3", "req_1"]
    kept.close()


class _FullAfter:
    """os.write on a disk with so many bytes left."""

    def __init__(self, left: int, write: Callable[[int, bytes], int]):
        self._left, self._write = left, write

    def __call__(self, file: int, data: bytes) -> int:
        if not self._left:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(file, data[: self._left])
        self._left -= written
        return written


def test_long_lines_are_found_from_the_end(tmp_path: Path) -> None:
    kept = RecordFolder(tmp_path, 10**7, 3)
    for number, length in enumerate((10, 200_000, 65_536, 5, 131_072)):
        kept.add(*note(f"req_{number}", "y" * length))
    kept.close()
    (file,) = folder.files(tmp_path)
    with file.open("ab") as data:
        data.write(b'{"kind":"exchange","id":"cut')  # a server that was killed
    assert ids(tmp_path) == [f"req_{number}" for number in (4, 3, 2, 1, 0)]
    assert folder.find(tmp_path, "req_1") is not None and folder.find(tmp_path, "req") is None
