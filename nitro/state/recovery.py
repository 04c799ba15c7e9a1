"""What servers that have ended left behind. Jobs, see responses.py.

of one that answered its client                        → incomplete
in the background, its events kept, begun              → incomplete: what clients have seen of it stays true
in the background otherwise                            → queued again, for whoever serves its model
that too, but begun MAX_RUNS times                     → incomplete: it may be what ended the servers
"""

import sqlite3
from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

from nitro.state import responses
from nitro.state.responses import MAX_RUNS, OPEN

REASON = "server_ended"  # `incomplete_details.reason`; OpenAI has no word for it
RESTARTS = "restarts"  # the field of ours in the object: how often it was begun before, and its server ended


class _Done(Struct):
    type: str
    item: Raw = Raw()


_done = msgspec.json.Decoder(_Done).decode


def recover(db: sqlite3.Connection, lives: Callable[[str], bool]) -> int:
    """End or queue again the responses of servers that do not live. Returns how many there were."""
    query = f"SELECT DISTINCT owner FROM responses WHERE {OPEN} AND owner IS NOT NULL"
    dead = [owner for (owner,) in db.execute(query).fetchall() if not lives(owner)]
    count = 0
    for owner in dead:
        query = f"SELECT id, status, body, background, streamed, runs FROM responses WHERE owner = ? AND {OPEN}"
        for row in db.execute(query, (owner,)).fetchall():
            _recover(db, *row)
            count += 1
    return count


def _recover(
    db: sqlite3.Connection, id: str, status: str, body: bytes, background: int, streamed: int, runs: int
) -> None:
    begun = status == "in_progress"
    if background and not (begun and (streamed or runs >= MAX_RUNS)):
        body = responses.changed(body, status="queued", **({RESTARTS: runs} if begun else {}))
        db.execute("UPDATE responses SET owner = NULL, status = 'queued', body = ? WHERE id = ?", (body, id))
        return
    body = responses.changed(
        body, status="incomplete", incomplete_details={"reason": REASON}, output=_output(db, id) if streamed else []
    )
    frames = [terminal(responses.last_number(db, id) + 1, "incomplete", body)] if streamed else []
    responses.end(db, id, "incomplete", body, frames)


def _output(db: sqlite3.Connection, id: str) -> list[Raw]:
    """The items that its events tell whole."""
    query = "SELECT frame FROM events WHERE response = ? ORDER BY number"
    told = [_done(data_of(frame)) for (frame,) in db.execute(query, (id,))]
    return [each.item for each in told if each.type == "response.output_item.done"]


def data_of(frame: bytes) -> bytes:
    """The JSON of an event's frame."""
    return frame.partition(b"\ndata: ")[2].rstrip(b"\n")


def terminal(number: int, status: str, body: bytes) -> tuple[int, bytes]:
    """The event by which a stream ends, with its number."""
    name = f"response.{status}"
    data = msgspec.json.encode({"type": name, "sequence_number": number, "response": Raw(body)})
    return number, f"event: {name}\ndata: ".encode() + data + b"\n\n"
