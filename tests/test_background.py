"""Responses in the background: queued, polled, followed, cancelled, and taken up again by the next server."""

import json
import sqlite3
import threading
import time
from contextlib import closing

import openai
import pytest
from running import CEILING, sdk, server_process

from nitro.api.responses import background
from nitro.server import Server  # noqa: F401  (imported before servers of their own processes are started)
from nitro.state import database

GATED = "runners:GatedRunner"
ENDED = ("completed", "incomplete", "failed", "cancelled")


def create(server, text: str = "Hi", **options):
    return server.client().responses.create(**{"model": "", "input": text, "background": True, **options})


def ended(client: openai.OpenAI, id: str):
    """The response, polled until it has ended."""
    end = time.monotonic() + CEILING
    while (response := client.responses.retrieve(id)).status not in ENDED:
        assert time.monotonic() < end, f"{id} is {response.status} for ever"
    return response


def status(server, id: str, wanted: str) -> None:
    """Poll until it is that."""
    end = time.monotonic() + CEILING
    while (found := server.client().responses.retrieve(id).status) != wanted:
        assert time.monotonic() < end, f"{id} is {found}"


@pytest.fixture
def gated(serve, gate, tmp_path):
    """A server with one place whose engine waits for the test."""
    server = serve(engine=GATED, model=gate.path, state=tmp_path / "state", parallel=1)
    gate.accept()
    return server


def test_it_is_answered_at_once_and_polled(gated, gate):
    client = gated.client()
    first, second = create(gated, metadata={"a": "b"}), create(gated)
    assert first.status == second.status == "queued" and first.background and first.metadata == {"a": "b"}
    gate.wait_inside()
    status(gated, first.id, "in_progress")
    assert client.responses.retrieve(second.id).status == "queued"
    gate.open()
    whole = client.responses.create(model="", input="Hi", store=False)
    for id in (first.id, second.id):
        response = ended(client, id)
        assert response.status == "completed" and response.output_text == whole.output_text
    assert first.created_at == client.responses.retrieve(first.id).created_at
    assert client.responses.input_items.list(first.id).data[0].content[0].text == "Hi"


def test_a_wrong_request_is_refused_at_once(gated):
    for options, param in (({"truncation": "some"}, "truncation"), ({"input": [{"role": "x"}]}, "input[0].role")):
        with pytest.raises(openai.BadRequestError) as caught:
            create(gated, **options)
        assert caught.value.param == param


def test_what_waits_and_what_runs_is_cancelled(gated, gate):
    client = gated.client()
    runs, waits = create(gated), create(gated)
    gate.wait_inside()
    assert client.responses.cancel(waits.id).status == "cancelled"
    assert client.responses.cancel(runs.id).status == "cancelled"
    gate.open()
    while "client=left" not in gated.log_line():
        pass
    last = create(gated)
    assert ended(client, last.id).status == "completed"
    assert client.responses.cancel(last.id).status == "completed"  # too late: nothing changes
    assert [client.responses.retrieve(id).status for id in (runs.id, waits.id)] == ["cancelled"] * 2
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(client.responses.create(model="", input="Hi").id)
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel("resp_none")


def test_what_runs_is_deleted(gated, gate):
    client = gated.client()
    runs, waits = create(gated), create(gated)
    gate.wait_inside()
    client.responses.delete(runs.id)
    client.responses.delete(waits.id)
    gate.open()
    assert ended(client, create(gated).id).status == "completed"
    for id in (runs.id, waits.id):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(id)


def numbers(events: list) -> list[int]:
    return [event.sequence_number for event in events]


def test_a_stream_is_resumed(gated, gate):
    client = gated.client()
    stream = iter(create(gated, stream=True))
    seen = [next(stream)]
    assert seen[0].type == "response.created" and seen[0].response.background
    gate.step(3)
    while not any(event.type == "response.output_text.delta" for event in seen):
        seen.append(next(stream))
    stream.close()
    id, last = seen[0].response.id, seen[-1].sequence_number
    live = iter(client.responses.retrieve(id, stream=True, starting_after=last))
    gate.open()
    rest = list(live)
    assert numbers(seen + rest) == list(range(len(seen) + len(rest)))
    assert rest[-1].type == "response.completed"
    text = "".join(e.delta for e in seen + rest if e.type == "response.output_text.delta")
    assert text == rest[-1].response.output_text == client.responses.retrieve(id).output_text
    again = list(client.responses.retrieve(id, stream=True))
    assert [event.to_dict() for event in again] == [event.to_dict() for event in seen + rest]
    assert numbers(client.responses.retrieve(id, stream=True, starting_after=5)) == numbers(again)[6:]
    assert not list(client.responses.retrieve(id, stream=True, starting_after=numbers(again)[-1]))


def test_a_stream_that_waits_says_so(gated, gate):
    """Its client knows from the beginning what to ask for, should the connection break."""
    create(gated)
    gate.wait_inside()
    stream = iter(create(gated, stream=True))
    created, queued = next(stream), next(stream)
    assert [created.type, queued.type] == ["response.created", "response.queued"]
    assert created.response.status == queued.response.status == "queued" and created.response.id == queued.response.id
    gate.open()
    rest = list(stream)
    assert rest[0].type == "response.in_progress" and rest[-1].type == "response.completed"
    told = [created, queued, *rest]
    assert numbers(told) == list(range(len(told)))
    for after in range(len(told)):
        again = gated.client().responses.retrieve(created.response.id, stream=True, starting_after=after)
        assert [event.to_dict() for event in again] == [event.to_dict() for event in told[after + 1 :]]


