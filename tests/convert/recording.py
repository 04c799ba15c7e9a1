"""What transformers computes is recorded by a script that runs twice: here, and in the environment "transformers" of
nitro/convert/environments.py, where it prints JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = "--here"


def record(script: str, make: Callable[[], None], target: Path) -> None:
    """Run `script` there, which calls this again and so `make`, and write what it prints: an object, a kind on each
    line."""
    if HERE in sys.argv:
        make()
        return
    from nitro.convert import environments  # not there

    python = environments.python("transformers", print)
    done = subprocess.run([python, script, HERE], check=True, capture_output=True, text=True)
    lines = [f"{json.dumps(kind)}: {json.dumps(found)}" for kind, found in json.loads(done.stdout).items()]
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n")
