"""A `nitro` command that ends with whoever started it: python -m nitro.cli.bound DESCRIPTOR COMMAND ARGUMENTS…

The descriptor is the reading end of a pipe. When its other end closes, however that process ended, this one stops as by
SIGTERM.
"""

import os
import signal
import sys
import threading

from nitro.system import signals


def main() -> None:
    """Run the command."""
    descriptor = int(sys.argv.pop(1))
    signals.hold()  # threads inherit it
    threading.Thread(target=_watch, args=(descriptor,), name="starter", daemon=True).start()
    from nitro.cli.main import main as nitro

    nitro(prog_name="nitro")


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
