"""Opens each model in a folder as an engine process does, each in a process of its own: `try_damaged.py ENGINE FOLDER`
writes a line of JSON for each: its name, the sentence it was refused with or null, how the process ended, megabytes."""

import json
import os
import resource
import signal
import sys
from pathlib import Path

from nitro.engines import messages
from nitro.engines.backends import loading, registry
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.system import frames

MEMORY = 4 * 2**30  # bytes that opening a tiny model may take at most
CEILING = 60  # seconds; a limit that only a hang reaches


def attempt(engine: str, model: Path) -> str | None:
    try:
        runner = loading.load(EngineSpec(engine, str(model), context=64, parallel=1))
    except LoadError as error:
        frames.frame(messages.LoadFailed(str(error)))
        return str(error)
    frames.frame(messages.Ready(runner.info))
    return None


def apart(engine: str, model: Path) -> dict[str, object]:
    theirs, ours = os.pipe()
    if (child := os.fork()) == 0:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        signal.alarm(CEILING)
        os.write(ours, json.dumps(attempt(engine, model)).encode())
        os._exit(0)
    os.close(ours)
    with os.fdopen(theirs, "rb") as stream:
        said = stream.read()
    _, status, used = os.wait4(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    told = {"refusal": json.loads(said) if said else None, "ended": ended, "megabytes": used.ru_maxrss // 1024}
    return {"name": model.name, **told}


if __name__ == "__main__":
    engine, folder = sys.argv[1:]
    __import__(registry.find(engine).runner.partition(":")[0])  # once, before any process parts from this one
    for model in sorted(Path(folder).iterdir()):
        print(json.dumps(apart(engine, model)), flush=True)
