"""`nitro pull` as a program: what it prints, how it ends, and what a killed one leaves."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import TOKEN, Answer, LoopbackHub, Repo, Request, error, running
from running import CEILING

from nitro import loading
from nitro.cli import this_machine
from nitro.cli.pull_output import JsonLines, Lines, line
from nitro.models.pull import names
from nitro.models.pull.report import Began, Came, Meter
from nitro.models.repository import RepositoryFile

ROOT = Path(__file__).parents[1]
NAME = "org/Model-GGUF"
FILE = "Model-Q4_K_M.gguf"
CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with running() as hub:
        files = {FILE: CONTENT, "Model-Q8_0.gguf": CONTENT * 2, "mmproj-F16.gguf": b"GGUF", "imatrix.gguf": b"GGUF"}
        hub.repos[NAME] = Repo(files)
        yield hub


class Command:
    """`nitro pull` with a home and a hub of its own."""

    def __init__(self, hub: LoopbackHub, home: Path):
        self.cache = home / "hf/hub"
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "NITRO_DATA": str(home / "data"), "COLUMNS": "80"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        self.env = {**kept, **own}

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "nitro", "pull", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env={**self.env, **env})

    def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        with self.start(*arguments, **env) as process:
            out, errors = process.communicate(timeout=CEILING)
        return process.returncode, out, errors

    def events(self, *arguments: str, **env: str) -> list[dict[str, Any]]:
        _, out, errors = self.run(*arguments, "--json", **env)
        assert errors == ""
        return [json.loads(text) for text in out.splitlines()]


@pytest.fixture
def command(hub: LoopbackHub, tmp_path: Path) -> Command:
    return Command(hub, tmp_path)


def test_a_model_comes_and_its_place_is_told(hub: LoopbackHub, command: Command) -> None:
    code, out, errors = command.run(NAME, "--memory", "1G")
    path = command.cache / "models--org--Model-GGUF/snapshots" / hub.repos[NAME].commit / "Model-Q8_0.gguf"
    assert (code, errors) == (0, "")
    assert out == (
        "Model-Q8_0.gguf, 1.0 MB: the best that fits into 1.1 GB of memory\n"
        "mmproj-F16.gguf, 0.0 MB: lets the model see or hear\n"
        f"{NAME}:Q8_0 is here: {path}\nTo serve it: nitro serve {NAME}:Q8_0\n"
    )
    assert path.read_bytes() == CONTENT * 2 and (path.parent / "mmproj-F16.gguf").exists()
    assert not (path.parent / FILE).exists()
    asked = {request.path.strip("/").split("/")[0] for request in hub.requests if "resolve" not in request.path}
    assert asked == {"api", hub.repos[NAME].sha256("Model-Q8_0.gguf"), hub.repos[NAME].sha256("mmproj-F16.gguf")}
    assert [request.path for request in hub.asked("api/")] == [f"/api/models/{NAME}"], "nothing else is asked for"


def test_it_is_listed_and_served_by_its_name_until_it_is_removed(
    hub: LoopbackHub, command: Command, model: Path
) -> None:
    """Also by the commit that comes next, which another of its files is fetched of."""
    hub.repos[NAME].files |= {FILE: model.read_bytes(), "Model-Q8_0.gguf": model.read_bytes()}
    assert command.run(f"{NAME}:Q8_0")[0] == 0
    sent = hub.sent
    hub.repos[NAME].files["README.md"] = b"A new commit."
    assert command.run(f"{NAME}:Q4_K_M")[0] == 0
    assert hub.sent == sent, "both files have one content"

    def nitro(*arguments: str) -> str:
        env = {**command.env, "NITRO_STORES": "hub"}
        done = subprocess.run(
            [sys.executable, "-m", "nitro", *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=env,
            timeout=CEILING,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = nitro("list")
    assert f"{NAME}:Q4_K_M" in listed and f"{NAME}:Q8_0" in listed and "half" not in listed
    assert "mmproj-F16.gguf" in nitro("show", f"{NAME}:Q8_0")
    nitro("rm", "--yes", f"{NAME}:Q8_0")
    assert f"{NAME}:Q8_0" not in nitro("list")


def test_a_file_system_without_links(hub: LoopbackHub, command: Command) -> None:
    """There huggingface_hub moves the content to where it would link it."""
    for _ in range(2):
        event = command.events(f"{NAME}:Q4_K_M", HF_HUB_DISABLE_SYMLINKS="1")[-1]
        path = Path(event["path"])
        assert path.read_bytes() == CONTENT and not path.is_symlink()
        assert hub.sent == len(CONTENT) + 4


def test_a_dry_run_prints_the_table_and_fetches_nothing(hub: LoopbackHub, command: Command) -> None:
    code, out, errors = command.run(f"{NAME}:q4_k_m", "--dry-run", "--memory", "1G")
    assert (code, errors) == (0, "")
    assert [row.split() for row in out.splitlines()] == [
        ["file", "type", "size", "fits", "chosen", "reason"],
        ["Model-Q8_0.gguf", "Q8_0", "1.0", "MB", "memory"],
        [FILE, "Q4_K_M", "0.5", "MB", "memory", "yes", "asked", "for", "by", ":q4_k_m"],
        ["mmproj-F16.gguf", "F16", "0.0", "MB", "yes", "lets", "the", "model", "see", "or", "hear"],
        ["imatrix.gguf", "0.0", "MB", "an", "importance", "matrix"],
    ]
    assert not hub.sent and not command.cache.exists()


def test_the_variable_means_the_same_to_the_server(command: Command) -> None:
    assert loading.memory("600") == 600 * 2**20
    code, out, errors = command.run(NAME, "--dry-run", NITRO_MEMORY="600")
    assert (code, errors) == (0, "") and "0.6 GB of memory" in out


def test_a_dry_run_where_nothing_fits_says_so_as_well(command: Command) -> None:
    code, out, errors = command.run(NAME, "--dry-run", "--memory", "1M")
    assert code == 1 and "needs 0.4 GB" in out and "yes" not in out
    assert errors.startswith(f"nitro: Nothing of {NAME} fits into this machine (0.0 GB of memory): the smallest")


def test_json_lines_tell_everything(hub: LoopbackHub, command: Command) -> None:
    events = command.events(f"{NAME}:Q4_K_M")
    kinds = [event["event"] for event in events]
    assert (kinds[:2], kinds[-2:]) == (["chosen", "begin"], ["progress", "done"])
    begin, *_, progress, done = events[1:]
    assert begin["total"] == progress["total"] == progress["bytes"] == len(CONTENT) + 4
    assert begin["files"][0] == {"file": FILE, "size": len(CONTENT), "sha256": hub.repos[NAME].sha256(FILE)}
    assert done["name"] == f"{NAME}:Q4_K_M" and Path(done["path"]).read_bytes() == CONTENT
    assert {event["file"] for event in events if event["event"] == "file"} == {FILE, "mmproj-F16.gguf"}


def test_bars_on_a_terminal(hub: LoopbackHub, command: Command) -> None:
    ours, its = os.openpty()
    arguments = [sys.executable, "-m", "nitro", "pull", f"{NAME}:Q4_K_M"]
    env = {**command.env, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(arguments, stdout=its, stderr=its, cwd=ROOT, env=env) as process:
        os.close(its)
        shown = b""
        try:
            while block := os.read(ours, 65536):
                shown += block
        except OSError:  # how a terminal ends on Linux
            pass
        assert process.wait(CEILING) == 0, shown
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "all files" in text and "512.0/512.0 kB" in text and f"{NAME}:Q4_K_M is here" in text


def test_a_killed_pull_that_is_started_again_ends_with_the_same_bytes(hub: LoopbackHub, command: Command) -> None:
    """The hub cuts the connection, and kills the client as soon as that asks for the rest, which it does once all that
    came is written: without a chance to tidy up, at a place that is known."""
    hub.cut = 100_000
    killed: list[subprocess.Popen[str]] = []

    def answer(request: Request) -> Answer | None:
        if killed and request.start == 300_000:
            killed.pop().send_signal(signal.SIGKILL)
        return None

    hub.answer = answer
    with command.start(f"{NAME}:Q4_K_M") as process:
        killed.append(process)
        process.communicate(timeout=CEILING)
    assert process.returncode == -signal.SIGKILL
    hub.requests.clear()
    hub.cut, before = None, hub.sent
    code, out, errors = command.run(f"{NAME}:Q4_K_M")
    path = Path(out.splitlines()[-2].rpartition(" ")[2])
    assert (code, errors, path.read_bytes()) == (0, "", CONTENT)
    assert [request.start for request in hub.asked(FILE)] == [300_000]
    assert hub.sent - before <= len(CONTENT) - 300_000 + 4
    assert not list(command.cache.rglob("*.incomplete"))


def test_an_interrupted_pull_says_how_it_goes_on(hub: LoopbackHub, command: Command) -> None:
    hub.cut = 100_000
    running_now: list[subprocess.Popen[str]] = []

    def answer(request: Request) -> Answer | None:
        if running_now and request.start == 300_000:
            running_now.pop().send_signal(signal.SIGINT)
        return None

    hub.answer = answer
    with command.start(f"{NAME}:Q4_K_M") as process:
        running_now.append(process)
        _, errors = process.communicate(timeout=CEILING)
    assert process.returncode == 130
    assert errors == "nitro: interrupted: what has come is kept, and the same command goes on from there.\n"
    env = {**command.env, "NITRO_STORES": "hub"}
    listing = [sys.executable, "-m", "nitro", "list"]
    listed = subprocess.run(listing, capture_output=True, text=True, cwd=ROOT, env=env, timeout=CEILING)
    assert f"`nitro pull {NAME}:Q4_K_M` fetches the rest" in " ".join((listed.stdout + listed.stderr).split())
    hub.requests.clear()
    assert command.run(f"{NAME}:Q4_K_M")[0] == 0
    assert hub.asked(FILE)[0].start >= 300_000


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("https://huggingface.co/org/name", ("org/name", "")),
        ("https://hf.co/org/name/", ("org/name", "")),
        ("http://127.0.0.1:8000/org/na.me-GGUF/tree/main?show=files#x", ("org/na.me-GGUF", "")),
        ("https://huggingface.co/org/name/blob/main/sub/x-Q4_K_M.gguf", ("org/name", "sub/x-Q4_K_M.gguf")),
        ("https://huggingface.co/org/name/resolve/main/x%20y.GGUF?download=true", ("org/name", "x y.GGUF")),
        ("https://huggingface.co/org/name/blob/main/README.md", ("org/name", "")),
    ],
)
def test_the_address_of_a_page_is_a_name(page: str, name: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8000")
    assert names.parse(page) == name


@pytest.mark.parametrize(
    ("name", "env", "code", "said"),
    [
        ("org/other", {}, "not_found", "The hub has no org/other, or it is private: check the name"),
        ("other", {}, "bad_name", "'other' is no name of the hub, which is ORG/NAME"),
        ("https://example.com/org/name", {}, "bad_name", "'https://example.com/org/name' is no name of the hub"),
        ("https://hf.co/datasets/org/name", {}, "bad_name", "'https://hf.co/datasets/org/name' is no name of the hub"),
        (NAME, {"HF_HUB_OFFLINE": "1"}, "offline", "HF_HUB_OFFLINE is set. Unset it to use the network."),
        (NAME, {"HF_TOKEN": "hf_bad"}, "token", "The hub refuses the token that was sent."),
        (NAME, {"HF_ENDPOINT": "http://127.0.0.1:1"}, "network", "The hub cannot be reached"),
        (f"{NAME}:Q5_0", {}, "no_choice", f"{NAME} has no Q5_0; there are Q8_0, Q4_K_M."),
    ],
)
def test_refusals(command: Command, name: str, env: dict[str, str], code: str, said: str) -> None:
    status, out, errors = command.run(name, **env)
    assert (status, out) == (1, "") and errors.startswith("nitro: ") and said in errors and errors.count("\n") == 1
    (event,) = command.events(name, **env)
    assert (event["event"], event["code"]) == ("error", code) and said in event["message"]


def test_a_gated_repository_and_its_token(hub: LoopbackHub, command: Command) -> None:
    hub.repos[NAME].gated = True
    assert command.events(NAME)[-1]["code"] == "gated"
    assert command.events(NAME, HF_TOKEN=TOKEN)[-1]["event"] == "done"


def test_a_hub_that_asks_for_patience(hub: LoopbackHub, command: Command) -> None:
    hub.answer = lambda _request: error(429, "", "Too many", **{"Retry-After": "60"})
    (event,) = command.events(NAME)
    assert (event["code"], event["retry_after"]) == ("rate_limit", 60)


def test_a_folder_for_mlx(hub: LoopbackHub, command: Command) -> None:
    """Both engines are installed where the tests run."""
    config = json.dumps({"model_type": "llama", "quantization": {"bits": 4, "group_size": 64}}).encode()
    files = {"config.json": config, "model.safetensors": CONTENT, "tokenizer.json": b"{}", "README.md": b"Hello"}
    hub.repos["mlx-community/m-4bit"] = Repo(files, tags=("mlx",))
    event = command.events("mlx-community/m-4bit")[-1]
    assert (event["event"], event["name"]) == ("done", "mlx-community/m-4bit")
    there = {file.name: file.read_bytes() for file in Path(event["path"]).iterdir()}
    assert there == {name: content for name, content in files.items() if name != "README.md"}


@pytest.mark.parametrize("memory", ["much", "0", "-1G", "inf", "nanG", "12X", "9" * 400])
def test_what_is_no_memory(command: Command, memory: str) -> None:
    code, _, errors = command.run(NAME, "--memory", memory)
    assert code == 2 and "expected MiB, or a size such as 12G." in errors


def test_this_machine() -> None:
    machine = this_machine.look()
    assert machine.memories[-1].name == "memory" and machine.memories[-1].size > 10**8
    assert set(machine.engines) == {"llama", "mlx"}
    assert [memory.size for memory in this_machine.look(5).memories] == [5]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_in_a_pipe_and_for_programs(tmp_path: Path) -> None:
    clock = Clock()
    file = RepositoryFile("m.gguf", 10**10)
    with (tmp_path / "out").open("w+") as out:
        lines, objects = Lines(out, out, clock), JsonLines(out, clock)
        for told in (lines, objects):
            told(Began((file,)))
        for _ in range(12):
            clock.now += 0.5
            for told in (lines, objects):
                told(Came(file, 50_000_000))
        out.seek(0)
        said = out.read().splitlines()
    objects_said = [json.loads(text) for text in said if text.startswith("{")][1:]
    assert [text for text in said if not text.startswith("{")] == ["5 %, 0.5 of 10.00 GB, 100.0 MB/s, 1:35 left"]
    assert len(objects_said) == 12
    assert objects_said[-1] == {
        "event": "progress",
        "bytes": 600_000_000,
        "total": 10**10,
        "bytes_per_second": 100_000_000,
        "seconds_left": 94.0,
        "files": {"m.gguf": 600_000_000},
    }


def test_hours() -> None:
    clock = Clock()
    meter = Meter(10**12, clock)
    clock.now = 1
    meter.advance(10**8)
    assert line(meter).endswith("2:46:39 left")
