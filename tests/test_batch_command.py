"""`nitro batch`: requests in a file become answers in one. Real processes, a real server, and one that it starts."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fast
import pytest
from runners import Gate
from running import CEILING, FAKE, RunningServer, wait_gone
from test_batches import line, written

from nitro.batch_client.progress import Progress, duration

COMMAND = [sys.executable, "-P", "-m", "nitro", "batch"]
COUNTS = {"total": 4000, "completed": 0, "failed": 0}


def batch(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    fast.skip_server()
    env = {**os.environ, "NITRO_PORT": "1", **variables}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=CEILING, env=env)


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    file = tmp_path / "in.jsonl"
    file.write_bytes(written([line("b"), line("a", max_tokens=1), line("c", temperature=-1)]))
    return file


def answers(file: Path) -> dict[str, Any]:
    return {each["custom_id"]: each["response"] for each in map(json.loads, file.read_text().splitlines())}


def test_a_server_that_runs(serve, asked: Path, tmp_path: Path) -> None:
    server: RunningServer = serve(state=tmp_path / "state").ready()
    out = tmp_path / "out.jsonl"
    done = batch("run", str(asked), str(out), "--url", server.url)
    assert done.returncode == 1 and "1 of 3 lines failed" in done.stderr and "3 of 3 lines are done" in done.stderr
    found = answers(out)
    assert list(found) == ["b", "a", "c"] and found["c"]["body"]["error"]["param"] == "temperature"
    assert not server.client().files.list().data, "nothing is left on the server"
    again = batch("run", str(asked), str(out), "--url", server.url)
    assert again.returncode == 1 and "exists already" in again.stderr
    listed = batch("list", "--url", server.url).stdout.splitlines()
    assert listed[0].split() == ["ID", "STATUS", "DONE", "FAILED", "LINES", "ENDPOINT"] and len(listed) == 2
    id = listed[1].split()[0]
    assert batch("cancel", id, "--url", server.url).stdout == f"{id}: completed\n"
    assert "No batch found" in batch("cancel", "none", "--url", server.url).stderr


def test_a_server_of_its_own_that_is_killed(tmp_path: Path) -> None:
    """The same command goes on where the last one was."""
    fast.skip_server()
    file, out, state = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "state"
    file.write_bytes(written([line(str(n)) for n in range(400)]))
    gate = Gate(tmp_path)
    env = {**os.environ, "NITRO_PORT": "1", "NITRO_STATE": str(state), "NITRO_ENGINE": "runners:GatedRunner"}
    command = [*COMMAND, "run", str(file), str(out), "--model", gate.path]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        gate.accept()
        gate.step()
        while not answers_kept(state):
            gate.step()
        (server,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        gone = os.pidfd_open(int(server))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=CEILING)
        wait_gone(gone)
        gate.open()
    assert not out.exists()
    begun = answers_kept(state)
    assert 0 < begun < 400
    second = Gate(tmp_path, "gate2")
    os.replace(second.path, gate.path)  # the model is called as it was
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        second.accept()
        second.open()
        _, errors = process.communicate(timeout=CEILING)
        assert process.returncode == 0, errors
    assert "Going on with batch_" in errors
    assert list(answers(out)) == [str(n) for n in range(400)]
    gate.close()
    second.close()


def answers_kept(state: Path) -> int:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(state / "files.sqlite3")) as db:
        return int(db.execute("SELECT count(*) FROM lines WHERE done = 1").fetchone()[0])


def test_its_own_server(asked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = batch("run", str(asked), str(out), NITRO_ENGINE=FAKE, NITRO_STATE=str(tmp_path / "state"))
    assert done.returncode == 1 and "Starting a server" in done.stderr, done.stderr
    assert list(answers(out)) == ["b", "a", "c"]


def test_what_cannot_be_is_a_line_and_status_1(serve, tmp_path: Path) -> None:
    server: RunningServer = serve(state=tmp_path / "state").ready()
    out = str(tmp_path / "out.jsonl")

    def refused(data: bytes, words: str) -> None:
        (tmp_path / "in.jsonl").write_bytes(data)
        done = batch("run", str(tmp_path / "in.jsonl"), out, "--url", server.url)
        assert done.returncode == 1 and words in done.stderr and done.stderr.startswith("nitro: "), done.stderr

    refused(b"", "its first line must look like")
    refused(b"nonsense", "its first line must look like")
    refused(written([line("a"), line("a")]), "line 2: Another line has the custom_id 'a', too.")
    refused(written([line("a", url="/v1/moderations")]), "'endpoint'")
    done = batch("run", str(tmp_path / "nowhere"), out)
    assert done.returncode == 1 and "cannot be read" in done.stderr
    (tmp_path / "in.jsonl").write_bytes(written([line("a")]))
    done = batch("run", str(tmp_path / "in.jsonl"), str(tmp_path / "no" / "folder"), "--url", server.url)
    assert done.returncode == 1 and "cannot be written" in done.stderr
    assert batch("run", "x", "y", "--url", "http://127.0.0.1:1").returncode == 1


def test_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 5.0, 20.0, 30.0])
    with Progress(lambda: next(times)) as progress:
        progress.show({"status": "validating", "request_counts": COUNTS})
        for done in (0, 100, 1000):
            progress.show({"status": "in_progress", "request_counts": {**COUNTS, "completed": done}})
        progress.show({"status": "completed", "request_counts": {**COUNTS, "completed": 3999, "failed": 1}})
    assert capsys.readouterr().err.splitlines() == [
        "1,000 of 4,000 lines are done; about 60 seconds left.",
        "4,000 of 4,000 lines are done, 1 of them failed.",
    ]
    assert [duration(seconds) for seconds in (1, 300, 9000)] == ["1 seconds", "5 minutes", "2.5 hours"]


def test_a_file_is_sent_as_it_is(serve, tmp_path: Path) -> None:
    """In pieces, whatever is in it."""
    from nitro.batch_client.files import InputFile, fetch
    from nitro.chat.client import Client

    server: RunningServer = serve(state=tmp_path / "state").ready()
    data = written([line("a", "\r\n--" * 1000)]) + os.urandom(2**20)
    (tmp_path / "in").write_bytes(data)
    client = Client(server.url)
    id = InputFile(tmp_path / "in").send(client)
    fetch(client, [id, id], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data + data
    assert server.client().files.create(file=("x", io.BytesIO(b"x")), purpose="batch").bytes == 1
