"""A database that is full, locked, damaged, newer or not to be written: those requests that need it get a clear error,
all others are answered."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import openai
import pytest

from nitro.state import database


def file_of(tmp_path):
    return tmp_path / "state" / database.FILE


def others_go_on(server) -> None:
    """Whatever the database is like."""
    client = server.client()
    chat = client.chat.completions.create(model="", messages=[{"role": "user", "content": "Hi"}])
    for stream in (False, True):
        response = client.responses.create(model="", input="Hi", store=False, stream=stream)
        response = list(response)[-1].response if stream else response
        assert response.status == "completed" and response.output_text == chat.choices[0].message.content


def needs_it(server, code: str, status: int, words: str, reads: bool = True) -> None:
    """`reads`: reading fails, too."""
    client = server.client()
    create = client.responses.create
    much = {"metadata": {f"{i}": "x" * 512 for i in range(16)}}  # more than one page
    calls = [
        lambda: create(model="", input="Hi", **much),
        lambda: list(create(model="", input="Hi", stream=True, **much)),
        lambda: create(model="", input="Hi", background=True, **much),
        lambda: client.conversations.create(**much),
    ]
    if reads:
        calls += [
            lambda: client.responses.retrieve("resp_1"),
            lambda: create(model="", input="Hi", previous_response_id="resp_1"),
        ]
    for call in calls:
        with pytest.raises(openai.InternalServerError) as caught:
            call()
        error = caught.value
        assert (error.status_code, error.code, error.type) == (status, code, "server_error"), error
        assert words in str(error) and database.FILE in str(error)
        assert error.response.headers.get("retry-after", "false") == ("1" if code == "state_locked" else "false")


def works(server) -> None:
    made = server.client().responses.create(model="", input="Hi")
    assert server.client().responses.retrieve(made.id) == made


def damage(file) -> None:
    file.parent.mkdir()
    file.write_bytes(b"This is no database. " * 400)


def renew(file) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE things (id)")
        db.execute(f"PRAGMA application_id = {database.APPLICATION}")
        db.execute("PRAGMA user_version = 99")


def foreign(file) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE things (id)")


def block(file) -> None:
    file.parent.write_text("a file where the folder should be")


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (damage, "state_damaged", "is damaged or no SQLite database"),
        (renew, "state_newer", "newer Nitro (version 99"),
        (foreign, "state_unusable", "another program's"),
        (block, "state_unusable", "cannot be opened"),
    ],
)
def test_a_file_that_cannot_be_used(serve, tmp_path, spoil, code, words):
    spoil(file_of(tmp_path))
    before = file_of(tmp_path).read_bytes() if file_of(tmp_path).exists() else b""
    server = serve(state=tmp_path / "state").ready()
    others_go_on(server)
    needs_it(server, code, 503, words)
    if before:
        assert file_of(tmp_path).read_bytes() == before  # it is left as it was
        file_of(tmp_path).rename(tmp_path / "away")
    else:
        (tmp_path / "state").unlink()
    works(server)


def test_a_full_database(serve, tmp_path):
    server = serve(state=tmp_path / "state").ready()
    prepare = database.Database._prepare

    def limited(self, connection) -> None:
        prepare(self, connection)
        connection.execute("PRAGMA max_page_count = 1")  # SQLite makes it as many as there are

    works(server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database.Database, "_prepare", limited)
        server.run(server.server.store.read(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall()))
        needs_it(server, "state_full", 507, "is full", reads=False)
        others_go_on(server)
    works(server)


def test_a_disk_that_fills_while_it_is_answered(serve, gate, tmp_path):
    """The client is not told that a response is completed which is not kept."""
    server = serve(engine="runners:GatedRunner", model=gate.path, state=tmp_path / "state")
    gate.accept()
    stream = iter(server.client().responses.create(model="", input="Hi", stream=True))
    id = next(stream).response.id
    gate.wait_inside()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database.Database, "write", _full)
        gate.open()
        events = list(stream)
        assert events[-1].type == "response.failed" and "no room" in events[-1].response.error.message
        assert "response.completed" not in [event.type for event in events]
    works(server)  # with the next change that is possible this one is ended, too
    kept = server.client().responses.retrieve(id)
    assert kept.status == "failed" and "no room" in kept.error.message


def _full(self, job, waited=0.0):
    raise database.StateError("state_full", "There is no room.")


def test_a_locked_database(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    server = serve(state=tmp_path / "state").ready()
    works(server)
    with closing(sqlite3.connect(file_of(tmp_path), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        others_go_on(server)
        needs_it(server, "state_locked", 503, "is locked", reads=False)
        other.execute("ROLLBACK")
    works(server)


def test_a_database_that_cannot_be_written(serve, tmp_path, monkeypatch):
    works(serve(state=tmp_path / "state").ready())
    connect = sqlite3.connect
    monkeypatch.setattr(
        database.sqlite3, "connect", lambda file, **options: connect(f"file:{file}?mode=ro", uri=True, **options)
    )
    server = serve(state=tmp_path / "state").ready()
    others_go_on(server)
    needs_it(server, "state_read_only", 503, "read but not written", reads=False)


def test_a_file_that_is_moved_away(serve, tmp_path):
    server = serve(state=tmp_path / "state").ready()
    made = server.client().responses.create(model="", input="Hi")
    for file in file_of(tmp_path).parent.glob(f"{database.FILE}*"):
        file.rename(tmp_path / file.name)
    with pytest.raises(openai.NotFoundError):
        server.client().responses.retrieve(made.id)
    works(server)


def test_only_its_user_reads_it(serve, tmp_path):
    works(serve(state=tmp_path / "state").ready())
    for file in file_of(tmp_path).parent.rglob("*"):
        assert not file.stat().st_mode & 0o077, file
    assert not file_of(tmp_path).parent.stat().st_mode & 0o077


def test_another_process_takes_no_log_that_is_in_use(tmp_path):
    """SQLite removes its log with the last connection. Locks of a process tell it which is the last, and they are gone
    when the process closes any descriptor of the file."""
    ours = database.Database(tmp_path), database.Database(tmp_path)
    ours[0].write(lambda db: db.execute("CREATE TABLE things (id)"))
    ours[1].read(lambda db: None)
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM things').fetchone()"
    subprocess.run([sys.executable, "-c", program, str(ours[0].file)], check=True)
    for file in ours:
        file.write(lambda db: db.execute("INSERT INTO things VALUES (1)"))
    with closing(sqlite3.connect(ours[0].file)) as db:
        assert db.execute("SELECT count(*) FROM things").fetchone() == (2,)
    for file in ours:
        file.close()
