"""A `nitro` command that ends with whoever started it: python -m nitro.cli.bound DESCRIPTOR COMMAND ARGUMENTS…

The command is for that process alone, so it is not reached as nitro.toml says (no TLS, no Unix socket, no proxy).

The descriptor is the reading end of a pipe. When its other end closes, however that process ended, this one stops as by
Ctrl-C: whoever would read what it finishes is gone.
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
    from nitro.cli import config_file
    from nitro.cli.main import main as nitro
    from nitro.config import REACHED_BY

    config_file.left_out.update(REACHED_BY)
    nitro(prog_name="nitro")


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
