"""The processes apart of one engine: as many as there are threads that ask at once, and none where nobody asks.

A process begins with the first question, in tenths of a second, or while the engine rests (`warming`). It ends when it
has had none for a while, when a question exceeds its limits, or when nobody waits for the answer any more.
"""

import contextlib
import logging
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from nitro.engines.runner import TokenizerRecipe
from nitro.engines.types import ModelInfo
from nitro.engines.worker.apart import questions
from nitro.engines.worker.apart.questions import Answer, Begin, Begun, Limits, NoMemory, Question
from nitro.engines.worker.jobs import Abandoned, NoHelp, TooMuch
from nitro.system import frames, memory_bound, signals
from nitro.system.spawn import Spawned, spawn

log = logging.getLogger("nitro.engine")

PROCESS = "nitro.engines.worker.apart.process"
IDLE = 300.0  # seconds without a question
WALL_CLOCK_FACTOR = 10  # so much longer than its processor time a question may take by the clock
BEGIN_SECONDS = 60.0  # by the clock, until a process has its tokenizer
LOOK = 0.25  # seconds between two looks whether somebody waits for the answer
SOON = 0.01  # the same, where somebody else waits for the processor
PATIENCE = 5.0  # seconds in which a process that has closed its socket ends


def _always() -> bool:
    return True


class Processes:
    """Any thread may ask. `close` ends those that are idle."""

    def __init__(self, recipe: Callable[[], TokenizerRecipe], info: ModelInfo):
        """For this model. `recipe`: makes that of its tokenizer."""
        self._recipe = recipe
        self._info = info
        self._lock = threading.Lock()
        self._idle: list[tuple[float, _Process]] = []  # and since when, the longest first
        self._timer: threading.Timer | None = None
        self.began = False  # whether there ever was one

    def ask(self, question: Question, is_wanted: Callable[[], bool] = _always) -> Answer:
        """The answer. Raises TooMuch where the question exceeds its limits or the process dies of it, NoHelp where no
        process can be had or it had no turn, Abandoned once the question is not wanted."""
        process = self._taken()
        try:
            answer = process.ask(question, is_wanted)
        except BaseException:
            process.end()
            raise
        if isinstance(answer, NoMemory):
            process.end()  # what it has taken may not all come back
            raise TooMuch(_memory(question.limits))
        self._rest(process)
        return answer

    def warm(self, is_wanted: Callable[[], bool]) -> bool:
        """Have a process that is ready for constraints. Returns whether there is one: it is given up once it is not
        wanted. Raises NoHelp."""
        process = self._started(compiles=True)
        try:
            process.begin(is_wanted, SOON)
        except Abandoned:
            process.end()
            self.began = False
            return False
        except BaseException:
            process.end()
            raise
        self._rest(process)
        return True

    def prepare(self) -> None:
        """Have a process begin, for a question that comes soon. Returns at once."""
        with self._lock:
            if self._idle:
                return
        with contextlib.suppress(NoHelp):
            self._rest(self._started())

    def close(self) -> None:
        """End those that are idle now."""
        with self._lock:
            idle, self._idle = self._idle, []
            if self._timer:
                self._timer.cancel()
        for _, process in idle:
            process.end()

    def _taken(self) -> "_Process":
        while True:
            with self._lock:
                process = self._idle.pop()[1] if self._idle else None
            if process is None:
                return self._started()
            if process.lives:
                return process
            process.end()

    def _started(self, compiles: bool = False) -> "_Process":
        """Raises NoHelp."""
        self.began = True
        return _Process(frames.frame(Begin(self._recipe(), self._info, compiles)))

    def _rest(self, process: "_Process") -> None:
        with self._lock:
            self._idle.append((time.monotonic(), process))
            self._look_later()

    def _look_later(self) -> None:
        if self._timer is None:
            timer = threading.Timer(IDLE, self._end_idle)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError:  # no thread is to be had, as its stack would be more memory than there may be
                return  # the next one who looks tries again
            self._timer = timer

    def _end_idle(self) -> None:
        oldest = time.monotonic() - IDLE
        with self._lock:
            self._timer = None
            over = [process for since, process in self._idle if since <= oldest]
            self._idle = [(since, process) for since, process in self._idle if since > oldest]
            if self._idle:
                self._look_later()
        for process in over:
            process.end()


