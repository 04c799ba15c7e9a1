"""Reads a batch's file into lines to do, piece by piece, and finds what is wrong with it.

A job of the database's thread for each MiB of the file: memory is bounded by a line's, and other work goes on between.
"""

from collections.abc import Sequence

from nitro.batches import line_form
from nitro.batches.line_form import BadLine, Fault
from nitro.state import batch_lines, files
from nitro.state.batches import Work
from nitro.state.database import Connection

MAX_LINES = 1_000_000
MAX_FAULTS = 100  # that are told
TOGETHER = 2**20  # bytes
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"


class Validation:
    """The file of one batch. `longest`: bytes that a line may have."""

    def __init__(self, work: Work, longest: int):
        self.faults: list[Fault] = []
        self.done = False
        self._work = work
        self._longest = longest
        self._piece = -1  # the last that was read
        self._rest = b""  # of a line that goes on in the next piece
        self._begin = 0  # of that, in the file
        self._number = 0  # lines so far, blank ones too
        self._found = 0
        self._skips = False  # the rest of a line that is too long

    def begin(self, db: Connection) -> None:
        """A job: forget what a server that has ended has read of it."""
        batch_lines.clear(db, self._work.number)

    def go_on(self, db: Connection) -> None:
        """A job: the next part of the file, until it is `done`."""
        found = files.pieces(db, self._work.input, self._piece, TOGETHER)
        before = self._found
        if found:
            self._piece = found[-1][0]
            self._feed(db, b"".join(body for _, body in found))
        else:
            self._end(db)
        batch_lines.count(db, self._work.number, self._found - before)
        self.done = self.done or len(self.faults) >= MAX_FAULTS

    def _feed(self, db: Connection, data: bytes) -> None:
        data = self._rest + data
        begin = 0
        while (end := data.find(b"\n", begin)) >= 0 and len(self.faults) < MAX_FAULTS:
            if self._skips:
                self._skips = False
            else:
                self._line(db, data[begin:end], self._begin + begin)
            begin = end + 1
        self._rest, self._begin = data[begin:], self._begin + begin
        if len(self._rest) > self._longest:
            if not self._skips:
                self._line(db, self._rest, self._begin)
            self._begin += len(self._rest)
            self._rest, self._skips = b"", True

    def _end(self, db: Connection) -> None:
        if not self._skips:
            self._line(db, self._rest, self._begin)
        if not self._found and not self.faults:
            self.faults.append(Fault(code="empty_file", message="The input file has no lines."))
        self.done = True

    def _line(self, db: Connection, data: bytes, begin: int) -> None:
        self._number += 1
        if begin == 0 and data.startswith(_BOM):
            data, begin = data[len(_BOM) :], len(_BOM)
        if not data.strip(_BLANK):
            return
        try:
            self._add(db, data, begin)
            self._found += 1
        except BadLine as error:
            self.faults.append(error.at(self._number))

    def _add(self, db: Connection, data: bytes, begin: int) -> None:
        work = self._work
        if len(data) > self._longest:
            limit = f"{self._longest // 2**20} MiB; start the server with a larger --max-body"
            raise BadLine("line_too_long", f"This line is longer than {limit}.")
        if self._found >= MAX_LINES:
            raise BadLine("too_many_lines", f"A batch has at most {MAX_LINES:,} lines. Make several of it.")
        read = line_form.read(data, self._number, work.endpoint)
        if not batch_lines.add(db, work.number, read.place, read.custom_id, begin, len(data)):
            message = f"Another line has the custom_id '{read.custom_id[:100]}', too."
            raise BadLine("duplicate_custom_id", message, "custom_id")


def told(faults: Sequence[Fault]) -> str:
    """For the log."""
    return f"{faults[0].message} (line {faults[0].line}; {len(faults)} faults)" if faults else "nothing is wrong"
