"""The parts of soak/ that start nothing: what it generates, and what it takes for an honest reply."""

import asyncio
import contextlib
import importlib
import json
import pkgutil
import random
import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import soak
from soak import (
    bodies,
    damaged_models,
    document_requests,
    heads,
    health,
    memory_slopes,
    mixed,
    replies,
    report,
    request_sources,
    requests,
    schemas,
    sending,
    true_answers,
    unread,
)
from soak.connection import Connection, Reply, Unanswered
from soak.damaged_models import refusal
from soak.goals import GOALS, HOSTILE
from soak.report import Figure, Findings

SMALL = [kind for kind in bodies.KINDS if kind.quick][:6]


def chunk(**choice: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {}, **choice}]}).encode() + b"\n\n"


ERROR = b'{"error":{"message":"No.","type":"server_error","param":null,"code":null}}'
DONE = b"data: [DONE]\n\n"
STREAM = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}


# Bodies


def test_every_module_can_be_imported():
    assert all(
        importlib.import_module(f"soak.{m.name}") for m in pkgutil.iter_modules(soak.__path__) if m.name[0] != "_"
    )


def test_bodies_have_names_of_their_own_and_some_are_near_the_limit():
    assert len({kind.name for kind in bodies.KINDS}) == len(bodies.KINDS) > 80
    sizes = [len(kind.body("mixed", 1)) for kind in bodies.KINDS if kind.quick and "32 MB" in kind.name]
    assert len(sizes) > 4 and bodies.LIMIT - 10_000 < min(sizes) <= max(sizes) <= bodies.LIMIT


def test_a_body_above_the_limit_is_our_mistake():
    with pytest.raises(AssertionError):
        bodies.Kind("more", dict, damage=lambda _: b" " * (bodies.LIMIT + 1)).body()


@pytest.mark.parametrize("order", bodies.ORDERS)
def test_a_seed_gives_its_bodies_again(order):
    for kind in SMALL:
        assert kind.body(order, 1) == kind.body(order, 1)


def test_orders_differ():
    kind = bodies.Kind("three", lambda: {"a": b"1", "b": b"2", "c": b"3"})
    assert kind.body("forth") == b'{"a":1,"b":2,"c":3}'
    assert kind.body("back") == b'{"c":3,"b":2,"a":1}'
    assert len({kind.body("mixed", seed) for seed in range(20)}) > 2


def test_bodies_are_what_they_are_called():
    by_name = {kind.name: kind for kind in bodies.KINDS}
    tools = json.loads(by_name["20,000 tools"].body())["tools"]
    assert len({tool["function"]["name"] for tool in tools}) == 20_000
    assert len(json.loads(by_name["100,000 messages"].body())["messages"]) == 100_000
    assert len(json.loads(by_name["1,024 prompts"].body())["prompt"]) == 1_024
    with pytest.raises(json.JSONDecodeError):
        json.loads(by_name["trailing commas, 0.9 MB"].body())


def test_chunks_put_together_are_the_body():
    body, joined = random.Random(1).randbytes(50_000), b""
    rest = sending.in_chunks(body, 7)
    while rest:
        size, rest = rest.split(b"\r\n", 1)
        joined, rest = joined + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert joined == body


# Requests


def test_a_seed_gives_its_requests_again_and_no_other_does():
    first, again, other = ([request.data for request in requests.generate(seed, 300)] for seed in (1, 1, 2))
    assert first == again
    assert len(set(first) & set(other)) < 30


def test_every_kind_of_mutation_and_head_comes():
    kinds = {request.kind.split(",")[0] for request in requests.generate(3, 1500)}
    assert kinds == {*requests.MUTATIONS, *(f"head: {name}" for name in heads.HEADS)}


def test_clients_leave_at_every_stage_and_none_of_them_is_owed_a_reply():
    leaving = [request for request in requests.generate(4, 500) if request.leaving]
    assert {request.leaving for request in leaving} == set(requests.LEAVINGS)
    assert not any(request.strict for request in leaving)


def test_heads_go_to_all_paths():
    paths = request_sources.paths()
    assert {"/v1/chat/completions", "/v1/responses/a", "/api/show", "/metrics"} <= set(paths)
    assert not any("{" in path or path == request_sources.ENDLESS[1] for path in paths)
    made = [requests.raw(1, i, ["/of/all"]) for i in range(60)]
    assert all(request.kind.startswith("head: ") for request in made)
    assert sum(b"/of/all" in request.data for request in made) > 20


def test_the_document_gives_requests_of_every_route():
    made = list(document_requests.generate(1, 40))
    again = list(document_requests.generate(1, 40))
    assert [(each.kind, len(each.data)) for each in made] == [(each.kind, len(each.data)) for each in again]
    assert len({request.kind.partition(":")[0] for request in made}) > 8
    assert any(not request.kind.endswith("as it is") for request in made)
    assert all(request.data.split(b" ", 2)[2].startswith(b"HTTP/1.1\r\nHost: ") for request in made)


