"""Models that come and go by Ollama's API: what is told of a pull, who may, and what stays."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hub import Answer, LoopbackHub, Repo, Request, running
from running import CEILING, RunningServer, wait_gone
from tiny_models import write_gguf

from nitro.models import fact_cache

NAME = "org/Tiny-GGUF"
FILE = "Tiny-Q4_0.gguf"
FULL = f"{NAME}:Q4_0"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """With one model, for a server whose only store is the hub's cache, which is empty."""
    content = write_gguf(tmp_path / "tiny.gguf").read_bytes()
    with running() as hub:
        hub.repos[NAME] = Repo({FILE: content})
        for name, value in {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "NITRO_DATA": str(tmp_path / "data"),
            "NITRO_STORES": "hub",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        fact_cache.shared.cache_clear()
        yield hub
        fact_cache.shared.cache_clear()


@pytest.fixture
def server(hub: LoopbackHub, serve: Callable[..., RunningServer]) -> RunningServer:
    return serve(no_model=True)


def post(server: RunningServer, route: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/api/{route}", json=body, timeout=CEILING)


def remove(server: RunningServer, name: str, **options: Any) -> httpx.Response:
    return httpx.request("DELETE", f"{server.url}/api/delete", json={"model": name}, timeout=CEILING, **options)


def names(server: RunningServer) -> list[str]:
    return [model["name"] for model in httpx.get(f"{server.url}/api/tags", timeout=CEILING).json()["models"]]


def test_a_model_comes_answers_and_goes(hub: LoopbackHub, server: RunningServer, tmp_path: Path) -> None:
    assert FULL not in names(server)
    reply = post(server, "pull", model=f"hf.co/{FULL}")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in reply.text.splitlines()]
    sha256 = hub.repos[NAME].sha256(FILE)
    size = len(hub.repos[NAME].files[FILE])
    assert lines[0] == {"status": "pulling manifest"}
    assert {
        "status": f"pulling {sha256[:12]}",
        "digest": f"sha256:{sha256}",
        "total": size,
        "completed": size,
    } in lines
    assert [line["status"] for line in lines[-3:]] == ["verifying sha256 digest", "writing manifest", "success"]
    (told,) = [each for each in httpx.get(f"{server.url}/api/tags").json()["models"] if each["name"] == FULL]
    assert (told["digest"], told["size"], told["details"]["format"]) == (sha256, size, "gguf")
    for name in (FULL, f"hf.co/{FULL}", NAME, f"hf.co/{NAME}:latest"):
        asked = {"messages": [{"role": "user", "content": "a"}], "options": {"num_predict": 1}, "stream": False}
        assert post(server, "chat", model=name, **asked).json()["model"] == FULL, name
    assert post(server, "pull", model=FULL, stream=False).json() == {"status": "success"}, "it is here"
    assert remove(server, "Tiny").status_code == 404, "a part of a name is not enough"
    assert remove(server, f"hf.co/{FULL}").status_code == 200
    assert FULL not in names(server) and not [*(tmp_path / "hf").rglob("*.gguf")]
    assert remove(server, FULL).status_code == 404 == post(server, "chat", model=FULL, messages=[]).status_code


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("llama3.2", 400, "ORG/NAME"),
        ("org/none", 404, "org/none"),
        (f"{NAME}:Q9", 400, "Q9"),
        ("a/b\n", 400, "no name"),
    ],
)
def test_what_the_hub_has_not(
    hub: LoopbackHub, server: RunningServer, stream: bool, name: str, status: int, words: str
) -> None:
    reply = post(server, "pull", name=name, stream=stream)
    assert (reply.status_code, list(reply.json())) == (status, ["error"]) and words in reply.json()["error"]


def test_a_fault_on_the_way_is_a_line(hub: LoopbackHub, server: RunningServer) -> None:
    hub.wrong.add(hub.repos[NAME].sha256(FILE))
    lines = [json.loads(line) for line in post(server, "pull", model=FULL).text.splitlines()]
    assert lines[0]["status"] == "pulling manifest" and list(lines[-1]) == ["error"]
    assert post(server, "pull", model=FULL, stream=False).status_code == 502 and FULL not in names(server)


def test_who_stops_listening_ends_the_pull(hub: LoopbackHub, server: RunningServer) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hold(request: Request) -> Answer | None:
        if request.method == "GET" and request.path.strip("/") == hub.repos[NAME].sha256(FILE):
            asked.set()
            go_on.wait(CEILING)
        return None

    hub.answer = hold
    try:
        with httpx.stream("POST", f"{server.url}/api/pull", json={"model": FULL}, timeout=CEILING) as reply:
            lines = reply.iter_lines()  # whose end would be the connection's
            assert "pulling manifest" in next(lines)
            assert asked.wait(CEILING)
            pidfd = os.pidfd_open(pull_process())
        wait_gone(pidfd)
    finally:
        go_on.set()


def pull_process() -> int:
    """The one process of ours that pulls."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            if b"pull" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(int(pid))
    (pid,) = found
    return pid


def test_only_who_is_trusted_may(hub: LoopbackHub, serve: Callable[..., RunningServer]) -> None:
    server = serve(no_model=True)
    forwarded = {"x-forwarded-for": "192.0.2.1"}
    reply = httpx.post(f"{server.url}/api/pull", json={"model": FULL}, headers=forwarded, timeout=CEILING)
    assert reply.status_code == 403 and "on this machine" in reply.json()["error"]
    assert remove(server, FULL, headers=forwarded).status_code == 403
    keyed = serve(no_model=True, api_key="secret")
    key = {"authorization": "Bearer secret", **forwarded}
    reply = httpx.post(f"{keyed.url}/api/pull", json={"model": "org/none"}, headers=key, timeout=CEILING)
    assert reply.status_code == 404, "it is tried"


def test_nobody_may_where_that_is_off(hub: LoopbackHub, serve: Callable[..., RunningServer]) -> None:
    server = serve(no_model=True, no_pull=True)
    for reply in (post(server, "pull", model=FULL), remove(server, FULL)):
        assert reply.status_code == 403 and "--no-pull" in reply.json()["error"]
    assert not hub.requests


def test_what_nitro_has_not_fetched_stays(
    hub: LoopbackHub, serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    file = write_gguf(folder / "mine.gguf")
    server = serve(no_model=True, models=(folder,))
    reply = remove(server, "mine:latest")
    assert reply.status_code == 403 and "a folder of yours" in reply.json()["error"] and file.exists()
    (embedded,) = [name for name in names(server) if name.startswith("SmolLM2")]
    assert remove(server, embedded).status_code == 403
