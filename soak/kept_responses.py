"""The server is killed under responses that it keeps, again and again. What clients were told stays true."""

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.processes import Server
from nitro.api.openapi.document import OPERATIONS
from nitro.bench import client
from nitro.state import database
from soak import servers
from soak.connection import Unanswered, ask, connected, get, head, post
from soak.goals import SERVER_KILLS
from soak.report import Figure, Findings

RESPONSES = "/v1/responses"
AT_ONCE = 24
TIMEOUT = 60.0  # seconds; a limit that only a hang reaches
POLL = 0.05  # seconds
ENDED = ("completed", "incomplete", "failed", "cancelled")
FILES = "/v1/files"
UPLOADED = "uploaded"
KINDS = (
    *("whole", "streamed", "background", "background streamed", "in a conversation"),
    *([UPLOADED] if ("post", FILES) in OPERATIONS else []),
)
LONGEST_UPLOAD = 300_000  # bytes
HOW = """\
{count} requests, {at_once} at once, of {kinds_count} kinds: responses ({kinds}), on a fake engine that
answers at once{uploads}. At a random moment the server's process gets SIGKILL; it is started again on the same folder,
{kills} times. After each start: what was told to be completed is there with the same JSON; every response in the
background that a client knows ends; a stream goes on behind the last event that its client has seen, without a gap or
another text; no conversation has an item twice{same}. At the end the database is whole, has all of it still, and
nothing in it is queued or in progress."""


@dataclass
class Promise:
    """What a client was told of one response."""

    kind: str
    id: str | None = None
    completed: bytes | None = None  # the object, as JSON
    events: list[bytes] = field(default_factory=list)  # the data of each
    conversation: str | None = None
    content: bytes = b""  # of an upload


@dataclass
class Seen:
    """What came of all responses."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    completed: dict[str, bytes] = field(default_factory=dict)  # all that clients were told, by id
    uploads: dict[str, str] = field(default_factory=dict)  # digests of what was uploaded, by id
    kills: int = 0


class _Moment:
    """Set when so many events and replies have arrived."""

    def __init__(self, count: int):
        self._left = count
        self.come = asyncio.Event()

    def one(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.come.set()


async def kill(server: Server, count: int, rng: random.Random) -> list[Promise]:
    """Create that many responses, and kill the server meanwhile."""
    moment = _Moment(rng.randrange(1, 3 * count))
    turns = asyncio.Semaphore(AT_ONCE)
    promises = [Promise(KINDS[number % len(KINDS)]) for number in range(count)]
    for promise in promises:
        if promise.kind == UPLOADED:
            promise.content = rng.randbytes(rng.randrange(1, LONGEST_UPLOAD))

    async def one(promise: Promise) -> None:
        async with turns:
            try:
                if promise.kind == UPLOADED:
                    await _upload(server.port, promise, moment)
                else:
                    await _create(server.port, promise, moment)
            except (OSError, Unanswered):
                pass  # the server is gone

    clients = [asyncio.create_task(one(promise)) for promise in promises]
    killing = asyncio.create_task(moment.come.wait())
    await asyncio.wait([killing, asyncio.gather(*clients)], return_when=asyncio.FIRST_COMPLETED)
    os.kill(server.pid, signal.SIGKILL)
    await asyncio.gather(*clients)
    killing.cancel()
    return promises


async def _upload(port: int, promise: Promise, moment: _Moment) -> None:
    """A form, as https://www.rfc-editor.org/rfc/rfc7578 says."""
    border = b"----soak"
    parts = ((b'name="purpose"', b"user_data"), (b'name="file"; filename="a"', promise.content))
    fields = [b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (border, *part) for part in parts]
    form = b"".join(fields) + b"--%b--\r\n" % border
    kind = f"multipart/form-data; boundary={border.decode()}"
    async with connected(port) as connection:
        await connection.send(head(FILES, f"Content-Length: {len(form)}", port=port, kind=kind) + form)
        (reply,) = await connection.answers(1, TIMEOUT)
    if reply.status == 200:
        promise.id = json.loads(reply.body)["id"]
    moment.one()