def test_requests_are_small():
    assert max(len(request.data) for request in requests.generate(5, 500)) < 600_000


def test_what_is_taken_for_valid_is_json_with_a_prompt():
    for i in range(200):
        path, body = requests.valid(random.Random(i))
        assert ("messages" if path == replies.CHAT else "prompt") in json.loads(json.dumps(body))


def test_schemas_end():
    assert all(len(json.dumps(schemas.schema(random.Random(i)))) < 20_000 for i in range(200))


# Honest replies


OPEN = "a stream whose choices have not all ended"
UNENDED = "a stream that ends without [DONE] or an error"
LINES = {"content-type": "application/x-ndjson"}


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (Reply(200, JSON, b'{"choices":[{"index":0,"finish_reason":"stop"}]}'), None),
        (Reply(200, JSON, b'{"choices":[{"index":0}]}'), "status 200, a choice that has not ended"),
        (Reply(200, JSON, b'{"choices":'), "status 200 whose body is no JSON"),
        (Reply(400, JSON, ERROR), None),
        (Reply(503, JSON, ERROR), None),
        (Reply(500, JSON, ERROR), "status 500"),
        (Reply(503, JSON, b"Sorry"), "status 503 without an error body"),
        (Reply(400, JSON, ERROR.replace(b"No.", b"No. " * 9000)), "status 400, an error of more than 8192 bytes"),
        (Reply(200, STREAM, chunk() + chunk(finish_reason="stop") + DONE), None),
        (Reply(200, STREAM, chunk() + b"data: " + ERROR + b"\n\n"), None),
        (Reply(200, STREAM, chunk() + b"data: " + ERROR + b"\n\n" + DONE), None),
        (Reply(200, STREAM, chunk() + chunk()), "a stream that ends without [DONE] or an error"),
        (Reply(200, STREAM, chunk() + DONE), OPEN),
        (Reply(200, STREAM, chunk(index=1) + chunk(finish_reason="stop") + DONE), OPEN),
        (Reply(200, STREAM, b": keepalive\n\n"), "a stream of nothing"),
        (Reply(200, STREAM, b'data: {"type":"message_start"}\n\ndata: {"type":"message_stop"}\n\n'), None),
        (Reply(200, STREAM, b'data: {"type":"response.created"}\n\n'), UNENDED),
        (Reply(200, LINES, b'{"done":false}\n{"done":true}\n'), None),
        (Reply(200, LINES, b'{"done":false}\n{"error":"No."}\n'), None),
        (Reply(200, LINES, b'{"done":false}\n'), "a stream of lines that does not end"),
        (Reply(400, JSON, b'{"error":"No."}'), None),
        (Reply(529, JSON, b'{"type":"error","error":{"type":"overloaded_error","message":"No."}}'), None),
        (Reply(501, JSON, ERROR), "status 501"),
    ],
)  # fmt: skip
def test_faults(reply, fault):
    assert replies.fault(reply) == fault


@pytest.mark.parametrize(
    ("status", "said", "how"),
    [
        (1, "Loading a …\nnitro: a.gguf is cut: it ends within its tensors.\n", "refused"),
        (1, "Traceback (most recent call last):\nnitro: a sentence\n", "status 1, a traceback"),
        (1, "Loading a …\n", "status 1 without a sentence"),
        (-6, "nitro: a sentence\n", "status -6"),
    ],
)
def test_refusals(status, said, how):
    assert refusal(status, said) == how


# The connection, with a server of ours at the other end


def replies_to(said: list[bytes], count: int, bodiless: bool = False, stays: bool = False) -> list[Reply]:
    async def ask() -> list[Reply]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for part in said:
                writer.write(part)
                await writer.drain()
            if stays:
                await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
            connection.bodiless = bodiless
            try:
                return await connection.answers(count, 30)
            finally:
                await connection.close()

    return asyncio.run(ask())


