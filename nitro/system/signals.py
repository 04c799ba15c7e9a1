"""Ctrl-C and SIGTERM: the first asks the process to stop, the second ends it, whatever it is doing.

Python runs signal handlers between two steps of the main thread's code, and an event loop only once per turn, so a
busy one does not react. Therefore both signals are blocked, and a thread waits for the first. Then that thread unblocks
them, and since they have no handler, the system itself ends the process at the second. An engine ends with its socket.
"""

import os
import signal
import threading
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
FORCED = 130  # exit status after a second signal where we end the process ourselves; shells use it for Ctrl-C


def name_of(number: int) -> str:
    """The name of a signal, as in "SIGKILL", or "signal 40" for a real-time signal, which has none."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def hold() -> None:
    """Block the stop signals until `on_first` is called.

    Call it in the main thread before there are others: threads and processes inherit what is blocked.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def on_first(stop: Callable[[], object]) -> None:
    """Call `stop` once, at the first signal, in a thread of its own. It must not wait."""
    threading.Thread(target=_wait, args=(stop,), name="signals", daemon=True).start()


def _wait(stop: Callable[[], object]) -> None:
    signal.sigwait(STOP_SIGNALS)
    if os.getpid() != 1:  # the system does not end process 1 of a container by a signal without a handler
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        stop()
        threading.Event().wait()  # the second signal is delivered to this thread
    stop()
    signal.sigwait(STOP_SIGNALS)
    os._exit(FORCED)
