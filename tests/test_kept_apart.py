"""What is kept is its key's: for another key it is not there, in whatever route; administrators see all.

`KEPT` has every route that a key may call with an id: a new one fails here until somebody says whose it is.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import FAKE, RunningServer, until

from nitro.api import user_routes
from nitro.api.openapi.document import document
from nitro.config import ServeConfig
from nitro.keys import keys_file
from nitro.keys.key import Key, digest, new_secret, now
from nitro.state import batches, bounds, files, uploads
from nitro.state.batches import NewBatch
from nitro.state.bounds import TooMany
from nitro.state.database import Database
from nitro.state.file_schema import FILES
from nitro.state.schema import RESPONSES, Schema
from nitro.state.uploads import NewUpload

MASTER = "the-master-key"
NAMES = ("alice", "bob", "root")
LINE = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
BODY = {"model": "", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
KEPT: dict[str, Any] = {
    "GET /v1/responses/{response_id}": None,
    "GET /v1/responses/{response_id}/input_items": None,
    "POST /v1/responses/{response_id}/cancel": {},
    "DELETE /v1/responses/{response_id}": None,
    "GET /v1/conversations/{conversation_id}": None,
    "POST /v1/conversations/{conversation_id}": {"metadata": {"a": "b"}},
    "GET /v1/conversations/{conversation_id}/items": None,
    "POST /v1/conversations/{conversation_id}/items": {"items": [{"role": "user", "content": "More"}]},
    "GET /v1/conversations/{conversation_id}/items/{item_id}": None,
    "DELETE /v1/conversations/{conversation_id}/items/{item_id}": None,
    "DELETE /v1/conversations/{conversation_id}": None,
    "GET /v1/batches/{batch_id}": None,
    "POST /v1/batches/{batch_id}/cancel": {},
    "POST /v1/uploads/{upload_id}/parts": {},
    "POST /v1/uploads/{upload_id}/complete": {"part_ids": ["part_none"]},
    "POST /v1/uploads/{upload_id}/cancel": {},
    "GET /v1/files/{file_id}": None,
    "GET /v1/files/{file_id}/content": None,
    "DELETE /v1/files/{file_id}": None,
}
OTHERS = {"GET /v1/models/{model_id}", "GET /page/{file_path}"}  # what is nobody's


class Server:
    """One with keys, asked with the key of a name."""

    def __init__(self, server: RunningServer, secrets: dict[str, str]):
        self.server = server
        self.secrets = secrets

    def call(self, name: str, route: str, body: Any = None, **options: Any) -> httpx.Response:
        method, path = route.split(" ")
        head = {"authorization": f"Bearer {self.secrets[name]}"}
        return httpx.request(method, self.server.url + path, json=body, headers=head, **options)

    def made(self, name: str, route: str, body: Any = None, **options: Any) -> Any:
        reply = self.call(name, route, body, **options)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def things(self, name: str) -> dict[str, str]:
        """One of each, by the names of parameters of paths."""
        response = self.made(name, "POST /v1/responses", {"model": "", "input": "Hi", "background": True})
        talk = self.made(name, "POST /v1/conversations", {"items": [{"role": "user", "content": "Hi"}]})
        listed = self.made(name, f"GET /v1/conversations/{talk['id']}/items")
        form = {"data": {"purpose": "batch"}, "files": {"file": ("a.jsonl", json.dumps({**LINE, "body": BODY}))}}
        file = self.made(name, "POST /v1/files", **form)
        asked = {"input_file_id": file["id"], "endpoint": LINE["url"], "completion_window": "24h"}
        batch = self.made(name, "POST /v1/batches", asked)
        done = lambda route: self.made(name, route)["status"] == "completed"  # noqa: E731
        until(lambda: done(f"GET /v1/batches/{batch['id']}") and done(f"GET /v1/responses/{response['id']}"))
        ids = {"response_id": response["id"], "conversation_id": talk["id"], "item_id": listed["data"][0]["id"]}
        about = {"bytes": 3, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
        upload = self.made(name, "POST /v1/uploads", about)
        return {**ids, "file_id": file["id"], "batch_id": batch["id"], "upload_id": upload["id"]}


def write(path: Path, secrets: dict[str, str], **rights: Any) -> None:
    path.unlink(missing_ok=True)
    for name, secret in secrets.items():
        fields = {"admin": name == "root", **rights.get(name, {})}
        keys_file.add(path, name, Key(hash=digest(secret.encode()), created=now(), **fields))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("apart")
    secrets = {name: new_secret() for name in NAMES}
    write(folder / "keys.toml", secrets)
    config = ServeConfig(engine=FAKE, port=0, api_key=MASTER, keys=folder / "keys.toml", state=folder / "state")
    with RunningServer(config) as server:
        yield Server(server.ready(), {**secrets, "master": MASTER})


def test_every_route_with_an_id_is_here() -> None:
    routes = {
        f"{method.upper()} {path}"
        for path, item in document()["paths"].items()
        for method in item
        if method in ("get", "post", "delete") and "{" in path
    }
    assert {route for route in routes if user_routes.has(*route.split())} - OTHERS == set(KEPT)


def test_another_key_finds_nothing(kept: Server) -> None:
    """It is told what it would be told of an id that there never was; and nothing has changed."""
    things = kept.things("alice")
    none = {name: re.sub("_.*", "_none", id) for name, id in things.items()}
    for route, body in KEPT.items():
        refused = kept.call("bob", route.format(**things), body)
        never = kept.call("bob", route.format(**none), body)
        assert refused.status_code == never.status_code == 404, route
        said = refused.text
        for name, id in things.items():
            said = said.replace(id, none[name])
        assert said == never.text, route
    for name in ("alice", "root", "master"):
        for route, body in KEPT.items():
            if route.startswith("GET"):
                assert kept.call(name, route.format(**things), body).status_code == 200, (name, route)
    for route, body in KEPT.items():
        if not route.startswith("GET") and not route.endswith(("/parts", "/complete")):  # these need more
            assert kept.call("root" if "DELETE" in route else "alice", route.format(**things), body).is_success, route


def test_what_requests_name(kept: Server) -> None:
    """Ids in bodies and queries are looked up in the same way."""
    alice, bob = kept.things("alice"), kept.things("bob")
    ask = {"model": "", "input": "And?"}
    reference = {**ask, "input": [{"type": "item_reference", "id": alice["item_id"]}]}
    batch = {"input_file_id": alice["file_id"], "endpoint": LINE["url"], "completion_window": "24h"}
    for route, body, status in [
        ("POST /v1/responses", {**ask, "previous_response_id": alice["response_id"]}, 404),
        ("POST /v1/responses", {**ask, "conversation": alice["conversation_id"]}, 404),
        ("POST /v1/responses", {**ask, "conversation": {"id": alice["conversation_id"]}, "background": True}, 404),
        ("POST /v1/responses/input_tokens", {**ask, "previous_response_id": alice["response_id"]}, 404),
        ("POST /v1/responses", reference, 404),
        ("POST /v1/batches", batch, 400),
        (f"GET /v1/files?after={alice['file_id']}", None, 400),
        (f"GET /v1/batches?after={alice['batch_id']}", None, 400),
    ]:
        assert kept.call("bob", route, body).status_code == status, (route, body)
        assert kept.call("alice", route, body).status_code == 200, (route, body)
    mixed = f"/v1/conversations/{bob['conversation_id']}/items/{alice['item_id']}"
    assert kept.call("bob", f"GET {mixed}").status_code == 404


def test_lists_have_ones_own(kept: Server) -> None:
    things = {name: kept.things(name) for name in ("alice", "bob")}
    for route, id in (("GET /v1/files", "file_id"), ("GET /v1/batches", "batch_id")):
        listed = {name: {each["id"] for each in kept.made(name, route)["data"]} for name in kept.secrets}
        assert things["alice"][id] in listed["alice"] - listed["bob"] and things["bob"][id] in listed["bob"]
        assert listed["alice"] | listed["bob"] <= listed["root"] == listed["master"]


def test_one_key_has_not_all_places(kept: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"bytes": 3, "filename": "a", "mime_type": "text/plain", "purpose": "batch"}
    begin = lambda name: kept.call(name, "POST /v1/uploads", about)  # noqa: E731
    monkeypatch.setattr(bounds, "MOST_OF_ONE", 8)
    while (full := begin("alice")).is_success:
        pass
    assert full.status_code == 429 and full.json()["error"]["code"] == "rate_limit_exceeded"
    assert "8 uploads of this key have not ended" in full.json()["error"]["message"]
    assert all(begin(name).is_success for name in ("bob", "root", *["master"] * 9))
    monkeypatch.setattr(bounds, "MOST", 10)
    for name in ("bob", "root", "master"):
        refused = begin(name)
        assert refused.status_code == 429 and "of this key" not in refused.json()["error"]["message"], name
    monkeypatch.setattr(bounds, "MOST_OF_ONE", 0)
    file = kept.made("bob", "POST /v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", b"{}")})
    asked = {"input_file_id": file["id"], "endpoint": LINE["url"], "completion_window": "24h"}
    refused = kept.call("bob", "POST /v1/batches", asked)
    assert refused.status_code == 429 and "0 batches of this key have not ended" in refused.json()["error"]["message"]


@pytest.mark.parametrize("what", ["uploads", "batches"])
def test_places_of_one_and_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Where there are no keys, all have all. What has ended has no place."""
    monkeypatch.setattr(bounds, "MOST", 20)
    monkeypatch.setattr(bounds, "MOST_OF_ONE", 5)
    database = Database(tmp_path, FILES)
    number = database.write(lambda db: files.begin(db, "in", "me"))
    database.write(lambda db: files.finish(db, number, 0, None, "in", "batch"))
    made = iter(range(10_000))

    def begin(user: str, now: int = 0) -> None:
        new: Any
        common = {"id": f"x{next(made)}", "created": now, "expires": now + 9, "user": user}
        if what == "uploads":
            new = NewUpload(**common, bytes=1, name="a", purpose="batch", seconds=None)
            return database.write(lambda db: uploads.create(db, new) and None)
        ids = (f"o{next(made)}", f"f{next(made)}")
        about = {"window": "24h", "endpoint": "/", "metadata": b"null", "served": "", "owner": "me"}
        new = NewBatch(**common, **about, input="in", ids=ids, output_seconds=9)
        return database.write(lambda db: batches.create(db, new) and None)

    for name in range(3):
        for _ in range(bounds.MOST_OF_ONE):
            begin(f"key:{name}")
        with pytest.raises(TooMany, match=f"{bounds.MOST_OF_ONE} {what} of this key"):
            begin(f"key:{name}")
    for _ in range(bounds.MOST_OF_ONE):
        begin("")
    with pytest.raises(TooMany, match=f"^{bounds.MOST} {what} have"):
        begin("key:new")
    with pytest.raises(TooMany, match=f"^{bounds.MOST} {what} have"):
        begin("")
    if what == "uploads":
        begin("key:1", now=9)
    else:
        database.write(lambda db: batches.end(db, 1, "completed", 1, ()))
        begin("key:0")
    database.close()


