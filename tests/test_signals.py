"""Real signals to real processes whose main thread is busy: the second ends them, whatever they do."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running import CEILING

from nitro.system.signals import FORCED

ROOT = Path(__file__).parent.parent
PROGRAM = """
import os, re, sys, time
from nitro.system import signals

signals.hold()
{before}
signals.on_first(lambda: os.write(1, b"stop\\n"))
os.write(1, b"ready\\n")
{busy}
"""
BUSY = {
    "in Python": "while True: pass",
    "in C that lets others run": "time.sleep(10**6)",
    "in C that lets nobody run": "sys.stdin.readline(); sum(range(10**12))",
}


def run(before: str = "", busy: str = "time.sleep(10**6)") -> subprocess.Popen[str]:
    program = PROGRAM.format(before=before, busy=busy)
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("busy", BUSY)
def test_the_second_signal_ends_it(busy: str, first: signal.Signals, second: signal.Signals) -> None:
    with run(busy=BUSY[busy]) as process:
        assert process.stdout and process.stdin and process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == "stop\n"
        process.stdin.write("\n")
        process.stdin.flush()
        process.send_signal(second)
        assert process.wait(CEILING) == -second


def test_a_signal_that_comes_early_is_kept() -> None:
    with run(before="print('held', flush=True); sys.stdin.readline()") as process:
        assert process.stdout and process.stdin and process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGTERM)
        process.stdin.write("\n")
        process.stdin.flush()
        assert {process.stdout.readline(), process.stdout.readline()} == {"ready\n", "stop\n"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(CEILING) == -signal.SIGTERM


def test_the_first_process_of_a_container() -> None:
    """The system spares it, so that it must end itself."""
    with run(before="os.getpid = lambda: 1") as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stop\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(CEILING) == FORCED


AGAIN = "signals.on_first(lambda: os.write(1, b'stop\\n'), lambda: os.write(1, b'again\\n'))"


def hangs_up(before: str) -> subprocess.Popen[bytes]:
    """A process at a terminal of its own, which is closed as soon as it is ready."""
    import fcntl
    import os
    import pty
    import termios

    ours, theirs = pty.openpty()
    program = f"import os, signal, time\nfrom nitro.system import signals\n{before}\nsignals.hold()\n{AGAIN}\n"
    program += "os.write(1, b'ready\\n')\ntime.sleep(10**6)"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=theirs,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    assert process.stdout and process.stdout.readline() == b"ready\n"
    os.close(ours)
    return process


def test_sighup_has_files_read_again() -> None:
    renamed = AGAIN.replace("signals.on_first", "real")
    with run(before=f"signals.on_first = lambda _, real=signals.on_first: {renamed}") as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "again\n"
        for said in ("stop\n", ""):
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == said
        assert process.wait(CEILING) == -signal.SIGTERM


@pytest.mark.parametrize(("way", "said"), [("DFL", b"stop\n"), ("IGN", b"again\n")])
def test_a_terminal_that_is_gone_ends_it(way: str, said: bytes) -> None:
    """Unless it was started with nohup, which ignores the signal."""
    with hangs_up(f"signal.signal(signal.SIGHUP, signal.SIG_{way})") as process:
        assert process.stdout
        line = process.stdout.readline()
        process.kill()
    assert line == said
