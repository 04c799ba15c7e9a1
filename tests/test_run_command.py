"""`nitro run`: one question in a pipe. Real processes, a real server, and one that it starts."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fast
import pytest
from runners import Gate
from running import CEILING, FAKE, RunningServer, wait_gone

COMMAND = [sys.executable, "-P", "-m", "nitro", "run"]


def run(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    fast.skip_server()
    env = {**os.environ, "NITRO_PORT": "1", **variables}
    return subprocess.run([*COMMAND, *arguments], input=stdin, capture_output=True, text=True, timeout=CEILING, env=env)


@pytest.fixture
def ask(saying: RunningServer) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments, **options: run("", *arguments, "--url", saying.url, **options)


Ask = Callable[..., subprocess.CompletedProcess[str]]


def test_an_answer_is_all_of_the_output(ask: Ask) -> None:
    done = ask("␂Grüße, **Welt**␃")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Grüße, **Welt**\n", "")
    assert ask("␂two\n␃").stdout == "two\n"
    assert ask("␂a\x1b[31mb␃").stdout == "a\x1b[31mb\n", "a pipe gets what was said"
    assert ask("␂whole␃", "--no-stream").stdout == "whole\n"


def test_the_question_comes_from_both(ask: Ask) -> None:
    assert ask(stdin="␂from a pipe␃").stdout == "from a pipe\n"
    assert ask("␂one", "two␃").stdout == "one two\n"
    assert ask("␂first", stdin="then␃\n").stdout == "first\n\nthen\n"
    done = ask(stdin=" \n")
    assert done.returncode == 2 and "There is no question." in done.stderr


def test_reasoning_is_left_out(ask: Ask) -> None:
    assert ask("␂<think>hm</think>yes␃").stdout == "yes\n"


def test_parameters_reach_the_server(ask: Ask, tmp_path: Path) -> None:
    done = ask("␂abcdef␃", "--max-tokens", "3")
    assert (done.returncode, done.stdout) == (0, "abc\n")
    assert done.stderr == "nitro: the answer was cut: no room for more tokens.\n"
    (tmp_path / "schema.json").write_text('{"enum": ["yes", "no"]}')
    done = ask("␂no␃", "--json-schema", str(tmp_path / "schema.json"), "--temperature", "0", "--system", "Be brief.")
    assert json.loads(done.stdout) in ("yes", "no")


def test_what_cannot_be_is_a_line_and_status_1(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "no.json").write_text('{"type": "x"}')
    for arguments, words in (
        (("--json-schema", str(tmp_path / "nowhere.json")), "No such file"),
        (("--json-schema", str(tmp_path / "bad.json")), "is not JSON"),
        (("--json-schema", str(tmp_path / "no.json")), "'response_format'"),
    ):
        done = ask("x", *arguments)
        assert (done.returncode, done.stdout) == (1, "") and words in done.stderr
        assert done.stderr.startswith("nitro: ") and done.stderr.count("\n") == 1
    done = run("/nowhere.gguf", "x")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "nitro: /nowhere.gguf: no such file.\n")
    assert run("other", "x", "--url", "http://127.0.0.1:1").returncode == 1
    assert run("m", "x", "--temperature", "-1").returncode == run().returncode == 2
    assert run("m", "x", "--temperature", "nan").returncode == 2


def test_the_server_that_runs_answers_if_it_has_the_model(saying: RunningServer) -> None:
    port = str(saying.server.port)
    assert run("SayingRunner", "␂here␃", NITRO_PORT=port).stdout == "here\n"
    done = run("other", "x", NITRO_PORT=port, NITRO_ENGINE=FAKE)
    assert done.returncode == 0 and done.stdout.endswith("~\n"), done.stderr


def test_the_settings_tell_where_the_server_is(saying: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "nitro.toml"
    file.write_text(f'[server]\nport = {saying.server.port}\nhost = "0.0.0.0"\n')
    env = {name: value for name, value in os.environ.items() if name != "NITRO_PORT"}
    done = subprocess.run(
        [*COMMAND, "", "␂yes␃", "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=CEILING,
        env=env,
        input="",
    )
    assert (done.returncode, done.stdout) == (0, "yes\n"), done.stderr


def test_a_key_of_the_settings_goes_to_no_other_server(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    server = serve(api_key="secret")
    file = tmp_path / "nitro.toml"
    file.write_text(f'[server]\nport = {server.server.port}\napi-key = "secret"\n')
    file.chmod(0o600)
    assert run("", "x", "--config", str(file), NITRO_PORT="").returncode == 0
    done = run("", "x", "--config", str(file), "--url", server.url)
    assert done.returncode == 1 and "nitro: " in done.stderr and "key" in done.stderr.lower()
    assert run("", "x", "--url", server.url, "--api-key", "secret").returncode == 0


def test_ctrl_c_ends_it_and_its_server(gate: Gate) -> None:
    fast.skip_server()
    env = {**os.environ, "NITRO_PORT": "1", "NITRO_ENGINE": "runners:GatedRunner"}
    command = [*COMMAND, gate.path, "hi"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=env, **pipes, text=True) as process:
        gate.accept()
        gate.wait_inside()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        server = os.pidfd_open(int(children[0]))
        process.send_signal(signal.SIGINT)
        gate.open()
        _, errors = process.communicate(timeout=CEILING)
        assert process.returncode == 130 and errors == "", errors
        wait_gone(server)


def test_a_reader_that_leaves_is_no_traceback(saying: RunningServer) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "", "␂yes␃", "--url", saying.url],
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=CEILING,
    )
    os.close(writing)
    assert done.returncode == 1 and done.stderr == ""


def test_an_answer_that_cannot_be_written_is_a_line(saying: RunningServer) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "", "␂yes␃", "--url", saying.url],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=CEILING,
        )
    told = "nitro: The answer cannot be written: No space left on device.\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_encodings_of_pipes(ask: Ask) -> None:
    """What the pipe's encoding lacks does not end the answer; what is no text is no question."""
    assert ask("␂Grüße 日本␃", PYTHONIOENCODING="ascii").stdout == "Gr??e ??\n"
    fast.skip_server()
    env = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    command = [*COMMAND, "", "x", "--url", "http://127.0.0.1:1"]
    done = subprocess.run(command, input=b"gr\xfc", capture_output=True, timeout=CEILING, env=env)
    assert done.returncode == 1 and done.stderr.startswith(b"nitro: What comes through the pipe is no text: ")


def test_ctrl_c_while_the_question_comes() -> None:
    fast.skip_server()
    reading, writing = os.pipe()
    with subprocess.Popen([*COMMAND, "", "x"], stdin=reading, stderr=subprocess.PIPE, text=True) as process:
        os.close(reading)
        wchan = Path(f"/proc/{process.pid}/wchan")
        while "pipe" not in wchan.read_text():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=CEILING)
    os.close(writing)
    assert (process.returncode, errors) == (130, "")


def test_a_terminal_gets_no_control_characters(saying: RunningServer) -> None:
    master, slave = pty.openpty()
    command = [*COMMAND, "", "␂a\x1b[31mb␃", "--url", saying.url]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=slave, timeout=CEILING, check=True)
    assert os.read(master, 100) == b"a[31mb\r\n"
    os.close(master)
    os.close(slave)


@pytest.mark.usefixtures("smollm")
def test_the_embedded_model_answers() -> None:
    done = run("", "Say hello.", "--max-tokens", "8", "--temperature", "0")
    assert done.returncode == 0 and len(done.stdout) > 3, done.stderr