async def _create(port: int, promise: Promise, moment: _Moment) -> None:
    body: dict[str, Any] = {"model": "m", "input": "Count."}
    if promise.kind == "in a conversation":
        made = await ask(port, "/v1/conversations", b"{}", TIMEOUT)
        promise.conversation = body["conversation"] = json.loads(made.body)["id"]
    body["background"] = promise.kind.startswith("background")
    body["stream"] = promise.kind.endswith("streamed")
    async with connected(port) as connection:
        await connection.send(post(RESPONSES, json.dumps(body).encode()))
        answering = asyncio.create_task(connection.answers(1, TIMEOUT))
        try:
            while body["stream"] and not answering.done():
                hearing = asyncio.create_task(connection.heard.wait())
                await asyncio.wait([answering, hearing], return_when=asyncio.FIRST_COMPLETED)
                hearing.cancel()
                moment.one()
            (reply,) = await answering
            if not body["stream"]:
                _told(promise, reply.body)
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            if body["stream"]:
                _streamed(promise, connection.so_far)
            moment.one()


def _told(promise: Promise, response: bytes) -> None:
    told = json.loads(response)
    promise.id = told["id"]
    if told["status"] in ENDED:
        promise.completed = response


def _streamed(promise: Promise, body: bytes) -> None:
    whole, _, _ = body.rpartition(b"\n\n")
    promise.events = events_of(whole)
    if promise.events:
        last = json.loads(promise.events[-1])
        promise.id = json.loads(promise.events[0])["response"]["id"]
        if last["type"] in ("response.completed", "response.incomplete", "response.failed"):
            promise.completed = json.dumps(last["response"]).encode()


def events_of(body: bytes) -> list[bytes]:
    """The data of a stream's events."""
    return [line[len(b"data: ") :] for line in body.split(b"\n") if line.startswith(b"data: ")]


async def check(server: Server, promises: list[Promise], seen: Seen) -> None:
    """Is all true that clients were told?"""
    for promise in promises:
        if promise.id is None:
            seen.outcomes["never answered"] += 1
            continue
        fault = await (_fault_of_upload if promise.kind == UPLOADED else _fault)(server.port, promise, seen)
        if fault:
            seen.faults[f"{promise.kind}: {fault}"] += 1


async def _fault_of_upload(port: int, promise: Promise, seen: Seen) -> str | None:
    """Also of those that have been looked at before, of which one is looked at again."""
    seen.uploads[str(promise.id)] = sha256(promise.content).hexdigest()
    seen.outcomes[f"{UPLOADED}: kept"] += 1
    for id in {str(promise.id), next(iter(seen.uploads))}:
        kept = await get(port, f"{FILES}/{id}/content", TIMEOUT)
        if kept.status != 200:
            return "it is lost"
        if sha256(kept.body).hexdigest() != seen.uploads[id]:
            return "it is another one"
    return None


async def _fault(port: int, promise: Promise, seen: Seen) -> str | None:
    kept = await get(port, f"{RESPONSES}/{promise.id}", TIMEOUT)
    if kept.status != 200:
        return "it is lost"
    found = json.loads(kept.body)
    if promise.completed is not None:
        seen.completed[str(promise.id)] = promise.completed
        if found != json.loads(promise.completed):
            return "it is another one"
    for _ in range(round(TIMEOUT / POLL)):
        if found["status"] in ENDED:
            break
        await asyncio.sleep(POLL)
        found = json.loads((await get(port, f"{RESPONSES}/{promise.id}", TIMEOUT)).body)
    else:
        return f"it is {found['status']} for ever"
    again = ", computed again" if found.get("restarts") else ""
    seen.outcomes[f"{promise.kind}: {found['status']}{again}"] += 1
    if promise.kind == "background streamed" and (fault := await _fault_of_stream(port, promise, found)):
        return fault
    return await _fault_of_conversation(port, promise, found) if promise.conversation else None


async def _fault_of_stream(port: int, promise: Promise, found: dict[str, Any]) -> str | None:
    after = json.loads(promise.events[-1])["sequence_number"]
    rest = events_of((await get(port, f"{RESPONSES}/{promise.id}?stream=true&starting_after={after}", TIMEOUT)).body)
    whole = events_of((await get(port, f"{RESPONSES}/{promise.id}?stream=true", TIMEOUT)).body)
    if whole != [*promise.events, *rest]:
        return "its stream goes on otherwise"
    if [json.loads(event)["sequence_number"] for event in whole] != list(range(len(whole))):
        return "its stream has gaps"
    if json.loads(whole[-1]).get("response") != found:
        return "its stream ends otherwise"
    return None


