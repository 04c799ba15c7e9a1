"""A batch of many lines: in the memory of a few, each answered once. Answers are made up here.

With 100,000 lines it holds, too, and takes 40 s.
"""

import asyncio
import json
import os
from pathlib import Path

import pytest

from nitro.batches.output_line import Reply
from nitro.batches.run import Asking
from nitro.batches.runner import Batches
from nitro.state import batches, files
from nitro.state.batches import NewBatch, Work
from nitro.state.file_store import FileStore
from nitro.state.files import PIECE

LINES = 20_000
WIDE = "x" * 700  # characters of each line, and of each answer
MOST = 8 * 2**20  # bytes that memory may grow by; the file and the answers take more than twice that each
PLACES = 256


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def text(number: int) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": f"{number % 7} {WIDE}"}]}
    line = {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line).encode() + b"\n"


async def upload(store: FileStore) -> str:
    owner = await store.owner()
    number = await store.write(lambda db: files.begin(db, "file_in", owner))
    held, place, line = bytearray(), 0, 0
    while line < LINES or held:
        while line < LINES and len(held) < 16 * PIECE:
            held += text(line)
            line += 1
        pieces = [bytes(held[begin : begin + PIECE]) for begin in range(0, min(len(held), 16 * PIECE), PIECE)]
        del held[: 16 * PIECE]
        first, place = place, place + len(pieces)
        await store.write(lambda db, first=first, pieces=pieces: files.add(db, number, first, pieces, 2**33))
    await store.write(lambda db: files.finish(db, number, 0, None, "in.jsonl", "batch"))
    return "file_in"


async def work(folder: Path) -> tuple[int, list[int]]:
    """How much memory grew, and how often each line was answered."""
    store = FileStore(folder, 30, 2**33, clock=lambda: 1000.0)
    answered = [0] * LINES
    most = count = 0

    async def answer(work: Work, body: bytes, asking: Asking) -> Reply:
        nonlocal most, count
        count += 1
        if count % 500 == 0:
            most = max(most, resident())
        await asyncio.sleep(0)
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        reply = json.dumps({"model": "m", "usage": usage, "text": WIDE}).encode()
        return Reply(status=200, request_id="req_x", body=reply)

    async def serves(served: str, model: str) -> bool:
        return True

    kept = Batches(store, serves, PLACES, 2**20)
    kept.start(answer)
    id = await upload(store)
    before = most = resident()
    new = NewBatch(
        id="batch_x",
        created=1000,
        expires=90_000,
        window="24h",
        endpoint="/v1/chat/completions",
        metadata=b"null",
        input=id,
        ids=("file_out", "file_err"),
        output_seconds=3600,
        served="m",
        owner=await store.owner(),
    )
    await store.write(lambda db: batches.create(db, new))
    await kept.add("batch_x")
    while (found := await store.read(lambda db: batches.get(db, "batch_x"))).ended_at is None:
        await asyncio.sleep(0.05)
    most = max(most, resident())
    assert (found.status, found.total, found.completed, found.failed) == ("completed", LINES, LINES, 0)
    assert (found.input_tokens, found.output_tokens) == (3 * LINES, 2 * LINES)
    output = await store.read(lambda db: files.get(db, "file_out", 1000))
    after, size = -1, 0
    while pieces := await store.read(lambda db: files.pieces(db, output.number, after, 2**20)):  # noqa: B023
        for place, body in pieces:
            number = int(json.loads(body)["custom_id"].removeprefix("request-"))
            assert place == number + 1
            answered[number] += 1
            size += len(body)
        after = pieces[-1][0]
    assert size == output.bytes
    await kept.close()
    await store.close()
    return most - before, answered


def test_many_lines(tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is told by Linux")
    grew, answered = asyncio.run(work(tmp_path))
    assert answered == [1] * LINES
    assert grew < MOST, f"{grew / 2**20:.0f} MiB more"
