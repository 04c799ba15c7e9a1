"""The server gets SIGKILL under a batch, at moments all over its life: no line is lost, and none is there twice."""

import io
import json
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest
from running import CEILING, FAKE, raw_request, sdk, server_process, until
from test_batches import CHAT, ENDED, ended, line, results, written
from test_files import FORM

from nitro.state.file_schema import FILES

LINES = 300


def progress(client: openai.OpenAI, id: str, done: int) -> None:
    """Return once that many lines are done, or it has ended."""
    end = time.monotonic() + CEILING
    while True:
        batch = client.batches.retrieve(id)
        if batch.request_counts.completed + batch.request_counts.failed >= done or batch.status in ENDED:
            return
        assert time.monotonic() < end


def arguments(folder: Path) -> tuple[str, ...]:
    return ("--engine", FAKE, "--state", str(folder), "--parallel", "4", "--log-level", "error")


@pytest.mark.parametrize(("endpoint", "kills"), [(CHAT, 4), ("/v1/embeddings", 1)])
def test_kills(tmp_path: Path, endpoint: str, kills: int) -> None:
    rng = random.Random(7)
    asked: dict[str, Any] = {} if endpoint == CHAT else {"input": "Hi"}
    lines = [line(str(n), url=endpoint, **asked) for n in range(LINES)]
    lines[17] = line("17", url=endpoint, **{**asked, "model": 7})  # fails
    id = ""
    for kill in range(kills + 1):
        with server_process(*arguments(tmp_path)) as server:
            client = sdk(server.wait_ready())
            if not id:
                file = client.files.create(file=("in.jsonl", io.BytesIO(written(lines))), purpose="batch")
                id = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h").id
            if kill < kills:
                before = client.batches.retrieve(id).request_counts
                done = before.completed + before.failed
                progress(client, id, done + rng.randrange(LINES // kills) if kill else 0)
            else:
                batch = ended(client, id)
                assert batch.status == "completed"
                assert list(results(client, batch.output_file_id)) == [str(n) for n in range(LINES) if n != 17]
                assert list(results(client, batch.error_file_id)) == ["17"]
                counts = batch.request_counts
                assert (counts.total, counts.completed, counts.failed) == (LINES, LINES - 1, 1)
    with closing(sqlite3.connect(tmp_path / FILES.file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM lines").fetchone() == (0,)


def test_an_upload_that_the_server_does_not_survive_leaves_nothing(tmp_path: Path) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'

    def count() -> int:
        with closing(sqlite3.connect(tmp_path / FILES.file)) as db:
            try:
                return int(db.execute("SELECT count(*) FROM pieces").fetchone()[0])
            except sqlite3.OperationalError:  # it is not made yet, or being written to
                return 0

    with server_process(*arguments(tmp_path)) as server:
        sock = raw_request(server.wait_ready(), head + bytes(2**21), 2**23, "/v1/files", FORM)
        until((tmp_path / FILES.file).exists)
        until(count)
    sock.close()
    with server_process(*arguments(tmp_path)) as server:
        client = sdk(server.wait_ready())
        until(lambda: not count())
        assert not client.files.list().data


def test_another_server_of_the_folder_takes_it_over(tmp_path: Path) -> None:
    """Which answers with the same model; one with another model does not."""
    with server_process(*arguments(tmp_path)) as server:
        client = sdk(server.wait_ready())
        lines = [line(str(n)) for n in range(2000)]
        file = client.files.create(file=("in.jsonl", io.BytesIO(written(lines))), purpose="batch")
        id = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h").id
        progress(client, id, 10)
    with server_process(*arguments(tmp_path), "--alias", "another") as server:
        client = sdk(server.wait_ready())
        stuck = client.batches.retrieve(id).request_counts.completed
        assert client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        assert client.batches.retrieve(id).request_counts.completed == stuck
        assert client.batches.cancel(id).status == "cancelled"  # nobody works on it: it has ended
        assert len(results(client, client.batches.retrieve(id).output_file_id)) == stuck


def test_what_lies_there_can_be_read(tmp_path: Path) -> None:
    """The files that were uploaded are byte for byte what they were."""
    data = json.dumps(line("a")).encode() * 5000
    with server_process(*arguments(tmp_path)) as server:
        file = sdk(server.wait_ready()).files.create(file=("in.jsonl", io.BytesIO(data)), purpose="user_data")
    with server_process(*arguments(tmp_path)) as server:
        assert sdk(server.wait_ready()).files.content(file.id).read() == data
