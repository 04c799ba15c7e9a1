"""A pull in a process of its own: `nitro pull NAME --json`, and what it says.

So a server never imports huggingface_hub, and a pull that nobody waits for ends with its process. What has come stays;
the next pull goes on from there.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import msgspec

from nitro.errors import PullError

MAX_LINE = 2**24  # bytes of an event; a repository may have thousands of files
LEAVE = 5.0  # seconds that the process has to end in, once it is told to

Event = dict[str, Any]  # as docs/pulling.md lists them

_endings: set[asyncio.Task[None]] = set()
_decode = msgspec.json.Decoder(Event).decode


async def events(name: str) -> AsyncGenerator[Event, None]:
    """What happens while the model of this name is fetched. Ends after "done". Raises PullError where it is refused.

    Who stops listening ends the process.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "nitro", "pull", "--json", "--", name),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=MAX_LINE,
        start_new_session=True,  # a signal to the server's terminal is not the pull's
    )
    try:
        assert process.stdout
        while line := await process.stdout.readline():
            event = _decode(line)
            if event["event"] == "error":
                raise PullError(event["code"], event["message"], event.get("retry_after"))
            yield event
            if event["event"] == "done":
                return
        raise PullError("died", f"The process that was fetching {name} has died. What has come is kept; pull it again.")
    finally:
        ending = asyncio.create_task(_end(process), name="end of a pull")
        _endings.add(ending)
        ending.add_done_callback(_endings.discard)
        await asyncio.shield(ending)  # who is cancelled may wait for nothing


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), LEAVE)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
