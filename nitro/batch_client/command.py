"""`nitro batch run`: a file of requests becomes a file of answers.

The server does the work and keeps what is done: who begins again with the same file finds its batch by the file's
digest, wherever the last time ended. What the server keeps of it is deleted once the answers are in the file.
"""

import time
from pathlib import Path
from typing import Any

from nitro.batch_client.files import InputFile, fetch
from nitro.batch_client.progress import Progress
from nitro.chat.client import Client, Refused
from nitro.chat.connection import Wanted, connect
from nitro.errors import ChatError
from nitro.system import terminal

DIGEST = "nitro_input_sha256"  # in the batch's metadata
OPEN = ("validating", "in_progress", "finalizing", "cancelling")
POLL = (0.05, 1.0)  # seconds between two looks: at first, and at most
PAGE = 100
MAX_FAULTS = 10  # that are told


def run(wanted: Wanted, source: Path, target: Path, window: str) -> bool:
    """Have the lines of `source` answered in `target`. Returns whether all were. Raises ChatError."""
    if target.exists():
        raise ChatError(f"{target} exists already. Name another file, or remove it.")
    file = InputFile(source)
    starting = lambda: terminal.say("Starting a server …", err=True)  # noqa: E731
    with connect(wanted, starting) as found:
        client = found.client
        batch = _begun_before(client, file) or _begin(client, file, window)
        try:
            batch = _follow(client, batch)
        except KeyboardInterrupt:
            _tell_how_to_go_on(found.is_own, client, batch)
            raise
        if batch["status"] == "failed":
            raise ChatError(_faults(source, batch))
        files = [batch[name] for name in ("output_file_id", "error_file_id") if batch.get(name)]
        fetch(client, files, target)
        for id in (*files, batch["input_file_id"]):
            _delete(client, id)
    counts = batch["request_counts"]
    if batch["status"] != "completed":
        raise ChatError(f"The batch is {batch['status']}; what was done is in {target}.")
    if counts["failed"]:
        terminal.say(f"nitro: {counts['failed']:,} of {counts['total']:,} lines failed; {target} says why.", err=True)
    return not counts["failed"]


def batches(client: Client, most: int = 1000) -> list[dict[str, Any]]:
    """Those of a server, the newest first. Raises ChatError."""
    found: list[dict[str, Any]] = []
    after = ""
    while len(found) < most:
        page = client.call("GET", f"/batches?limit={PAGE}{after}")
        found += page["data"]
        if not page.get("has_more") or not page["data"]:
            break
        after = f"&after={page['last_id']}"
    return found[:most]


def _begun_before(client: Client, file: InputFile) -> dict[str, Any] | None:
    """The batch of the same file that runs, or whose answers were not fetched."""
    for batch in batches(client):
        alike = (batch.get("metadata") or {}).get(DIGEST) == file.digest and batch["endpoint"] == file.endpoint
        if alike and (batch["status"] in OPEN or (batch["status"] == "completed" and _is_there(client, batch))):
            counts = batch["request_counts"]
            done = counts["completed"] + counts["failed"]
            terminal.say(f"Going on with {batch['id']}: {done:,} of {counts['total']:,} lines are done.", err=True)
            return batch
    return None


def _is_there(client: Client, batch: dict[str, Any]) -> bool:
    """Whether all that it has written can be fetched."""
    ids = [batch[name] for name in ("output_file_id", "error_file_id") if batch.get(name)]
    try:
        for id in ids:
            client.call("GET", f"/files/{id}")
    except Refused as refused:
        if refused.status == 404:
            return False
        raise
    return bool(ids)


def _begin(client: Client, file: InputFile, window: str) -> dict[str, Any]:
    id = file.send(client)
    body = {"input_file_id": id, "endpoint": file.endpoint, "completion_window": window}
    try:
        return client.call("POST", "/batches", {**body, "metadata": {DIGEST: file.digest}})
    except Refused:
        _delete(client, id)
        raise


def _follow(client: Client, batch: dict[str, Any]) -> dict[str, Any]:
    pause, most = POLL
    with Progress() as progress:
        while True:
            batch = client.call("GET", f"/batches/{batch['id']}")
            progress.show(batch)
            if batch["status"] not in OPEN:
                return batch
            time.sleep(pause)
            pause = min(2 * pause, most)


def _delete(client: Client, id: str) -> None:
    """Forget a file, if it is still there."""
    try:
        client.call("DELETE", f"/files/{id}")
    except Refused:
        pass


def _faults(source: Path, batch: dict[str, Any]) -> str:
    errors = (batch.get("errors") or {}).get("data") or []
    lines = [f"line {error['line']}: {error['message']}" if error.get("line") else error["message"] for error in errors]
    more = f" There are {len(lines) - MAX_FAULTS} faults more." if len(lines) > MAX_FAULTS else ""
    return f"{source} is no file of a batch. {' '.join(lines[:MAX_FAULTS])}{more}"


def _tell_how_to_go_on(is_own: bool, client: Client, batch: dict[str, Any]) -> None:
    if is_own:
        words = "What is done is kept. The same command goes on with it."
    else:
        words = (
            f"The batch goes on at {client.url}. The same command follows it again, and "
            f"`nitro batch cancel {batch['id']}` ends it."
        )
    terminal.say(f"\n{words}", err=True)
