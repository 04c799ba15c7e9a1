"""Ctrl-C and SIGTERM: the first asks to stop, the second ends the process, whatever it is doing.

Python runs the handlers of signals between two steps of the main thread's code, and an event loop only when it turns:
one that is busy is deaf. So both signals are blocked, and a thread waits for the first. Then that thread blocks them no
more, and since they have no handler the system itself ends the process at the second. An engine ends with its socket.
"""

import os
import signal
import threading
from collections.abc import Callable

STOPS = (signal.SIGINT, signal.SIGTERM)
FORCED = 130  # exit status after a second signal where we end the process ourselves, as shells give for Ctrl-C


def name_of(number: int) -> str:
    """A signal's name, as in "SIGKILL"; "signal 40" where it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def hold() -> None:
    """From now on they wait until `on_first` is called. For the main thread, before there is another one: what is
    blocked is inherited by threads, and by processes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)


def on_first(stop: Callable[[], object]) -> None:
    """`stop` is called in a thread of its own, once, and must not wait."""
    threading.Thread(target=_wait, args=(stop,), name="signals", daemon=True).start()


def _wait(stop: Callable[[], object]) -> None:
    signal.sigwait(STOPS)
    if os.getpid() != 1:  # of a container, which the system spares
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        stop()
        threading.Event().wait()  # this is the thread that can be given the second
    stop()
    signal.sigwait(STOPS)
    os._exit(FORCED)
