"""Signs of life of a rank: over a connection of their own it sends a byte twice a second from its first lines on,
whatever it does, and rank 0 listens.

No thread of Python can send them: MLX holds Python's lock for as long as it looks for the other ranks, and the system
for as long as it reads a library. So a timer of the system sends a signal, and what Python itself does in C when one
comes is to write its number to a descriptor (signal.set_wakeup_fd). A process that is stopped gets none.
"""

import os
import signal
import socket
import subprocess
import threading
from types import FrameType

PAUSE = 0.5  # seconds between two signs
MANY = 4096  # bytes: more than come between two looks


def give(sock: socket.socket) -> None:
    """Give signs of life over this connection from now on. Called by the main thread before there are others: all have
    the signal blocked, so that it interrupts no call of a library, but the one that is made for it."""
    sock.setblocking(False)
    signal.set_wakeup_fd(sock.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGALRM, _pass)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    threading.Thread(target=_take_signals, name="signs of life", daemon=True).start()
    signal.setitimer(signal.ITIMER_REAL, PAUSE, PAUSE)


def _pass(_number: int, _frame: FrameType | None) -> None:
    """The byte is written already."""


def _take_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    threading.Event().wait()


def heard(sock: socket.socket) -> bool:
    """Whether there was a sign since the last call. The end of a connection counts as one: it is told elsewhere."""
    try:
        sock.recv(MANY, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child is stopped by a signal, as the system sees it; False where it does not say."""
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return False
    try:
        return os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
