"""A job makes one request ready for the engine thread: what the pool of preparers runs.

A job is done in slices. Between two slices its thread checks whether the client still waits, and lets other jobs run.
Each verb of the wire that needs preparation brings its own slices.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from nitro.engines import messages
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.worker.embeddings import EmbeddingTask
from nitro.system.frames import WireMessage

# the kinds of slices: short work, long work, compiling a constraint, encoding images and sounds
Lane = Literal["small", "long", "constrained", "media"]
T = TypeVar("T")
Slices = Generator[Lane, None, T]  # yields, before each slice, the lane in which that slice belongs

SMALL_REQUEST = 2**14  # bytes: a request up to this size is opened in the lane "small"
MAX_ERROR_CHARS = 500  # of an error that nobody foresaw, which may hold all that a library knows


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of a job: the answer to the server, and the sequences or the inputs to compute, if any."""

    answer: WireMessage
    sequences: list[Sequence] = field(default_factory=list)
    embedding: EmbeddingTask | None = None


class Rejection(Exception):
    """The request cannot run; `answer` says why."""

    def __init__(self, answer: messages.Rejected | messages.TooLong):
        self.answer = answer


class TooMuch(Exception):
    """What a process apart was to do is more than it may take. The message goes on after "Compiling it"."""


class NoHelp(Exception):
    """There was no process apart, or none had its turn in time. The message is a sentence; it may be tried again."""


class Abandoned(Exception):
    """The client left while a slice ran."""


@dataclass(frozen=True, slots=True)
class Job:
    """The preparation of the request with these ids. Answers go out under the first id."""

    ids: list[int]
    lane: Lane  # of its first slice
    slices: Slices[JobResult]

    @property
    def id(self) -> int:
        """The id that stands for the whole request."""
        return self.ids[0]


def first_lane(raw: bytes) -> Lane:
    """The lane in which an encoded request is opened, by its size."""
    return "small" if len(raw) <= SMALL_REQUEST else "long"


def brief(error: BaseException) -> str:
    """An error's message, cut to MAX_ERROR_CHARS."""
    text = str(error) or repr(error)
    return text if len(text) <= MAX_ERROR_CHARS else text[:MAX_ERROR_CHARS] + " …"