def test_a_lock_is_waited_out(gated, gate, tmp_path, monkeypatch):
    """Another program writes for long while a response runs: it goes on afterwards, and nothing of it is lost."""
    monkeypatch.setattr(database, "PATIENCE", 0.0)
    monkeypatch.setattr(background, "TRY_AGAIN", 0.01)
    refused = threading.Event()
    fault = database.Database._fault

    def noted(self, error):
        refused.set()
        return fault(self, error)

    monkeypatch.setattr(database.Database, "_fault", noted)
    stream = iter(create(gated, stream=True))
    told = [next(stream)]
    gate.wait_inside()
    while told[-1].type != "response.in_progress":
        told.append(next(stream))
    with closing(sqlite3.connect(tmp_path / "state" / database.FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        gate.open()
        assert refused.wait(CEILING)
        other.execute("ROLLBACK")
    told += stream
    assert told[-1].type == "response.completed" and numbers(told) == list(range(len(told)))


def test_the_sdks_own_stream_of_one_in_the_background(gated, gate):
    gate.open()
    client = gated.client()
    with client.responses.stream(model="", input="Hi", background=True) as stream:
        response = stream.get_final_response()
    assert response.status == "completed" and response.output_text
    with client.responses.stream(response_id=response.id, starting_after=None) as stream:
        assert stream.get_final_response().output_text == response.output_text


def test_a_cancelled_stream_ends(gated, gate):
    client = gated.client()
    stream = iter(create(gated, stream=True))
    id = next(stream).response.id
    gate.wait_inside()
    client.responses.cancel(id)
    last = list(stream)[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")
    gate.open()


def test_one_that_fails_says_why(serve, tmp_path):
    server = serve(engine="runners:FaultyRunner", state=tmp_path).ready()
    response = ended(server.client(), create(server, "!step").id)
    assert response.status == "failed" and "made-up fault" in response.error.message
    *_, last = create(server, "!step", stream=True)
    assert last.type == "response.failed" and last.response.id


def test_a_conversation_gets_it(gated, gate):
    gate.open()
    client = gated.client()
    talk = client.conversations.create()
    response = ended(client, create(gated, conversation=talk.id).id)
    texts = [item.content[0].text for item in client.conversations.items.list(talk.id, order="asc")]
    assert texts == ["Hi", response.output_text]
    following = create(gated, previous_response_id=response.id)
    assert ended(client, following.id).status == "completed"


# The next server


def test_a_server_that_stops_leaves_it_to_the_next(serve, gate, tmp_path):
    """One that ran and one that waited are both computed; of a stream that ran, what was sent stays true."""
    options = {"engine": GATED, "state": tmp_path / "state", "parallel": 2}
    first = serve(model=gate.path, alias="m", **options)
    gate.accept()
    stream = iter(create(first, stream=True))
    streamed = next(stream).response.id
    runs, waits = create(first).id, create(first).id
    gate.wait_inside()
    status(first, streamed, "in_progress")
    status(first, runs, "in_progress")
    first.__exit__()
    gate.open()
    second = serve(model="", alias="m", **options).ready()
    client = second.client()
    assert ended(client, streamed).status == "incomplete"
    assert client.responses.retrieve(streamed).incomplete_details.reason == "server_ended"
    again, fresh = ended(client, runs), ended(client, waits)
    assert again.status == fresh.status == "completed" and again.output_text == fresh.output_text
    assert again.restarts == 1 and not hasattr(fresh, "restarts")
    *events, last = client.responses.retrieve(streamed, stream=True)
    assert last.type == "response.incomplete" and numbers([*events, last]) == list(range(len(events) + 1))


def test_another_model_does_not_take_it_up(serve, gate, tmp_path):
    options = {"engine": GATED, "state": tmp_path / "state"}
    first = serve(model=gate.path, alias="large", **options)
    gate.accept()
    id = create(first).id
    gate.wait_inside()
    first.__exit__()
    gate.open()
    other = serve(model="", alias="small", **options).ready()
    assert ended(other.client(), create(other).id).status == "completed"
    assert other.client().responses.retrieve(id).status == "queued"
    assert other.client().responses.cancel(id).status == "cancelled"


def test_two_servers_keep_in_one_folder(serve, gate, tmp_path):
    """What one computes is not taken from it by the other, which sees it."""
    options = {"engine": GATED, "state": tmp_path / "state", "alias": "m"}
    first = serve(model=gate.path, **options)
    gate.accept()
    stream = iter(create(first, stream=True))
    id = next(stream).response.id
    gate.wait_inside()
    second = serve(model="", **options).ready()
    assert ended(second.client(), create(second).id).status == "completed"
    follows = iter(second.client().responses.retrieve(id, stream=True))
    assert next(follows).response.id == id
    gate.open()
    assert list(follows)[-1].type == list(stream)[-1].type == "response.completed"


def test_what_ends_the_server_again_and_again_is_given_up(tmp_path):
    """Of a response whose servers died three times, the next one says so, and does not compute it."""
    options = ("--engine", GATED, "--state", str(tmp_path / "state"), "--log-level", "warning")
    from runners import Gate

    gate = Gate(tmp_path)
    try:
        id = None
        for run in range(3):
            with server_process(gate.path, "--alias", "m", *options) as process:
                gate.hold()
                gate.greet()
                client = sdk(process.wait_ready())
                id = id or client.responses.create(model="", input="Hi", background=True).id
                gate.wait_inside()
                end = time.monotonic() + CEILING
                while (found := client.responses.retrieve(id)).status != "in_progress":
                    assert time.monotonic() < end
                assert getattr(found, "restarts", 0) == run
        with server_process("--alias", "m", "--engine", "runners:FakeRunner", *options[2:]) as process:
            client = sdk(process.wait_ready())
            response = ended(client, id)
            assert (response.status, response.incomplete_details.reason) == ("incomplete", "server_ended")
            json.dumps(response.to_dict())
    finally:
        gate.close()
