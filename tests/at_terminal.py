"""A program on a terminal of its own, as a person has it: real keys, real signals, what the screen shows."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from running import CEILING
from terminal import Terminal

CTRL_C, CTRL_D, ENTER, UP, TAB = "\x03", "\x04", "\r", "\x1b[A", "\t"
# The terminal becomes that of the process, which gets its signals.
BEGIN = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class AtTerminal:
    """`command`: the program, by its path, and its arguments. `variables`: more of its environment."""

    def __init__(self, command: Sequence[str], size: tuple[int, int] = (100, 40), **variables: str):
        self.terminal = Terminal(*size)
        self.written = ""  # everything, sequences included
        self.master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("4H", size[1], size[0], 0, 0))
        self.before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGIN, *command],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **variables},
        )

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def sees(self, text: str, count: int = 1) -> None:
        """Wait until it is there, so many times."""
        self.reads_until(lambda: self.terminal.text.count(text) >= count, repr(text))

    def reads_until(self, done: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + CEILING
        while not done():
            ready, _, _ = select.select([self.master], [], [], max(limit - time.monotonic(), 0))
            assert ready, f"waited for {what}:\n{self.terminal.text}"
            assert self.reads(), f"it ended before {what}:\n{self.terminal.text}"

    def reads(self) -> bool:
        """Whether the terminal is still there."""
        try:
            text = os.read(self.master, 65536).decode(errors="replace")
        except OSError:
            return False
        self.written += text
        self.terminal.feed(text)
        return True

    def hangs_up(self) -> None:
        """Close the terminal's window."""
        for descriptor in (self.master, self._slave):
            if descriptor != -1:
                os.close(descriptor)
        self.master = self._slave = -1

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def wait(self) -> int:
        """Its exit status. What it says until then is read: it waits for that."""
        ended = os.pidfd_open(self.process.pid)
        limit = time.monotonic() + CEILING
        watched = [ended, *([self.master] if self.master != -1 else [])]
        while (ready := select.select(watched, [], [], max(limit - time.monotonic(), 0))[0]) != [ended]:
            assert ready, f"it has not ended:\n{self.terminal.text}"
            self.reads()
        os.close(ended)
        return self.process.wait(CEILING)


@contextmanager
def sitting_at(command: Sequence[str], size: tuple[int, int] = (100, 40), **variables: str) -> Iterator[AtTerminal]:
    at = AtTerminal(command, size, **variables)
    try:
        yield at
    finally:
        at.process.kill()
        at.process.wait()
        at.hangs_up()
