"""Runs one worker: `python run.py WORKER REQUEST.json REPLY.json`. It ends with its parent, which holds its stdin."""

import importlib.util
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any


def end_with_parent() -> None:
    """Exit when the other end of stdin closes. Files that are being written then have temporary names."""
    os.read(0, 1)
    os._exit(1)


def load(name: str) -> Any:
    """The module NAME.py in this file's folder."""
    spec = importlib.util.spec_from_file_location(f"worker_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(name: str, request: str, reply: str) -> None:
    """Run a worker, and write its result or its error."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    load("remote_code").forbid()
    worker = load(name)
    try:
        result = worker.run(json.loads(Path(request).read_text(encoding="utf-8")))
    except BaseException as error:  # a panic in Rust raises no Exception
        result = {
            "error": f"{error}" if " " in f"{error}" else f"{type(error).__name__} {error}".rstrip(),
            "kind": type(error).__name__,
            "errno": getattr(error, "errno", None),
        }
    Path(reply).write_text(json.dumps(result), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # some libraries crash at exit, and the reply is written


if __name__ == "__main__":
    main(*sys.argv[1:])