def test_replies_in_a_row_are_told_apart():
    said = [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 4", b"00 Bad\r\n"]
    said.append(b"Transfer-Encoding: chunked\r\n\r\n2\r\nbc\r\n0\r\n\r\n")
    assert [(reply.status, reply.body) for reply in replies_to(said, 2, stays=True)] == [(200, b"a"), (400, b"bc")]


def test_a_reply_that_ends_with_its_connection():
    assert replies_to([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"], 1)[0].body == b"abc"


def test_a_reply_to_head_has_no_body():
    assert replies_to([b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n"], 1, bodiless=True, stays=True)[0].status == 200


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", b"no HTTP\r\n\r\n"])
def test_what_is_cut_or_no_reply_is_told(said):
    with pytest.raises(Unanswered):
        replies_to([said], 1)


# Health, and the report


def test_late_polls_count():
    """One stall of a second among ten of idle ones is a tenth of the polls."""
    polls = [(0.001, True)] * 900 + [(i / 100, True) for i in range(100)]
    found = health.Health.of(polls)
    assert (found.p50, found.p99, found.longest) == (1.0, 890.0, 990.0)


def test_a_bound_that_is_broken_is_told(tmp_path):
    findings = Findings("Things", "How.", [Figure.at_most("a", 3, 2, " s"), Figure.none("b", 0), Figure("c", "x")])
    findings.faults["a kind"] += 2
    assert report.broken([findings]) == ["Things: a: 3 s, ≤ 2 s"]
    assert "| **no** |" in findings.text() and "- 2 × a kind" in findings.text()
    for _ in range(2):
        report.write(findings, tmp_path / "results.md", tmp_path / "results.json", tmp_path / "summary.md")
    assert (tmp_path / "results.md").read_text().count("## Things") == 1
    assert not (tmp_path / "summary.md").exists(), "none of it belongs to a goal"


def test_figures_of_a_goal_stand_in_the_summary_whichever_section_is_run(tmp_path):
    files = [tmp_path / name for name in ("results.md", "results.json", "summary.md")]
    one = Figure.at_most("left", 3, 2).beside("9").of(HOSTILE)
    report.write(Findings("Things", "How.", [one, Figure("not told", "x")]), *files)
    report.write(Findings("Others", "How.", [Figure.at_least("more", 1, 2).of(HOSTILE)]), *files)
    summary = files[2].read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in summary.splitlines() if line.startswith("| ")]
    what, goal = GOALS[HOSTILE]
    assert [what, goal, "left", "3", "9", "≤ 2", "**no**"] in rows
    assert ["", "", "more", "1", "", "≥ 2", "**no**"] in rows and "not told" not in summary
    assert "| llama-server |" in files[0].read_text().replace("  ", "")


# Memory, and what replies tell


def test_a_slope_is_told_in_ten_minutes():
    rising = [(float(second), 100 + second / 60) for second in range(0, 1200, 5)]
    assert memory_slopes.slope(rising) == pytest.approx(10)
    assert memory_slopes.slope([(0.0, 5.0), (5.0, 5.0), (10.0, 5.0)]) == 0 == memory_slopes.slope([])
    assert (memory_slopes.warm_up(3600), memory_slopes.warm_up(60)) == (600, 30)


def test_what_replies_tell_of_tokens():
    told = {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
    whole = json.dumps({"usage": told}).encode()
    counts = {"nitro_prompt_tokens": 5, "nitro_generated_tokens": 3, "nitro_cached_tokens": 2, "nitro_requests": 1}
    assert mixed.usage(Reply(200, JSON, whole)) == counts
    assert mixed.usage(Reply(200, STREAM, chunk() + b"data: " + whole + b"\n\n" + DONE)) == counts


def test_every_kind_of_load_is_json():
    for make in mixed.KINDS.values():
        path, body = make(random.Random(1))
        assert path.startswith("/") and json.loads(json.dumps(body)) == body


@pytest.mark.parametrize("phase", ["prompt", "done"])
def test_what_is_under_way(phase):
    slots = [{"slot": 0, "held": 5}, {"slot": 1, "held": 5, **({"request": "a"} if phase == "prompt" else {})}]
    model = {"slots": slots, "running": 0, "waiting": 0, "inputs": 0}
    events = [{"models": [], "requests": [{"id": "a", "phase": "prompt"}]}, {"models": [model]}]
    events += [{"requests": [{"id": "a", "phase": phase}]}]
    assert mixed._under_way(events) == ("1 requests, 1 slots, 0 sequences" if phase == "prompt" else "")
    assert mixed._under_way([{"models": [], "requests": []}]) == "nothing was told of the slots"


def test_tokens_of_an_answer_that_an_error_ended():
    body = chunk(tokens=[1, 2], text="ab") + chunk(tokens=[3], text="c") + b"data: " + ERROR + b"\n\n" + DONE
    told = true_answers.told(body)
    assert (told.tokens, told.texts, told.finished) == ([(1, 2, 3)], ["abc"], [None])
    assert sorted(true_answers._longest({(1,), (1, 2), (1, 3)})) == [(1, 2), (1, 3)]


def test_connections_that_nobody_reads():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with unread.connected(port) as client, server.accept()[0] as held:
            assert unread.waiting(port) == 0
            held.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    held.send(bytes(2**16))
            assert unread.waiting(port) == 1 and client.fileno() >= 0


def test_shares_of_damaged_models():
    assert sum(damaged_models.shares(5000).values()) == 5000
    assert all(count >= 1 for count in damaged_models.shares(9).values())
