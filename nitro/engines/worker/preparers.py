"""The threads that make requests ready, so that no request waits for what another one takes.

    Job → small        one thread, in order
          long         a slice of each request in turn
          constrained  the same: constraints are compiled
          media        one thread: images and sounds are encoded

Whatever goes wrong in a job is an error of its own request. When a client leaves, no further slice of its job begins.
"""

from __future__ import annotations

import logging
import queue
import threading

from nitro.engines import messages
from nitro.engines.crash_marks import LANES, CrashMarks
from nitro.engines.memory_faults import is_shortage
from nitro.engines.worker.commands import AbortSequences, AddEmbedding, AddSequences
from nitro.engines.worker.jobs import Abandoned, Job, JobResult, Lane, NoHelp, Rejection, TooMuch, brief
from nitro.engines.worker.loop import Inbox
from nitro.engines.worker.outbox import Outbox

log = logging.getLogger("nitro.engine")

# The libraries release Python's lock. Several threads, so that one request that takes long does not block its lane.
# One thread for media: an encoder computes one thing at a time, and what it has encoded nobody encodes again.
THREADS: dict[Lane, int] = {"small": 1, "long": 2, "constrained": 3, "media": 1}
assert sum(THREADS.values()) < LANES  # lane 0 of the crash marks is the engine thread's


class Preparers:
    """A pool of threads that run jobs. `begin` and `abort` return at once."""

    def __init__(self, inbox: Inbox, outbox: Outbox, marks: CrashMarks):
        self._inbox = inbox
        self._outbox = outbox
        self._marks = marks
        self._wanted: set[int] = set()  # ids of the jobs under way whose clients still wait
        self._lock = threading.Lock()  # guards `_wanted`, and that no sequence comes after its abort
        self._queues: dict[Lane, queue.SimpleQueue[Job]] = {lane: queue.SimpleQueue() for lane in THREADS}
        lanes = [lane for lane, count in THREADS.items() for _ in range(count)]
        for number, lane in enumerate(lanes, 1):
            threading.Thread(target=self._run, args=(lane, number), name=f"preparer-{number}", daemon=True).start()

    def begin(self, job: Job) -> None:
        """Queue a job."""
        with self._lock:
            self._wanted.update(job.ids)
        self._queues[job.lane].put(job)

    def abort(self, ids: list[int]) -> None:
        """End these sequences, whether they are being prepared or are with the engine thread already."""
        with self._lock:
            self._wanted.difference_update(ids)
            self._inbox.put(AbortSequences(ids))

    @property
    def busy(self) -> bool:
        """Whether anything is being made ready."""
        return bool(self._wanted)

    def is_wanted(self, request_id: int) -> bool:
        """Whether the job of this id is under way and its client still waits."""
        return request_id in self._wanted

    def _run(self, lane: Lane, number: int) -> None:
        """One thread: the next slice of each job in turn, as long as the job stays in its lane."""
        jobs = self._queues[lane]
        while True:
            job = jobs.get()
            self._marks.write(number, [job.id])
            while job.id in self._wanted:
                next_lane = self._run_slice(job)
                self._marks.beat(number)
                if next_lane is None:
                    break
                if next_lane != lane or not jobs.empty():
                    self._queues[next_lane].put(job)
                    break
            self._marks.write(number)
            del job  # frees what it holds while this thread waits for the next

    def _run_slice(self, job: Job) -> Lane | None:
        """Run one slice. Returns the lane of the next; None: it was the last."""
        try:
            return next(job.slices)
        except StopIteration as done:
            self._hand_over(job, done.value)
        except Abandoned:
            pass
        except Rejection as rejection:
            self._reject(job, rejection.answer)
        except TooMuch as error:
            self._reject(job, messages.Rejected(job.id, f"Tokenizing it {error}."))
        except NoHelp as error:
            self._reject(job, messages.Rejected(job.id, str(error), busy=True))
        except BaseException as error:
            log.exception("a request could not be made ready")
            problem = f"The request could not be made ready: {brief(error)}"
            self._reject(job, messages.Rejected(job.id, problem, too_large=is_shortage(error)))
        return None

    def _hand_over(self, job: Job, prepared: JobResult) -> None:
        with self._lock:
            wanted = self._wanted.intersection(job.ids)
            self._wanted -= wanted
            if not wanted:
                return
            self._outbox.send(prepared.answer)
            if prepared.embedding:
                self._inbox.put(AddEmbedding(prepared.embedding))
            if sequences := [sequence for sequence in prepared.sequences if sequence.id in wanted]:
                self._inbox.put(AddSequences(sequences))

    def _reject(self, job: Job, answer: messages.Rejected | messages.TooLong) -> None:
        with self._lock:
            self._wanted.difference_update(job.ids)
        self._outbox.put(answer)