async def _fault_of_conversation(port: int, promise: Promise, found: dict[str, Any]) -> str | None:
    listed = await get(port, f"/v1/conversations/{promise.conversation}/items?order=asc", TIMEOUT)
    ids = [item["id"] for item in json.loads(listed.body)["data"]]
    if len(ids) != len(set(ids)):
        return "its conversation has an item twice"
    if found["status"] == "completed" and found["output"][0]["id"] not in ids:
        return "its conversation has not got it"
    return None


async def check_uploads(server: Server, seen: Seen) -> None:
    """Are all files there at the end?"""
    for id, digest in seen.uploads.items():
        kept = await get(server.port, f"{FILES}/{id}/content", TIMEOUT)
        if kept.status != 200 or sha256(kept.body).hexdigest() != digest:
            seen.faults[f"{UPLOADED}: lost by the end"] += 1


def check_file(folder: Path, seen: Seen) -> None:
    """Is the database whole, and has it all that clients were told?"""
    with closing(sqlite3.connect(folder / database.FILE)) as db:
        whole = db.execute("PRAGMA integrity_check").fetchone()[0]
        if whole != "ok":
            seen.faults[f"the database is not whole: {whole}"] += 1
        query = "SELECT count(*) FROM responses WHERE status IN ('queued', 'in_progress')"
        seen.faults["still in progress at the end"] += db.execute(query).fetchone()[0]
        kept = dict(db.execute("SELECT id, body FROM responses").fetchall())
        left = db.execute("SELECT count(*) FROM requests").fetchone()[0]
        seen.faults["requests of responses that have ended"] += left
    for id, body in seen.completed.items():
        if id not in kept or json.loads(kept[id]) != json.loads(body):
            seen.faults["lost by the end"] += 1
    seen.faults = +seen.faults


def run(options: argparse.Namespace) -> Findings:
    """The section."""
    kills, count = (options.count or 4, 60) if options.short else (options.count or 100, 200)
    return run_kills(kills, count, options.seed)


def run_kills(kills: int, count: int, seed: int) -> Findings:
    """That many kills under `count` responses each."""
    about: dict[str, Any] = {"count": count, "at_once": AT_ONCE, "kills": kills, "kinds_count": len(KINDS)}
    about["kinds"] = ", ".join(kind for kind in KINDS if kind != UPLOADED)
    about["uploads"] = f", and files of up to {LONGEST_UPLOAD} bytes that are uploaded" if UPLOADED in KINDS else ""
    about["same"] = "; what was uploaded is there, byte by byte" if UPLOADED in KINDS else ""
    findings = Findings("Kept responses", HOW.format(**about))
    seen = Seen()
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = (*servers.FAKE, "--alias", "m", "--ctx", "512", "--state", name)
        promises: list[Promise] = []
        for _ in range(kills):
            with servers.serving(*options) as server:
                client.run(check(server, promises, seen))
                promises = client.run(kill(server, count, rng))
                seen.kills += 1
        with servers.serving(*options) as server:
            client.run(check(server, promises, seen))
            client.run(check_uploads(server, seen))
            by_itself = servers.ends(server)
        check_file(folder, seen)
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    findings.faults = seen.faults
    outcomes = ", ".join(f"{n} {what}" for what, n in sorted(seen.outcomes.items()))
    findings.figures = [
        Figure("kills of the server", str(seen.kills), str(kills), seen.kills == kills).of(SERVER_KILLS),
        Figure("responses", outcomes),
        Figure("responses told to be completed, and there", str(len(seen.completed))).of(SERVER_KILLS),
        Figure("files told to be uploaded, and there", str(len(seen.uploads))).of(SERVER_KILLS),
        Figure.none("lost, doubled, changed, or in progress for ever", seen.faults.total()).of(SERVER_KILLS),
        Figure("the database at the end", f"{size / 2**20:.1f} MiB"),
        Figure.yes("ends by itself when told to", by_itself),
    ]
    return findings
