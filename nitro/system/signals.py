"""Ctrl-C and SIGTERM: the first asks the process to stop, the second ends it, whatever it is doing. SIGTERM may ask for
something else, as to finish what was begun. SIGHUP has files read again, unless the terminal is gone: then it asks the
process to stop, too.

Python runs signal handlers between two steps of the main thread's code, and an event loop only once per turn, so a
busy one does not react. Therefore the signals are blocked, and a thread waits for them. At the first that stops, that
thread unblocks those that stop, and since they have no handler, the system itself ends the process at the second. An
engine ends with its socket.
"""

import os
import signal
import threading
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN = signal.SIGHUP
FORCED = 130  # exit status after a second signal where we end the process ourselves; shells use it for Ctrl-C
TERMINAL = "/dev/tty"  # the one that this process belongs to, if there is one


def name_of(number: int) -> str:
    """The name of a signal, as in "SIGKILL", or "signal 40" for a real-time signal, which has none."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def hold() -> None:
    """Block the signals until `on_first` is called.

    Call it in the main thread before there are others: threads and processes inherit what is blocked.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, AGAIN))
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def on_first(
    stop: Callable[[], object],
    again: Callable[[], object] = lambda: None,
    drain: Callable[[], object] | None = None,
) -> None:
    """Call `stop` once, at the first signal that stops, and `again` at each that has files read again, in a thread of
    its own. `drain`: called instead of `stop` if it is SIGTERM. None of them may wait."""
    closes = signal.getsignal(AGAIN) is not signal.SIG_IGN and _has_terminal()  # nohup ignores it
    threading.Thread(target=_wait, args=(stop, again, drain or stop, closes), name="signals", daemon=True).start()


def _wait(stop: Callable[[], object], again: Callable[[], object], drain: Callable[[], object], closes: bool) -> None:
    """`closes`: it ends with its terminal."""
    while (number := signal.sigwait((*STOP_SIGNALS, AGAIN))) == AGAIN:
        if closes and not _has_terminal():
            break
        again()
    if number == signal.SIGTERM:
        stop = drain
    if os.getpid() != 1:  # the system does not end process 1 of a container by a signal without a handler
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        stop()
        threading.Event().wait()  # the second signal is delivered to this thread
    stop()
    signal.sigwait(STOP_SIGNALS)
    os._exit(FORCED)


def _has_terminal() -> bool:
    try:
        os.close(os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
