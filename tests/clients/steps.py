"""What a client's program in Python is made of. Runs where nothing of ours is installed."""

import asyncio
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

_steps: list[tuple[str, Callable]] = []


def step(what: str, *servers: str) -> Callable[[Callable], Callable]:
    """The function below shows `what`, on these servers: it asserts it. It may be a coroutine."""

    def keep(function: Callable) -> Callable:
        if os.environ["NITRO_SERVER"] in servers:
            _steps.append((what, function))
        return function

    return keep


def run() -> None:
    """Every step, so that one failure does not hide another."""
    failed = False
    for what, function in _steps:
        try:
            result = function()
            if inspect.iscoroutine(result):
                asyncio.run(result)
            print(f"ok: {what}", flush=True)
        except Exception:
            failed = True
            print(f"FAILED: {what}\n{traceback.format_exc()}", flush=True)
    sys.exit(failed)


def picture(colour: str) -> Path:
    """A file that is all of this colour, red or green, which the model on llama.cpp sees."""
    return Path(os.environ["NITRO_PICTURES"], f"{colour}.png")


def speech() -> Path:
    """A file with a sound."""
    return Path(os.environ["NITRO_PICTURES"], "speech.wav")


def says(script: str) -> str:
    """A prompt, or a part of one, after which the scripted model says this."""
    return f"␂{script}␃"