class _Process:
    """One of them, which belongs to one thread at a time."""

    def __init__(self, begin: bytes):
        """Raises NoHelp."""
        try:
            self._spawned: Spawned = spawn(PROCESS)
        except OSError as error:
            raise NoHelp(f"No process can be had for it: {error}.") from None
        self._spawned.sock.settimeout(BEGIN_SECONDS)  # for what is sent; what is received is polled for
        self._poll = select.poll()
        self._poll.register(self._spawned.sock, select.POLLIN)
        self._received = b""
        self._begin: bytes | None = begin  # to be sent: it may be megabytes, and nothing reads them yet

    @property
    def lives(self) -> bool:
        """Whether it has not ended by itself."""
        return self._spawned.process.poll() is None

    def end(self) -> None:
        """Kill it."""
        self._spawned.end()

    def begin(self, is_wanted: Callable[[], bool], look: float = LOOK) -> None:
        """Return once it has its tokenizer. `look`: seconds, see LOOK. Raises NoHelp, Abandoned."""
        if self._begin is None:
            return
        try:
            self._spawned.sock.sendall(self._begin)
            assert isinstance(self._answer(BEGIN_SECONDS, is_wanted, look), Begun)
        except TimeoutError:
            raise _too_busy() from None
        except OSError:
            raise self._not_begun() from None
        self._begin = None

    def ask(self, question: Question, is_wanted: Callable[[], bool]) -> Answer:
        """Raises what Processes.ask does."""
        self.begin(is_wanted)
        try:
            self._spawned.sock.sendall(frames.frame(question))
            answer = self._answer(WALL_CLOCK_FACTOR * question.limits.seconds, is_wanted)
        except TimeoutError:
            raise _too_busy() from None
        except OSError:
            raise self._fault(question.limits) from None
        assert not isinstance(answer, Begun)
        return answer

    def _answer(self, seconds: float, is_wanted: Callable[[], bool], look: float = LOOK) -> Begun | Answer:
        """Raises TimeoutError, Abandoned, and ConnectionError where the process ends without an answer."""
        deadline = time.monotonic() + seconds
        while (payload := self._payload()) is None:
            if not self._poll.poll(look * 1000):
                if not is_wanted():
                    raise Abandoned
                if time.monotonic() > deadline:
                    raise TimeoutError
                continue
            data = self._spawned.sock.recv(2**18)
            if not data:
                raise ConnectionResetError
            self._received += data
        answer: Begun | Answer = questions.decode_answer(payload)
        return answer

    def _payload(self) -> bytes | None:
        """The next one, if all of it is here."""
        size = frames.HEADER
        if len(self._received) < size or len(self._received) < (size := size + frames.size(self._received[:size])):
            return None
        payload, self._received = self._received[frames.HEADER : size], self._received[size:]
        return payload

    def _status(self) -> int:
        try:
            return self._spawned.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return 0

    def _not_begun(self) -> NoHelp:
        """Why it has ended before it had its tokenizer."""
        status = self._status()
        how = signals.name_of(-status) if status < 0 else f"status {status}"
        log.error("a process apart ended with %s before it had its tokenizer", how)
        why = f"The process for it did not begin ({how})"
        bounds = memory_bound.inherited()
        return NoHelp(f"{why}: {bounds} may be too little for one." if bounds else f"{why}.")

    def _fault(self, limits: Limits) -> TooMuch:
        """Why it has ended at its work."""
        status = self._status()
        if status == -signal.SIGPROF:
            return TooMuch(f"takes more than {limits.seconds:g} seconds of computing (--{limits.name}-seconds)")
        how = signals.name_of(-status) if status < 0 else f"status {status}"
        log.warning("a process apart ended at its work: %s", how)
        if status == -signal.SIGABRT:  # as libraries end that get no memory
            return TooMuch(f"{_memory(limits)}, or the library fails at it ({how})")
        return TooMuch(f"has ended the process that did it ({how})")


def _too_busy() -> NoHelp:
    log.error("a process apart did not answer in time; this machine may be too busy")
    return NoHelp("This machine is too busy: what it takes was not done in time.")


def _memory(limits: Limits) -> str:
    return f"takes more than {limits.memory} MiB of memory (--{limits.name}-memory)"
