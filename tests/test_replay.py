"""Recorded requests are sent again and compared; redacted ones are as long and tell nothing."""

import asyncio
import base64
import io
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from PIL import Image
from running import CEILING, FAKE, RunningServer
from test_records import ANSWERING, EMBEDDING

from nitro.cli.main import main
from nitro.config import ServeConfig
from nitro.records import folder, form, protocols
from nitro.records.form import Exchange
from nitro.records.redaction.bodies import Bodies
from nitro.records.redaction.tokenizer import ServerTokenizer, Token
from nitro.records.redaction.words import Words
from nitro.records.replay import comparison, sender, sources
from nitro.records.replay.sender import Reply
from nitro.records.replay.target import parse

PNG = io.BytesIO()
Image.new("RGB", (31, 17), (200, 10, 10)).save(PNG, "PNG")
PICTURE = base64.b64encode(PNG.getvalue()).decode()


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    """A server, and a folder with a request of each protocol, whole and as a stream."""
    at, kept = tmp_path_factory.mktemp("records"), tmp_path_factory.mktemp("kept")
    with RunningServer(ServeConfig(engine=FAKE, port=0, record=at)) as server:
        server.ready()
        with httpx.Client(base_url=server.url, timeout=CEILING) as client:
            for path, body in ANSWERING.items():
                for stream in (False, True):
                    assert client.post(path, json={**body, "stream": stream}).status_code == 200
            for path, body in EMBEDDING.items():
                assert client.post(path, json=body).status_code == 200
            first = client.post("/v1/responses", json={"input": "One", "temperature": 0, "max_output_tokens": 3}).json()
            more = {"previous_response_id": first["id"], "input": "Two", "temperature": 0, "max_output_tokens": 3}
            assert client.post("/v1/responses", json=more).status_code == 200
            assert client.delete(f"/v1/responses/{first['id']}").status_code == 200  # nobody else knows it
        server.run(server.server.recorder.written())
        for file in folder.files(at):
            shutil.copy(file, kept)  # what the tests send is recorded, too
        yield server, kept


def replayed(file: Path, url: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["replay", str(file), "--url", url, *options])


def copy(at: Path, file: Path, change: Callable[[Exchange], Exchange]) -> Path:
    """The records of a folder in one file, each changed."""
    lines = [change(line) if isinstance(line, Exchange) else line for line in sources.read(at)]
    file.write_bytes(b"".join(map(form.encode, lines)))
    return file


def test_the_same_server_gives_the_same_answers(traffic: tuple[RunningServer, Path]) -> None:
    server, at = traffic
    found = replayed(at, f"{server.url}/v1", "--speed", "max", "--json")
    told = json.loads(found.stdout)
    assert found.exit_code == 0, [(each["path"], each["differs"], each["error"]) for each in told["requests"]]
    assert told["same"] == len(told["requests"]) == 2 * len(ANSWERING) + len(EMBEDDING) + 2
    assert {each["path"] for each in told["requests"]} == {*ANSWERING, *EMBEDDING}
    for each in told["requests"]:
        assert each["replayed"]["answer"] and each["replayed"]["seconds"] > 0
    table = replayed(at, server.url, "--speed", "0")
    assert table.exit_code == 0 and table.stdout.count("the same") >= told["same"]


def test_the_key_goes_where_each_protocol_has_it(traffic: tuple[RunningServer, Path], serve: Callable) -> None:
    _, at = traffic
    server = serve(api_key="a-key").ready()
    refused = replayed(at, server.url, "--speed", "max")
    assert refused.exit_code == 1 and "FAILED" not in refused.stdout.splitlines()[0]
    assert replayed(at, server.url, "--speed", "max", "--api-key", "a-key").exit_code == 0


def test_an_answer_that_should_be_the_same_and_is_not(traffic: tuple[RunningServer, Path], tmp_path: Path) -> None:
    server, at = traffic

    def other(exchange: Exchange) -> Exchange:
        if exchange.path != "/v1/completions" or exchange.stream is not None:
            return exchange
        reply = form.value(exchange.reply)
        reply["choices"][0]["text"] += "more"
        return replace(exchange, reply=form.raw(reply))

    found = replayed(copy(at, tmp_path / "other.jsonl", other), server.url, "--speed", "max")
    assert found.exit_code == 1
    assert found.stdout.count("DIFFERS: text") == 1 and re.search(r'from character \d+ on: "more" was ""', found.stdout)


