"""What is kept, without a server: how long, for whom, and what becomes of what a server that ended has left."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw

from nitro.api.responses.asked import Lasting
from nitro.api.responses.keeper import Keeper
from nitro.api.responses.keeping import KeptResponse
from nitro.api.responses.memory import Remembered
from nitro.errors import StateError
from nitro.service.events import Started
from nitro.state import conversations, items, recovery, responses, store
from nitro.state.conversations import NewConversation
from nitro.state.database import Database
from nitro.state.owners import Owners
from nitro.state.responses import NewResponse, NotThere
from nitro.state.schema import RESPONSES
from nitro.state.store import Store

DAY = 86400


@pytest.fixture
def db(tmp_path):
    kept = Database(tmp_path)
    yield kept
    kept.close()


def begin(db: Database, id: str, **options) -> None:
    body = msgspec.json.encode({"id": id, "status": options.get("status", "in_progress"), "output": []})
    fields = {"created": 0, "status": "in_progress", "model": "m", "input": b'[{"id": "i"}]', **options}
    db.write(lambda db: responses.begin(db, NewResponse(id=id, body=body, **fields)))


def end(db: Database, id: str, status: str = "completed") -> bool:
    body = msgspec.json.encode({"id": id, "status": status, "output": [{"id": f"o_{id}"}]})
    return db.write(lambda db: responses.end(db, id, status, body))


def get(db: Database, id: str):
    return db.read(lambda db: responses.get(db, id))


def body(db: Database, id: str) -> dict:
    return msgspec.json.decode(get(db, id).body)


def test_a_response_ends_once(db):
    begin(db, "a")
    assert end(db, "a") and not end(db, "a", "failed")
    assert get(db, "a").status == "completed"
    assert [id for id, _ in db.read(lambda db: responses.chain(db, "a"))] == ["i", "o_a"]


def test_a_job_that_fails_changes_nothing(db):
    def job(connection):
        responses.begin(connection, NewResponse(id="a", created=0, status="x", body=b"{}", model="", input=b"[]"))
        raise ValueError("in the middle")

    with pytest.raises(ValueError):
        db.write(job)
    with pytest.raises(NotThere):
        get(db, "a")
    begin(db, "a")


def test_what_is_old_is_deleted_unless_something_goes_on_with_it(db):
    for id, created, previous in (
        ("old", 1, None),
        ("grandparent", 1, None),
        ("parent", 2, "grandparent"),
        ("child", 9, "parent"),
        ("aunt", 2, "grandparent"),
    ):
        begin(db, id, created=created, previous=previous)
        end(db, id)
    begin(db, "runs", created=1)
    assert db.write(lambda db: responses.forget_before(db, 5)) == 2
    left = db.read(lambda db: {id for (id,) in db.execute("SELECT id FROM responses")})
    assert left == {"grandparent", "parent", "child", "runs"}
    owners = db.read(lambda db: {owner for (owner,) in db.execute("SELECT owner FROM items")})
    assert owners == left
    db.write(lambda db: responses.delete(db, "grandparent"))
    with pytest.raises(NotThere):  # not without what was said at first
        db.read(lambda db: responses.chain(db, "child"))


def test_what_is_too_much_is_deleted_oldest_first(db):
    much = msgspec.json.encode([{"id": "i", "text": "x" * 10_000}])
    begin(db, "runs", created=0, input=much)
    ids = [f"{number:03}" for number in range(100)]
    for number, id in enumerate(ids):
        begin(db, id, created=number, input=much, previous=ids[number - 1] if number else None)
        end(db, id)
    full = db.read(responses._used)
    assert full > 100 * 10_000
    assert db.write(lambda db: responses.forget_beyond(db, full)) == 0
    deleted = db.write(lambda db: responses.forget_beyond(db, full // 2))
    left = db.read(lambda db: [id for (id,) in db.execute("SELECT id FROM responses ORDER BY id")])
    assert left == [*ids[deleted:], "runs"] and 50 <= deleted < 50 + responses.OLDEST + 5
    assert full // 3 < db.read(responses._used) <= full // 2
    assert db.write(lambda db: responses.forget_beyond(db, 0)) == len(ids) - deleted  # what runs stays
    assert get(db, "runs").status == "in_progress"
    pages = db.read(lambda db: db.execute("PRAGMA page_count").fetchone())
    for id in ids[:50]:
        begin(db, id, input=much)
    assert db.read(lambda db: db.execute("PRAGMA page_count").fetchone()) == pages  # in the room of those


def test_a_conversation_that_has_changed_meanwhile(db):
    db.write(lambda db: conversations.create(db, NewConversation("c", 0, b"{}")))
    changes, _ = db.read(lambda db: conversations.of(db, "c"))
    db.write(lambda db: conversations.add(db, "c", [Raw(b'{"id": "x"}')]))
    with pytest.raises(conversations.Busy):
        begin(db, "a", conversation="c", changes=changes)
    begin(db, "a", conversation="c", changes=changes + 1)
    db.write(lambda db: conversations.delete(db, "c"))
    assert end(db, "a")  # it is nobody's any more, and kept all the same


def test_pages():
    all_items = [(str(i), b"{}") for i in range(5)]

    def ids(*arguments):
        return items.page(all_items, *arguments)

    assert ids(2, False, None, None).ids == ["0", "1"] and ids(2, False, None, None).more
    assert ids(9, True, "3", None).ids == ["2", "1", "0"] and not ids(9, True, "3", None).more
    assert ids(9, False, "0", "3").ids == ["1", "2"]
    assert ids(9, False, "nobody", None) is None is ids(9, False, None, "nobody")
    assert items.page([], 9, False, None, None).ids == []


def test_many_ids(db):
    begin(db, "a", input=msgspec.json.encode([{"id": str(i)} for i in range(2500)]))
    found = db.read(lambda db: items.by_ids(db, [str(i) for i in range(3000)]))
    assert len(found) == 2500


# What servers that ended have left


def recover(db: Database) -> int:
    return db.write(lambda db: recovery.recover(db, lambda owner: owner == "alive"))


def test_what_is_left_is_ended_or_queued_again(db):
    background = {"background": True, "request": b"{}"}
    begin(db, "waited", status="queued", owner="dead", **background)
    begin(db, "ran", status="queued", owner="dead", **background)
    begin(db, "streamed", status="queued", owner="dead", streamed=True, **background)
    begin(db, "answered", owner="dead")
    begin(db, "works", status="queued", owner="alive", **background)
    done = {"type": "response.output_item.done", "item": {"id": "o"}}
    frames = [
        (0, b'event: x\ndata: {"type": "response.created"}\n\n'),
        (1, b"event: y\ndata: " + msgspec.json.encode(done) + b"\n\n"),
    ]
    for id in ("ran", "streamed", "works"):
        assert db.write(lambda db, id=id: responses.run(db, id, b'{"status": "in_progress"}'))
    assert db.write(lambda db: responses.add_events(db, "streamed", frames))
    assert recover(db) == 4 and recover(db) == 0
    statuses = {id: get(db, id).status for id in ("waited", "ran", "streamed", "answered", "works")}
    assert statuses == {
        "waited": "queued",
        "ran": "queued",
        "streamed": "incomplete",
        "answered": "incomplete",
        "works": "in_progress",
    }
    assert body(db, "ran") == {"status": "queued", "restarts": 1} and "restarts" not in body(db, "waited")
    assert body(db, "streamed")["output"] == [{"id": "o"}]
    assert body(db, "answered")["incomplete_details"] == {"reason": "server_ended"}
    events, last = db.read(lambda db: responses.events_after(db, "streamed", 0))
    assert last and [number for number, _ in events] == [1, 2]
    assert b"response.incomplete" in events[-1][1]
    assert db.read(responses.unclaimed) == [("waited", "m"), ("ran", "m")]
    assert db.write(lambda db: responses.claim(db, "ran", "alive"))
    assert not db.write(lambda db: responses.claim(db, "ran", "another"))
    assert db.read(lambda db: responses.queued(db, "ran")).runs == 1


def test_what_has_run_too_often_ends(db):
    begin(db, "a", status="queued", owner="dead", background=True, request=b"{}")
    for run in range(responses.MAX_RUNS):
        assert get(db, "a").status == "queued", run
        db.write(lambda db: responses.claim(db, "a", "dead"))
        db.write(lambda db: responses.run(db, "a", b'{"output": []}'))
        assert recover(db) == 1
    assert get(db, "a").status == "incomplete"


def test_a_server_lives_until_it_ends(tmp_path):
    """Killed or not, it holds its lock no longer."""
    code = (
        "import sys; from pathlib import Path; from nitro.state.owners import Owners; "
        f"print(Owners(Path({str(tmp_path)!r})).name, flush=True); sys.stdin.read()"
    )
    mine = Owners(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        name = other.stdout.readline().strip()
        assert mine.lives(name) and mine.lives(mine.name) and name != mine.name
        mine.remove_dead()
        assert mine.lives(name)
        other.kill()
        other.wait()
    assert not mine.lives(name) and not mine.lives("nobody")
    assert [file.name for file in (tmp_path / "servers").iterdir()] == [mine.name]
    mine.close()
    assert not list((tmp_path / "servers").iterdir())


# Waiting


def test_all_wait_together_for_another_program(tmp_path, monkeypatch):
    """What has waited for its turn waits no longer than one that comes first."""
    patience: list[int] = []
    first, second = threading.Event(), threading.Event()

    def wait(db):
        first.set()
        assert second.wait(60)

    def look(db):
        patience.append(db.execute("PRAGMA busy_timeout").fetchone()[0])

    async def work() -> None:
        kept = Store(tmp_path, 30, 2**30)
        waiting = asyncio.ensure_future(kept.write(wait))
        await asyncio.to_thread(first.wait, 60)
        monkeypatch.setattr(store.time, "monotonic", lambda: 0.0)
        jobs = [asyncio.ensure_future(ask(look)) for ask in (kept.write, kept.read)]
        await asyncio.sleep(0)
        monkeypatch.setattr(store.time, "monotonic", lambda: 0.5)
        second.set()
        await asyncio.gather(waiting, *jobs)
        monkeypatch.undo()
        await kept.write(look)
        await kept.close()

    asyncio.run(work())
    assert patience[:2] == [1500, 1500] and patience[2] > 1500


class _Renderer:
    """Of a response that has begun."""

    input_items = b"[]"

    def __init__(self, id: str):
        self.id = id

    def begun(self) -> KeptResponse:
        return KeptResponse(self.id, "in_progress", b'{"status": "in_progress"}')


def test_who_leaves_while_a_response_begins(tmp_path):
    """It is in the database a moment later, and ends there."""

    async def work() -> str:
        kept = Store(tmp_path, 30, 2**30)
        keeper = Keeper(kept, Lasting(), Remembered(b""))
        asked = asyncio.Event()

        def writing(job, write=kept._writing):
            asked.set()
            return write(job)

        kept._writing = writing
        beginning = asyncio.ensure_future(keeper.begin(_Renderer(keeper.keeping.id), Started("m", "", 0, 1, 0)))
        await asked.wait()
        beginning.cancel()
        await asyncio.wait([beginning])
        assert beginning.cancelled()
        keeper.leave()
        await keeper.kept()
        found = await kept.read(lambda db: responses.get(db, keeper.keeping.id))
        await kept.close()
        return found.status

    assert asyncio.run(work()) == "cancelled"


# The file


def test_nothing_is_touched_before_it_is_needed(tmp_path):
    kept = Database(tmp_path / "a" / "b")
    assert not kept.exists and not list(tmp_path.iterdir())
    begin(kept, "a")
    assert kept.exists
    kept.close()


def test_it_opens_again_where_it_was_left(db, tmp_path):
    begin(db, "a")
    db.close()
    other = Database(tmp_path)
    assert get(other, "a").status == "in_progress"
    other.close()


def test_a_change_of_the_tables_happens_once_and_whole(tmp_path):
    first = Database(tmp_path)
    begin(first, "a")
    first.close()
    more = (*RESPONSES.changes, "ALTER TABLE responses ADD COLUMN colour TEXT DEFAULT 'red'; NONSENSE;")
    broken = Database(tmp_path, RESPONSES._replace(changes=more))
    with pytest.raises(StateError):
        get(broken, "a")
    mended = (*more[:-1], more[-1].replace("NONSENSE;", ""))
    second = Database(tmp_path, RESPONSES._replace(changes=mended))
    assert second.read(lambda db: db.execute("SELECT colour FROM responses").fetchall()) == [("red",)]
    second.close()


def test_a_page_that_is_damaged_later(tmp_path):
    kept = Database(tmp_path)
    for i in range(200):
        begin(kept, f"{i}")
    kept.close()
    file = Path(kept.file)
    data = bytearray(file.read_bytes())
    for at in range(4096, len(data), 4096):
        data[at : at + 200] = os.urandom(200)
    file.write_bytes(data)
    with pytest.raises(StateError) as caught:
        kept.read(lambda db: db.execute("SELECT * FROM responses").fetchall())
    assert caught.value.code == "state_damaged"
    assert sqlite3.sqlite_version
    kept.close()
