"""`nitro chat` as a person has it: a process on a terminal of its own, which starts a server. Real keys and signals."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fast
import pytest
from at_terminal import CTRL_C, CTRL_D, ENTER, TAB, UP, AtTerminal
from runners import Gate
from running import CEILING, RunningServer, wait_gone

from nitro.chat import session


class Person(AtTerminal):
    """Sits at a terminal with `nitro chat` on it."""

    def __init__(self, *arguments: str, **variables: str):
        fast.skip_server()
        super().__init__([sys.executable, "-P", "-m", "nitro", "chat", *arguments], **variables)

    def says(self, text: str) -> None:
        """Type a line, as soon as there is a prompt."""
        self.reads_until(lambda: self.terminal.lines[-1:] == [">"], "a prompt")
        self.types(text)

    def server(self) -> int:
        """A descriptor of the process of the server that it has started."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert b"nitro.cli.bound" in Path(f"/proc/{child}/cmdline").read_bytes()
        return os.pidfd_open(int(child))


@contextmanager
def sitting(*arguments: str, **variables: str) -> Iterator[Person]:
    person = Person(*arguments, **variables)
    try:
        yield person
    finally:
        person.process.kill()
        person.process.wait()
        person.hangs_up()


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("NITRO_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


SAYING = {"NITRO_ENGINE": "runners:SayingRunner", "NITRO_PORT": "1"}  # nothing listens there


def test_a_conversation_from_beginning_to_end(tmp_path: Path, data: Path) -> None:
    with sitting("some-model", **SAYING) as person:
        person.sees("Starting some-model …")
        person.sees("some-model at http://127.0.0.1:")
        server = person.server()
        person.says("␂It **is**.␃" + ENTER)
        person.sees("tokens/s · first after ")
        assert "It is." in person.terminal.lines
        person.says("/mod")
        person.sees("/model")
        person.types(TAB)
        person.sees("> /model")
        person.types(ENTER)
        person.sees("some-model  loaded, in use")
        person.says("␂So\\" + ENTER + "it is.␃" + ENTER)
        person.sees("first after", 2)
        person.says(UP)
        person.sees("it is.␃", 2)
        person.types(CTRL_C + f"/save {tmp_path / 'talk.json'}" + ENTER)
        person.sees("saved in ")
        person.says(CTRL_D)
        assert person.wait() == 0
        wait_gone(server)
        assert person.mode() == person.before
    said = [message["content"] for message in json.loads((tmp_path / "talk.json").read_text())["messages"]]
    assert said == ["␂It **is**.␃", "It **is**.", "␂So\nit is.␃", "So\nit is."]
    assert (data / "chat-history").stat().st_mode & 0o777 == 0o600
    with sitting("some-model", **SAYING) as person:
        person.says(UP)
        person.sees("> /save")
        person.types(CTRL_C)
        person.says(CTRL_C)
        assert person.wait() == 0


def test_ctrl_c_stops_the_answer_and_nothing_else(gate: Gate, tmp_path: Path) -> None:
    with sitting(gate.path, NITRO_ENGINE="runners:GatedRunner", NITRO_PORT="1") as person:
        gate.accept()
        person.sees("/help")
        person.says("hi" + ENTER)
        gate.step(3)
        gate.wait_inside()
        person.sees("?@")
        person.types(CTRL_C)
        person.sees("· stopped")
        gate.open()
        person.says("go on" + ENTER)
        person.sees("~")
        person.says(f"/save {tmp_path / 'talk.json'}" + ENTER)
        person.sees("saved in ")
        person.says(CTRL_D)
        assert person.wait() == 0
    said = [message["content"] for message in json.loads((tmp_path / "talk.json").read_text())["messages"]]
    assert said[0] == "hi" and said[1].startswith("?@") and said[2] == "go on" and said[3].endswith("~")


def test_ctrl_c_while_the_server_starts(gate: Gate) -> None:
    with sitting(gate.path, NITRO_ENGINE="runners:GatedRunner", NITRO_PORT="1") as person:
        gate.hold()
        person.sees("Starting ")
        server = person.server()
        person.types(CTRL_C)
        assert person.wait() == 130
        wait_gone(server)


def test_the_terminal_is_left_as_it_was_wherever_a_signal_lands() -> None:
    """Even where prompt_toolkit has changed its modes and does not come to change them back."""
    master, terminal = pty.openpty()
    try:
        before = termios.tcgetattr(terminal)
        with pytest.raises(SystemExit), session.terminal_as_before(terminal):
            tty.setraw(terminal)
            assert termios.tcgetattr(terminal) != before
            sys.exit(143)
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(master)
        os.close(terminal)


END = {
    "SIGTERM": (lambda person: person.process.terminate(), 128 + signal.SIGTERM),
    "SIGKILL": (lambda person: person.process.kill(), -signal.SIGKILL),
    "the window is closed": (Person.hangs_up, 128 + signal.SIGHUP),
}


@pytest.mark.parametrize("how", END)
@pytest.mark.parametrize("busy", [False, True])
def test_the_server_ends_with_the_chat(gate: Gate, how: str, busy: bool) -> None:
    with sitting(gate.path, NITRO_ENGINE="runners:GatedRunner", NITRO_PORT="1") as person:
        gate.accept()
        person.sees("/help")
        person.says("")
        server = person.server()
        if busy:
            person.says("hi" + ENTER)
            gate.wait_inside()
        end, status = END[how]
        end(person)
        assert person.wait() == status
        gate.open()
        wait_gone(server)
        if how == "SIGTERM":
            assert person.mode() == person.before


def test_the_server_that_runs_lives_on(saying: RunningServer) -> None:
    with sitting(NITRO_PORT=str(saying.server.port)) as person:
        person.sees(f" at {saying.url}/v1")
        person.says("/set top_p 2" + ENTER)
        person.sees("expected at most 1, got 2")
        person.says("␂yes␃" + ENTER)
        person.sees("4 tokens")
        person.says("/exit" + ENTER)
        assert person.wait() == 0
    assert saying.client().models.list().data


def test_what_cannot_be_is_a_line() -> None:
    for arguments, variables, words in (
        (("/nowhere.gguf",), {"NITRO_PORT": "1"}, "nitro: /nowhere.gguf: no such file."),
        (("--url", "http://127.0.0.1:1"), {}, "nitro: 127.0.0.1:1 cannot be reached: Connection refused."),
    ):
        with sitting(*arguments, **variables) as person:
            person.sees(words)
            assert person.wait() == 1 and "Traceback" not in person.terminal.text


def test_without_a_terminal() -> None:
    command = [sys.executable, "-P", "-m", "nitro", "chat"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=CEILING)
    assert done.returncode == 2 and "For pipes: nitro run" in done.stderr
