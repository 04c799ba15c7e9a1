"""`/v1/files`, asked by the OpenAI SDK: uploaded, listed, read, deleted, expired; and what an upload may not be."""

import io
import sqlite3
from contextlib import closing

import httpx
import openai
import pytest
from running import raw_request, sdk, until

from nitro.state import files
from nitro.state.file_schema import FILES

FORM = "Content-Type: multipart/form-data; boundary=b"
LINES = b'{"custom_id": "a"}\n'


@pytest.fixture(scope="module")
def client(fake_server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{fake_server.url}/v1", api_key="none", max_retries=0)


def upload(client: openai.OpenAI, data: bytes = LINES, name: str = "in.jsonl", purpose: str = "batch", **more):
    return client.files.create(file=(name, io.BytesIO(data)), purpose=purpose, **more)


def test_a_file_is_kept_as_it_is(client):
    data = bytes(range(256)) * 1000  # of several pieces, the last one shorter
    made = upload(client, data, "in/of a path.jsonl")
    assert (made.object, made.purpose, made.status, made.bytes) == ("file", "batch", "processed", len(data))
    assert made.filename == "of a path.jsonl" and made.expires_at == made.created_at + 30 * 86400
    assert client.files.retrieve(made.id).to_dict() == made.to_dict()
    assert client.files.content(made.id).read() == data
    with client.files.with_streaming_response.content(made.id) as response:
        assert int(response.headers["content-length"]) == len(data)
    assert client.files.delete(made.id).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File"):
            call(made.id)


@pytest.mark.parametrize("size", [0, 1, files.PIECE - 1, files.PIECE, 2**20, 2**20 + files.PIECE + 1])
def test_any_size(client, size):
    made = upload(client, b"\r\n--" * (size // 4) + b"x" * (size % 4))
    assert made.bytes == size == len(client.files.content(made.id).read())
    client.files.delete(made.id)


def test_lists_and_pages(client):
    before = {file.id for file in client.files.list()}
    made = [upload(client, purpose=purpose).id for purpose in ("batch", "user_data", "batch", "evals", "vision")]
    assert [file.id for file in client.files.list() if file.id not in before] == made[::-1]
    assert [file.id for file in client.files.list(order="asc", limit=2) if file.id not in before] == made
    assert [file.id for file in client.files.list(purpose="evals") if file.id not in before] == [made[3]]
    page = client.files.list(limit=2, after=made[4])
    assert [file.id for file in page.data] == [made[3], made[2]] and page.has_more
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.list(after="file_none")
    assert caught.value.param == "after"
    for query, param in (({"limit": 0}, "limit"), ({"limit": 10_001}, "limit"), ({"order": "up"}, "order")):
        with pytest.raises(openai.BadRequestError) as caught:
            client.files.list(**query)
        assert caught.value.param == param
    for id in made:
        client.files.delete(id)


def test_how_long_it_is_kept(client):
    made = upload(client, purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600})
    assert made.expires_at == made.created_at + 3600
    assert upload(client, purpose="user_data").expires_at is None
    for wrong, param in (
        ({"anchor": "created_at", "seconds": 10}, "expires_after.seconds"),
        ({"anchor": "last_active_at", "seconds": 3600}, "expires_after.anchor"),
        ({"anchor": "created_at", "seconds": "soon"}, "expires_after.seconds"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            upload(client, expires_after=wrong)
        assert caught.value.param == param


def test_one_whose_time_is_over_is_not_there(serve, tmp_path):
    server = serve(state=tmp_path).ready()
    client = server.client()
    made, kept = (upload(client, expires_after={"anchor": "created_at", "seconds": s}).id for s in (3600, 7200))
    store = server.server.batches.store
    begun = store.now
    store._clock = lambda: begun + 3600.0
    assert [file.id for file in client.files.list()] == [kept]
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(made)
    server.run(store.recover())
    with closing(sqlite3.connect(tmp_path / FILES.file)) as db:
        assert db.execute("SELECT id FROM files").fetchall() == [(kept,)]
        assert db.execute("SELECT count(*) FROM pieces").fetchone() == (1,)


def test_what_is_no_upload(client):
    with pytest.raises(openai.BadRequestError) as caught:
        upload(client, purpose="fun")
    assert caught.value.param == "purpose"
    url = f"{client.base_url}files"
    for options, words in (
        ({"data": {"purpose": "batch"}, "files": {"other": b"x"}}, "'file'"),
        ({"files": {"file": b"x"}}, "'purpose'"),
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, "multipart/form-data"),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, "boundary"),
        ({"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}}, "multipart"),
        ({"files": [("file", b"x"), ("file", b"y")], "data": {"purpose": "batch"}}, "several"),
        ({"files": {"file": b"x"}, "data": {"purpose": b"\xff"}}, "UTF-8"),
        ({"files": {"file": b"x"}, "data": {"purpose": "x" * 2**21}}, "1048576"),
    ):
        reply = httpx.post(url, **options)
        assert reply.status_code == 400 and words in reply.json()["error"]["message"], reply.text
    reply = httpx.post(url, files={"file": b"x"}, data={"purpose": "batch", "colour": "red"})
    assert reply.status_code == 200 and reply.headers["x-nitro-ignored"] == "colour"


def test_its_bounds(serve, tmp_path):
    server = serve(state=tmp_path, max_file=1, files_size=1, strict=True).ready()
    client = server.client()
    with pytest.raises(openai.APIStatusError) as caught:
        upload(client, bytes(2**20 + 1))
    assert caught.value.status_code == 413 and "--max-file" in str(caught.value)
    with pytest.raises(openai.APIStatusError) as caught:
        upload(client, bytes(4 * 2**20))
    assert caught.value.status_code == 413 and "--max-file" in str(caught.value)
    made = upload(client, bytes(2**20))
    server.server.batches.store.size = 2**20 + 10
    with pytest.raises(openai.APIStatusError) as caught:
        upload(client, bytes(11))
    assert caught.value.status_code == 507 and caught.value.code == "files_full"
    assert upload(client, bytes(10)).bytes == 10
    client.files.delete(made.id)
    assert upload(client, bytes(11)).bytes == 11
    reply = httpx.post(f"{server.url}/v1/files", files={"file": b"x"}, data={"purpose": "batch", "colour": "red"})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "colour"


def test_an_upload_that_breaks_off_leaves_nothing(serve, tmp_path):
    server = serve(state=tmp_path).ready()
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(3 * 2**20)
    sock = raw_request(server.url, body, 2**23, "/v1/files", FORM)
    store = server.server.batches.store

    def counts() -> tuple[int, int]:
        query = "SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM pieces)"
        return server.run(store.read(lambda db: db.execute(query).fetchone()))

    until(lambda: counts()[1] > 0)
    assert not list(server.client().files.list())
    sock.close()
    until(lambda: counts() == (0, 0))


def test_without_state(serve):
    client = sdk(serve(no_state=True).ready().url)
    for call in (client.files.list, client.batches.list, lambda: upload(client)):
        with pytest.raises(openai.NotFoundError, match="--no-state"):
            call()
