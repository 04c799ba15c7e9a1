"""Constraints, tried in a process apart before the engine's own process compiles them: what comes through there takes
no more time or memory here. The same constraint again, as most are, is known."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from nitro.engines.constraints.approved import ApprovedConstraint
from nitro.engines.constraints.grammar import GrammarCompiler
from nitro.engines.constraints.grammar_errors import CompileCancelled, GrammarError
from nitro.engines.constraints.grammar_matcher import GrammarMatcher
from nitro.engines.runner import Tokenizer
from nitro.engines.types import Constraint, ModelInfo
from nitro.engines.worker.apart.apart import Apart
from nitro.engines.worker.apart.questions import Approve, Approved, NotEnforceable
from nitro.engines.worker.jobs import Abandoned, TooMuch
from nitro.system.frames import encode

MAX_KNOWN = 256  # constraints
MAX_KNOWN_BYTES = 2**25  # of their grammars


class ConstraintCompiler:
    """For one model. Any thread may use it; each matcher belongs to one thread at a time."""

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo, apart: Apart | None):
        """`apart`: None: all is done here, without limits."""
        self._tokenizer = tokenizer
        self._info = info
        self._apart = apart
        self._compiler: GrammarCompiler | None = None  # made with the first constraint
        self._making = threading.Lock()
        self._known: OrderedDict[bytes, ApprovedConstraint | str] = OrderedDict()  # str: why it is refused
        self._known_bytes = 0
        self._lock = threading.Lock()  # guards what is known

    def compile(self, constraint: Constraint, is_wanted: Callable[[], bool]) -> tuple[GrammarMatcher, list[str]]:
        """A matcher, and what is let through of schemas that are not strict. Raises GrammarError, whatever is wrong
        with it, NoHelp, and CompileCancelled once it is not wanted."""
        if self._apart is None:
            compiler = self._made()
            return compiler.matcher(constraint, is_wanted), compiler.unenforced(constraint)
        key = blake2b(encode(constraint), digest_size=16).digest()
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
        if known is None:
            known = self._ask(self._apart, constraint, is_wanted)
            self._remember(key, known)
        if isinstance(known, str):
            raise GrammarError(known)
        return self._made().follow(known), known.unenforced

    def _ask(self, apart: Apart, constraint: Constraint, is_wanted: Callable[[], bool]) -> ApprovedConstraint | str:
        """Raises GrammarError, NoHelp, CompileCancelled."""
        apart.processes.prepare()
        self._made()  # while it begins
        try:
            answer = apart.processes.ask(Approve(constraint, apart.compiling), is_wanted)
        except Abandoned:
            raise CompileCancelled from None
        except TooMuch as error:
            return f"Compiling it {error}."
        if isinstance(answer, NotEnforceable):
            raise GrammarError(answer.problem, answer.param)
        assert isinstance(answer, Approved)
        return answer.approved

    def _remember(self, key: bytes, found: ApprovedConstraint | str) -> None:
        with self._lock:
            if key not in self._known:
                self._known[key] = found
                self._known_bytes += _size(found)
            while len(self._known) > MAX_KNOWN or self._known_bytes > MAX_KNOWN_BYTES:
                self._known_bytes -= _size(self._known.popitem(last=False)[1])

    def _made(self) -> GrammarCompiler:
        with self._making:
            if self._compiler is None:
                self._compiler = GrammarCompiler(self._tokenizer, self._info)
            return self._compiler


def _size(found: ApprovedConstraint | str) -> int:
    return len(found) if isinstance(found, str) else 3 * len(found.grammar)  # its schemas are there, too