def test_a_name_is_whose_it_is(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    """Another secret of the same name sees what the name has; another name with the same secret does not."""
    secrets = {name: new_secret() for name in NAMES}
    path = tmp_path / "keys.toml"
    write(path, secrets)
    server = serve(state=tmp_path / "state", keys=path, api_key=MASTER).ready()
    asked = Server(server, {**secrets, "master": MASTER})
    id = asked.made("alice", "POST /v1/responses", {"model": "", "input": "Hi"})["id"]
    asked.secrets["renamed"] = asked.secrets["alice"]
    asked.secrets["alice"] = new_secret()
    write(path, {name: secret for name, secret in asked.secrets.items() if name != "master"})
    until(lambda: asked.call("alice", "GET /v1/models").status_code == 200)
    assert asked.call("alice", f"GET /v1/responses/{id}").status_code == 200
    assert asked.call("renamed", f"GET /v1/responses/{id}").status_code == 404
    write(path, {name: asked.secrets[name] for name in ("bob", "root")})
    until(lambda: asked.call("alice", "GET /v1/models").status_code == 401)
    assert asked.call("bob", f"GET /v1/responses/{id}").status_code == 404
    assert asked.call("root", f"GET /v1/responses/{id}").status_code == 200


def test_what_a_key_began_ends_with_it(serve: Any, gate: Any, tmp_path: Path) -> None:
    """A response that waits in the background is not computed for a key that is gone, has expired, or may not ask."""
    secrets = {name: new_secret() for name in (*NAMES, "carol")}
    path = tmp_path / "keys.toml"
    write(path, secrets)
    options = {"engine": "runners:GatedRunner", "model": gate.path, "parallel": 1}
    server = serve(state=tmp_path / "state", keys=path, **options)
    gate.accept()
    asked = Server(server.ready(), dict(secrets))
    body = {"model": "", "input": "Hi", "background": True}
    names = ("root", "alice", "bob", "carol")
    first, lost, late, kept_out = (asked.made(name, "POST /v1/responses", body)["id"] for name in names)
    gate.wait_inside()
    del secrets["alice"]
    write(path, secrets, bob={"expires": now()}, carol={"routes": ("GET /v1/*",)})
    until(lambda: asked.call("alice", "GET /v1/models").status_code == 401)
    until(lambda: asked.call("bob", "GET /v1/models").status_code == 401)
    gate.open()
    found = {}
    for id in (first, lost, late, kept_out):
        ended = lambda id=id: asked.made("root", f"GET /v1/responses/{id}")  # noqa: E731
        until(lambda ended=ended: ended()["status"] in ("completed", "failed"))
        found[id] = ended()
    assert found[first]["status"] == "completed"
    for id, name in ((lost, "alice"), (late, "bob"), (kept_out, "carol")):
        assert found[id]["status"] == "failed" and f"'{name}'" in found[id]["error"]["message"]


def test_a_database_of_an_older_nitro(tmp_path: Path) -> None:
    """What it has is nobody's in particular, but what waits is its key's."""
    old = Schema(RESPONSES.file, RESPONSES.changes[:2])
    database = Database(tmp_path, old)
    fields = "0, '{queued}', x'7b7d', 'm', NULL, NULL, 1, 0, 0, NULL"
    database.write(lambda db: db.execute(f"INSERT INTO responses VALUES ('waits', {fields})"))
    database.write(lambda db: db.execute(f"INSERT INTO responses VALUES ('done', {fields})"))
    database.write(lambda db: db.execute("INSERT INTO requests VALUES ('waits', x'7b7d', x'', 'key:alice')"))
    database.write(lambda db: db.execute("INSERT INTO conversations VALUES ('talk', 0, x'7b7d', 0)"))
    database.close()
    new = Database(tmp_path)
    new.read(lambda db: db.execute("SELECT 1").fetchone())
    new.close()
    with closing(sqlite3.connect(tmp_path / RESPONSES.file)) as db:
        assert dict(db.execute("SELECT id, user FROM responses")) == {"waits": "key:alice", "done": ""}
        assert db.execute("SELECT user FROM conversations").fetchall() == [("",)]
        assert db.execute("SELECT * FROM requests").fetchall() == [("waits", b"{}", b"")]
