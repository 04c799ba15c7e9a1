"""Runs one worker: `python run.py WORKER REQUEST.json REPLY.json`. Ends when its parent does, which holds its stdin."""

import importlib.util
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any


def end_with_parent() -> None:
    """Reads until the other end of stdin closes. What is written at that moment has no name that anyone looks for."""
    os.read(0, 1)
    os._exit(1)


def beside(name: str) -> Any:
    """The module in the file of that name, in this one's folder."""
    spec = importlib.util.spec_from_file_location(f"worker_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(name: str, request: str, reply: str) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    beside("remote_code").forbid()
    worker = beside(name)
    try:
        done = worker.run(json.loads(Path(request).read_text(encoding="utf-8")))
    except BaseException as error:  # what a panic in Rust raises is no Exception
        done = {
            "error": f"{error}" if " " in f"{error}" else f"{type(error).__name__} {error}".rstrip(),
            "kind": type(error).__name__,
            "errno": getattr(error, "errno", None),
        }
    Path(reply).write_text(json.dumps(done), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # some libraries crash when they are taken down; the answer is written


if __name__ == "__main__":
    main(*sys.argv[1:])