def test_a_sampled_answer_may_differ(traffic: tuple[RunningServer, Path], tmp_path: Path) -> None:
    server, at = traffic

    def other(exchange: Exchange) -> Exchange:
        request, reply = form.value(exchange.request), form.value(exchange.reply)
        if exchange.path != "/v1/messages" or exchange.stream is not None:
            return exchange
        reply["content"][0]["text"] += "more"
        return replace(exchange, request=form.raw({**request, "temperature": 1}), reply=form.raw(reply))

    found = replayed(copy(at, tmp_path / "other.jsonl", other), server.url, "--speed", "max")
    assert found.exit_code == 0 and found.stdout.count("differs, as it may: text") == 1


def test_a_seed_promises_nothing_of_another_build(traffic: tuple[RunningServer, Path]) -> None:
    _, at = traffic
    seeded = next(each for each in exchanges(at) if each.path == "/v1/completions" and each.stream is None)
    reply = form.value(seeded.reply)
    reply["choices"][0]["text"] = "another"
    for fingerprint, deterministic in ((reply["system_fingerprint"], True), ("fp_other", False)):
        body = json.dumps({**reply, "system_fingerprint": fingerprint}).encode()
        found = comparison.compare(seeded, Reply(0.0, 200, "application/json", [(0.1, body)], 0.1))
        assert (found.deterministic, found.fails, found.differs) == (deterministic, deterministic, ["text"])


def test_what_fails_now_is_told(traffic: tuple[RunningServer, Path], tmp_path: Path) -> None:
    server, at = traffic
    broken = copy(at, tmp_path / "b.jsonl", lambda each: replace(each, request=form.raw([])))
    found = replayed(broken, server.url, "--speed", "max", "--json")
    told = json.loads(found.stdout)
    assert found.exit_code == 1 and told["failed"] == len(told["requests"])
    nobody = replayed(at, "http://127.0.0.1:9", "--speed", "max")
    assert nobody.exit_code == 1 and "cannot be reached" in nobody.output


def exchanges(at: Path) -> list[Exchange]:
    return sources.exchanges(sources.read(at))


def test_distances_are_kept(traffic: tuple[RunningServer, Path]) -> None:
    server, at = traffic
    first, second, *_ = exchanges(at)
    first, second = replace(first, at=100.0), replace(second, at=101.0)
    sent: list[float] = []

    async def main() -> None:
        began = time.perf_counter()
        await sender.send(
            [first, second], parse(server.url, None, None), 4, done=lambda: sent.append(time.perf_counter() - began)
        )

    asyncio.run(main())
    assert len(sent) == 2 and max(sent) >= 0.25


def test_as_many_at_once_as_there_were(traffic: tuple[RunningServer, Path]) -> None:
    _, at = traffic
    one = exchanges(at)[0]
    spans = [(0, 10), (1, 2), (3, 2), (4, 2), (20, 1)]
    assert sender.busiest([replace(one, at=float(at), seconds=float(length)) for at, length in spans]) == 3


@pytest.mark.parametrize("line", ['{"kind":"exchange"}', "no JSON", '{"kind":"file","form":99,"nitro":"9","made":0}'])
def test_what_is_no_file_of_records_is_told_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(line + "\n")
    found = replayed(file, "http://127.0.0.1:9")
    assert found.exit_code == 1 and f"{file}, line 1" in found.output
    assert replayed(tmp_path / "none", "http://127.0.0.1:9").exit_code == 1


# Redaction

