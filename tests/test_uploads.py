"""`/v1/uploads`, asked by the OpenAI SDK: parts in any order, completed, cancelled, expired; and what is refused."""

import asyncio
import hashlib
import http.client
import os
import random
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import UploadCompleteParams, UploadCreateParams
from running import FAKE, RunningServer, sdk, server_process, until

from nitro.api.files import in_parts, part_bodies
from nitro.state import bounds, files, uploads
from nitro.state.file_schema import FILES
from nitro.state.file_store import FileStore

DATA = random.Random(1).randbytes(3 * 2**20 + 12345)
LINES = b'{"custom_id": "a"}\n' * 100


@pytest.fixture(scope="module")
def client(fake_server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{fake_server.url}/v1", api_key="none", max_retries=0)


def begin(client: openai.OpenAI, size: int, **more: Any) -> Any:
    about: dict[str, Any] = {"filename": "in.jsonl", "mime_type": "application/jsonl", "purpose": "batch", **more}
    return client.uploads.create(bytes=size, **about)


def add(client: openai.OpenAI, upload: Any, data: bytes) -> str:
    part = client.uploads.parts.create(upload.id, data=data)
    assert (part.object, part.upload_id) == ("upload.part", upload.id)
    return part.id


def refused(call: Callable[[], Any], param: str, status: int = 400) -> str:
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    assert (caught.value.status_code, caught.value.param) == (status, param)  # type: ignore[attr-defined]
    return str(caught.value)


def test_parts_become_a_file_in_the_order_that_is_told(client: openai.OpenAI) -> None:
    """Whatever their sizes, and the order in which they came, at once."""
    cuts = [0, 1, 65536, 65536 + 7, 2**20, len(DATA)]
    pieces = [DATA[begin:end] for begin, end in pairwise(cuts)]
    upload = begin(client, len(DATA), filename="a path/in.jsonl")
    assert (upload.object, upload.status, upload.bytes, upload.filename) == ("upload", "pending", len(DATA), "in.jsonl")
    assert upload.expires_at == upload.created_at + 3600 and upload.file is None
    with ThreadPoolExecutor() as pool:
        ids = list(pool.map(lambda piece: add(client, upload, piece), reversed(pieces)))[::-1]
    done = client.uploads.complete(upload.id, part_ids=ids, md5=hashlib.md5(DATA).hexdigest().upper())
    assert done.status == "completed" and done.file and done.file.bytes == len(DATA)
    assert done.file.expires_at == done.file.created_at + 30 * 86400 and done.file.filename == "in.jsonl"
    assert client.files.content(done.file.id).read() == DATA
    assert client.files.retrieve(done.file.id).to_dict() == done.file.to_dict()
    assert "completed" in refused(lambda: add(client, upload, b"x"), "upload_id")
    refused(lambda: client.uploads.cancel(upload.id), "upload_id")
    refused(lambda: client.uploads.complete(upload.id, part_ids=ids), "upload_id")
    client.files.delete(done.file.id)


def test_the_sdk_s_own_loop(client: openai.OpenAI, tmp_path: Path) -> None:
    file = tmp_path / "big.jsonl"
    file.write_bytes(DATA)
    about: dict[str, Any] = {"mime_type": "application/jsonl", "purpose": "user_data", "part_size": 2**20}
    done = client.uploads.upload_file_chunked(file=file, md5=hashlib.md5(DATA).hexdigest(), **about)
    assert done.file and done.file.expires_at is None and client.files.content(done.file.id).read() == DATA
    client.files.delete(done.file.id)


def test_a_batch_reads_it(client: openai.OpenAI) -> None:
    upload = begin(client, len(LINES), expires_after={"anchor": "created_at", "seconds": 3600})
    half = len(LINES) // 2 + 3  # in the middle of a line
    ids = [add(client, upload, part) for part in (LINES[:half], LINES[half:])]
    file = client.uploads.complete(upload.id, part_ids=ids).file
    assert file and file.expires_at == file.created_at + 3600
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    until(lambda: client.batches.retrieve(batch.id).status == "failed")  # its lines ask nothing: all of them were read
    failed = client.batches.retrieve(batch.id)
    assert failed.errors and failed.errors.data and failed.errors.data[-1].line == 100


def test_what_is_wrong_with_parts(client: openai.OpenAI) -> None:
    upload = begin(client, 10)
    one, two = add(client, upload, b"12345"), add(client, upload, b"67890")
    assert "10 bytes in all" in refused(lambda: add(client, upload, b"x"), "data")
    complete = client.uploads.complete
    assert "these have 5" in refused(lambda: complete(upload.id, part_ids=[one]), "part_ids")
    refused(lambda: complete(upload.id, part_ids=[one, one]), "part_ids")
    refused(lambda: complete(upload.id, part_ids=[one, "part_none"]), "part_ids")
    refused(lambda: complete(upload.id, part_ids=[]), "part_ids")
    refused(lambda: complete(upload.id, part_ids=[one, two], md5="x"), "md5")
    other = hashlib.md5(b"6789012345").hexdigest()
    differs = refused(lambda: complete(upload.id, part_ids=[one, two], md5=other), "md5")
    assert hashlib.md5(b"1234567890").hexdigest() in differs
    file = complete(upload.id, part_ids=[two, one], md5=other).file  # nothing was lost
    assert file and client.files.content(file.id).read() == b"6789012345"


@pytest.mark.parametrize("md5", [None, hashlib.md5(b"12345").hexdigest()])
def test_one_that_ends_while_its_parts_are_put_together(tmp_path: Path, md5: str | None) -> None:
    """As by another request that completes it: its parts are gone then, and that is said, not that they differ."""

    async def scenario() -> None:
        store = FileStore(tmp_path, 30, 2**30)
        new = uploads.NewUpload(
            id="upload_1", created=store.now, expires=store.now + 60, bytes=5, name="a", purpose="batch", seconds=None
        )
        upload = await store.write(lambda db: uploads.create(db, new))
        number = await store.write(lambda db: files.begin(db, "file_1", "owner", ""))
        await store.write(lambda db: files.add(db, number, 0, [b"12345"], 2**30))
        await store.write(lambda db: uploads.add(db, upload.id, "part_1", number, store.now))
        parts = await store.read(lambda db: uploads.parts(db, upload.number))
        await store.write(lambda db: uploads.cancel(db, upload.id, store.now))
        with pytest.raises(uploads.Ended):
            await in_parts._assembled(store, upload, parts, md5)
        assert await store.read(files.used) == 0
        await store.close()

    asyncio.run(scenario())


def test_an_empty_file(client: openai.OpenAI) -> None:
    upload = begin(client, 0)
    file = client.uploads.complete(upload.id, part_ids=[add(client, upload, b"")]).file
    assert file and file.bytes == 0


def test_what_cannot_begin(client: openai.OpenAI, fake_server: RunningServer) -> None:
    refused(lambda: begin(client, -1), "bytes")
    assert "--max-file" in refused(lambda: begin(client, 2**40), "bytes")
    refused(lambda: begin(client, 1, purpose="fun"), "purpose")
    refused(lambda: begin(client, 1, mime_type="jsonl"), "mime_type")
    refused(lambda: begin(client, 1, filename=""), "filename")
    refused(lambda: begin(client, 1, expires_after={"anchor": "created_at", "seconds": 1}), "expires_after.seconds")
    refused(lambda: client.uploads.cancel("upload_none"), "upload_id", 404)
    url = f"{fake_server.url}/v1/uploads/{begin(client, 1).id}/parts"
    for form in ({"files": {"file": ("a", b"x")}}, {"content": b"x"}):
        reply = httpx.post(url, **form)  # type: ignore[arg-type]
        assert reply.status_code == 400 and reply.json()["error"]["param"] == "data"


def test_a_part_that_is_too_large(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_parts, "LARGEST_PART", 2**20)
    upload = begin(client, 2**22)
    with pytest.raises(openai.APIStatusError, match="at most 1 MiB") as caught:
        add(client, upload, bytes(2**20 + 1))
    assert caught.value.status_code == 413
    add(client, upload, bytes(2**20))


@pytest.mark.parametrize(
    ("path", "size", "said"),
    [
        ("", 33 * 2**20, "larger than 32 MiB; start the server with a larger --max-body"),
        ("/upload_1/complete", 33 * 2**20, "larger --max-body"),
        ("/upload_1/parts", 67 * 2**20, "larger than 66 MiB; send the file in smaller parts"),
    ],
)
def test_bodies_that_are_too_large(fake_server: RunningServer, path: str, size: int, said: str) -> None:
    """What is no part is held to the limit of all bodies. Refused by what its head says."""
    with closing(http.client.HTTPConnection(fake_server.url.removeprefix("http://"))) as connection:
        connection.putrequest("POST", f"/v1/uploads{path}")
        connection.putheader("content-length", str(size))
        connection.endheaders()
        reply = connection.getresponse()
        assert reply.status == 413 and said in reply.read().decode()


def test_cancelled_and_expired(serve: Any, tmp_path: Path) -> None:
    """Their parts are gone, and the room is free."""
    server = serve(state=tmp_path).ready()
    client = server.client()
    gone, late = begin(client, 100), begin(client, 100)
    for upload in (gone, late):
        add(client, upload, bytes(50))
    assert client.uploads.cancel(gone.id).status == "cancelled"
    refused(lambda: add(client, gone, b"x"), "upload_id")
    with closing(sqlite3.connect(tmp_path / FILES.file)) as db:
        assert db.execute("SELECT count(*), sum(bytes) FROM files").fetchone() == (1, 50)
        db.execute("UPDATE uploads SET expires = 0 WHERE id = ?", (late.id,))
        db.commit()
        assert "expired" in refused(lambda: client.uploads.complete(late.id, part_ids=["x"]), "upload_id")
        server.run(server.server.batches.store.recover())
        assert db.execute("SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM pieces)").fetchone() == (0, 0)
    assert list(client.files.list()) == []


def test_there_are_bounds(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST", 2)
    monkeypatch.setattr(uploads, "MAX_PARTS", 1)
    client = serve(state=tmp_path).ready().client(max_retries=0)
    first, _ = begin(client, 10), begin(client, 10)
    with pytest.raises(openai.RateLimitError):
        begin(client, 10)
    add(client, first, b"1")
    with pytest.raises(openai.RateLimitError):
        add(client, first, b"2")


def test_a_killed_server_leaves_the_parts_that_it_has_told_of(tmp_path: Path) -> None:
    """The next server goes on with them."""
    arguments = ("--engine", FAKE, "--state", str(tmp_path))
    with server_process(*arguments) as server:
        client = sdk(server.wait_ready())
        upload = begin(client, len(DATA))
        first = add(client, upload, DATA[:100_000])
        os.kill(server.process.pid, signal.SIGKILL)
    with server_process(*arguments) as server:
        client = sdk(server.wait_ready())
        second = add(client, upload, DATA[100_000:])
        file = client.uploads.complete(upload.id, part_ids=[first, second]).file
        assert file and client.files.content(file.id).read() == DATA


def test_every_field_of_the_sdk_is_known() -> None:
    bodies = ((UploadCreateParams, part_bodies.UploadBody), (UploadCompleteParams, part_bodies.CompleteBody))
    for params, body in bodies:
        assert set(params.__annotations__) == set(body.__struct_fields__)
