"""The `nitro` command, and `python -m nitro`. Ctrl-C ends it quietly from its first moment on.

Python itself starts before this file is read. A Ctrl-C in that time is answered by Python, with a traceback.
"""

import os
import signal
from types import FrameType

INTERRUPTED = 130  # exit status, as shells have it


def main() -> None:
    """Run the command."""
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else whoever started it has it ignored
    if handled:
        signal.signal(signal.SIGINT, _end)  # an exception could be caught by whatever is being imported
    from nitro.cli.main import main as nitro

    if handled:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        nitro(prog_name="nitro")
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _end)  # threads and what is registered at exit may take a while


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
