"""Runs another worker several times in one process, whose start takes longer than a small model."""

import importlib.util
from pathlib import Path
from typing import Any


def run(request: dict[str, Any]) -> dict[str, Any]:
    """`worker`: its name; `runs`: a request for each run. The ids of the first reply are those of all the others."""
    spec = importlib.util.spec_from_file_location("worker", Path(__file__).with_name(f"{request['worker']}.py"))
    assert spec and spec.loader
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    ids = None
    for each in request["runs"]:
        ids = worker.run({**each, "ids": ids, "threads": request["threads"]})["ids"]
    return {"ids": ids}