TOOL = {
    "type": "function",
    "function": {
        "name": "find_patient",
        "description": "Find a patient by surname",
        "parameters": {
            "type": "object",
            "properties": {
                "surname": {"type": "string", "description": "As in the passport", "pattern": "^Smith"},
                "ward": {"enum": ["oncology", "surgery"]},
                "bed": {"$ref": "#/$defs/bednumber"},
            },
            "$defs": {"bednumber": {"type": "integer", "minimum": 1}},
            "required": ["surname"],
        },
    },
}
CALLING = {
    "model": "a-model",
    "messages": [
        {"role": "system", "content": "You work for Doctor Miller.\nBe brief.", "name": "miller"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Where is Smith?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}", "detail": "low"}},
                {
                    "type": "input_audio",
                    "input_audio": {"data": base64.b64encode(b"\1" * 32000).decode(), "format": "wav"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_find_smith",
                    "type": "function",
                    "function": {
                        "name": "find_patient",
                        "arguments": '{"surname": "Smith", "ward": "surgery", "bed": 4}',
                    },
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_find_smith", "content": '{"found": "Smith, bed 4"}'},
    ],
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "find_patient"}},
    "stop": ["Smith"],
    "temperature": 0,
    "max_tokens": 5,
    "user": "miller",
    "metadata": {"clinic": "Northfield"},
    "logit_bias": {"17": -100},
    "response_format": {"type": "text"},
    "stream": True,
}
PRIVATE = ("smith", "miller", "patient", "surname", "ward", "oncology", "northfield", "clinic", "passport", "bednumber")


class SplitTokenizer:
    """A token is a word of at most five letters with the space before it, or anything else by itself."""

    def tokens(self, text: str) -> Sequence[Token]:
        return [Token(len(piece), piece.encode()) for piece in re.findall(r"\n+| ?\w{1,5}|[^\w]", text)]


def test_a_redacted_request_has_the_same_shape_and_tells_nothing() -> None:
    tokenizer = SplitTokenizer()
    words = Words(tokenizer, b"secret")
    made = Bodies(words).body(CALLING)
    written = json.dumps(made).lower()
    assert not [word for word in PRIVATE if word in written], written
    same = ("model", "temperature", "max_tokens", "stream", "response_format")
    assert {key: made[key] for key in same} == {key: CALLING[key] for key in same} and list(made) == list(CALLING)
    assert [message["role"] for message in made["messages"]] == [message["role"] for message in CALLING["messages"]]
    name = made["tools"][0]["function"]["name"]
    assert re.fullmatch(r"[a-z_]{1,64}", name)
    call = made["messages"][2]["tool_calls"][0]
    assert made["tool_choice"]["function"]["name"] == call["function"]["name"] == name
    assert made["messages"][3]["tool_call_id"] == call["id"] != "call_find_smith"
    parameters = made["tools"][0]["function"]["parameters"]
    arguments = json.loads(call["function"]["arguments"])
    assert list(arguments) == list(parameters["properties"]) and list(arguments.values())[2] == 4
    assert parameters["required"] == [next(iter(arguments))]
    _, ward, bed = parameters["properties"].values()
    assert list(arguments.values())[1] == ward["enum"][1]
    assert bed["$ref"] == f"#/$defs/{next(iter(parameters['$defs']))}"
    was, now = CALLING["messages"][0]["content"], made["messages"][0]["content"]
    assert len(tokenizer.tokens(was)) == len(tokenizer.tokens(now)) and now.count("\n") == 1
    _, picture, sound = made["messages"][1]["content"]
    data = base64.b64decode(picture["image_url"]["url"].partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (31, 17) and picture["image_url"]["detail"] == "low"
    assert sound["input_audio"]["format"] == "wav" and set(base64.b64decode(sound["input_audio"]["data"])[44:]) == {0}


OTHERS = {
    "/v1/messages": {
        "system": [{"type": "text", "text": "Smith", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "toolu_01Ab", "name": "smith", "input": {"ward": "smith"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01Ab", "content": "Smith"}]},
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
                ],
            },
        ],
        "tools": [{"name": "smith", "input_schema": {"type": "object", "properties": {"ward": {"type": "string"}}}}],
    },
    "/v1/responses": {
        "instructions": "Smith",
        "input": [{"type": "function_call", "call_id": "call_1", "name": "smith", "arguments": '{"ward":1}'}],
        "tool_choice": "auto",
        "text": {"format": {"type": "json_schema", "name": "smith", "schema": {"properties": {"ward": {}}}}},
    },
    "/api/chat": {
        "messages": [{"role": "user", "content": "Smith", "images": [PICTURE]}],
        "format": {"type": "object", "properties": {"ward": {"type": "string"}}},
        "options": {"temperature": 0, "stop": ["smith"]},
    },
    "/v1/completions": {"prompt": [5, 6, 7], "guided_regex": "Smith", "suffix": "Smith"},
    "/v1/embeddings": {"input": ["Smith", "ward"], "user": "miller"},
}


@pytest.mark.parametrize("path", OTHERS)
def test_each_protocol_is_redacted(path: str) -> None:
    made = Bodies(Words(SplitTokenizer(), b"secret")).body(OTHERS[path])
    written = json.dumps(made).lower()
    assert not [word for word in PRIVATE if word in written] and PICTURE not in json.dumps(made)

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return [shape(each) for each in value.values()]
        return [shape(each) for each in value] if isinstance(value, list) else type(value)

    assert shape(made) == shape(OTHERS[path])


def test_the_same_beginning_stays_the_same_one() -> None:
    words = Words(SplitTokenizer())
    begins = "The first line is shared.\nSo is the second one.\n"
    one, other = words.text(begins + "Here they part."), words.text(begins + "And here is the rest of it, longer.")
    assert one.splitlines()[:2] == other.splitlines()[:2] and one != other
    assert Words(SplitTokenizer()).text(begins) != words.text(begins), "two runs do not know of each other"


def test_redacted_traffic_is_as_long_and_can_be_sent(traffic: tuple[RunningServer, Path], tmp_path: Path) -> None:
    server, at = traffic
    out = tmp_path / "harmless.jsonl"
    found = CliRunner().invoke(main, ["redact", str(at), str(out), "--port", str(server.server.port)])
    assert found.exit_code == 0 and "another number" not in found.output, found.output
    written = out.read_text()
    assert out.stat().st_mode & 0o777 == 0o600
    assert "recorded?" not in written and "Two" not in written
    before, after = exchanges(at), exchanges(out)
    assert [(each.path, each.at, each.seconds) for each in before] == [
        (each.path, each.at, each.seconds) for each in after
    ]
    for was, now in zip(before, after, strict=True):
        one, other = protocols.answer_of(was), protocols.answer_of(now)
        assert (one.prompt_tokens, one.completion_tokens) == (other.prompt_tokens, other.completion_tokens)
        assert now.redacted and not other.vectors
    told = json.loads(replayed(out, server.url, "--speed", "max", "--json").stdout)
    assert told["failed"] == 0
    for each in told["requests"]:
        assert each["recorded"]["answer"].get("prompt_tokens") == each["replayed"]["answer"].get("prompt_tokens")
    again = CliRunner().invoke(main, ["redact", str(at), str(out), "--url", server.url])
    assert again.exit_code == 1 and "cannot be made" in again.output, "nothing is overwritten"


def test_counts_are_kept_with_a_real_vocabulary(smollm_server: RunningServer) -> None:
    tokenizer = ServerTokenizer(smollm_server.url)
    words = Words(tokenizer)
    texts = (
        "Please write to Ms. Kowalczyk-Ångström (+48 22 555 01 99)!",
        "def secret_function(x):\n    if x:\n        return 'password'\n\n\nprint(1)",
        "  indented\n\n- list\n- of things\n\n\n",
        "日本語のテキスト and emoji 🎉🎉",
        "x",
    )
    for text in texts:
        assert len(tokenizer.tokens(words.text(text))) == len(tokenizer.tokens(text)), (text, words.text(text))
    assert words.inexact == 0
    tokenizer.close()


def test_a_file_is_read_in_any_order_of_its_lines(traffic: tuple[RunningServer, Path], tmp_path: Path) -> None:
    _, at = traffic
    (file,) = folder.files(at)
    head, *lines = file.read_bytes().splitlines(keepends=True)
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_bytes(head + b"".join(reversed(lines)))
    assert [each.id for each in exchanges(mixed)] == [each.id for each in exchanges(at)]
