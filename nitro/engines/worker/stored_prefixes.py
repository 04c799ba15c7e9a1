"""What idle slots lose goes to files, and prompts that begin with it get it back. Belongs to the engine thread.

A request whose prompt begins with what a file holds, and no slot, is held back while a thread reads it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nitro.engines import messages
from nitro.engines.adapters import AdapterSet, BadAdapters
from nitro.engines.prefix_files import identity
from nitro.engines.prefix_files.files import PrefixFiles
from nitro.engines.prefix_files.folder import PrefixFolder
from nitro.engines.prefix_files.form import pack
from nitro.engines.prefix_files.index import MIN_TOKENS, Found, PrefixIndex, text_length
from nitro.engines.prefix_files.weights import Changed, Weights
from nitro.engines.runner import ModelRunner
from nitro.engines.scheduling.prefix_cache import BusySlot, PrefixCache
from nitro.engines.scheduling.scheduler import Scheduler
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.scheduling.stored_prefix import StoredPrefix
from nitro.engines.types import EngineSpec
from nitro.engines.worker.outbox import Outbox
from nitro.system.memory import free_host_memory

log = logging.getLogger("nitro.prefixes")

PATIENCE = 30.0  # seconds that a request waits for a file; then it is computed
MEMORY_SHARE = 4  # what waits to be written takes at most so much of the free memory: a quarter

Fetched = Callable[[str, memoryview | None], None]  # a file's name, and its state


@dataclass(slots=True, eq=False)
class _Request:
    """Sequences that wait for files, and how many files."""

    sequences: list[Sequence]
    missing: int


class StoredPrefixes:
    """Of one engine. `files`: None: nothing is kept."""

    def __init__(self, runner: ModelRunner, files: PrefixFiles | None = None, folder: Path = Path()):
        """`folder`: where `files` are."""
        self.fetched: Fetched = lambda name, state: None  # called by another thread when a file was read
        self._runner, self._files, self._folder = runner, files, folder
        self._adapters: dict[int, str] = {}  # the digests of their weights
        self._fetching: dict[str, list[tuple[_Request, list[tuple[Sequence, Found]]]]] = {}  # by the file's name

    @property
    def active(self) -> bool:
        """Whether anything is kept."""
        return self._files is not None

    def rest(self, resting: bool) -> None:
        """Whether the engine computes nothing."""
        if self._files:
            self._files.rest(resting)

    # Adapters

    @contextmanager
    def noting(self, number: int, path: str) -> Iterator[None]:
        """An adapter is loaded meanwhile: of which weights it is."""
        weights = _weights(path, self._folder) if self._files else None
        yield
        if weights:
            self.note(number, weights)

    def note(self, number: int, weights: Weights) -> None:
        """An adapter was loaded from these files. Where that is not certain nothing is kept of what it is applied
        to."""
        try:
            self._adapters[number] = weights.digest()
        except (OSError, Changed) as error:
            log.warning("nothing is kept of what an adapter is applied to: %s", error)

    def _key(self, adapters: AdapterSet) -> str | None:
        """What stands for an adapter set in any process. None: it is not known of which weights one is."""
        if not all(id in self._adapters for id, _ in adapters):
            return None
        return ",".join(sorted(f"{self._adapters[id]}*{scale!r}" for id, scale in adapters))

    # From slots to files

    def gives_way(self, slot: int, tokens: list[int], adapters: AdapterSet) -> None:
        """See Saver."""
        key = self._key(adapters)
        if self._files is None or key is None or text_length(tokens) < len(tokens):
            return  # what media became is numbered anew in each process
        packed = pack(tokens)
        if not self._files.wants(packed, key):
            return
        try:
            pieces = self._runner.export(slot)
        except Exception:
            log.exception("what a slot held could not be taken out of the engine")
            return
        if pieces:
            self._files.write(packed, key, list(pieces), free_host_memory() // MEMORY_SHARE)

    def save(self, prefixes: PrefixCache, seconds: float) -> None:
        """Have all that idle slots hold written, as far as that takes no longer."""
        if self._files:
            files, until = self._files, time.monotonic() + seconds
            prefixes.save(lambda: not files.drain(until))
            files.drain(until)

    def forget(self, done: Callable[[], None]) -> None:
        """See PrefixFiles."""
        if self._files:
            self._files.forget(done)
        else:
            done()

    # From files to slots

    def hold_back(self, sequences: list[Sequence], scheduler: Scheduler) -> bool:
        """Whether these, of one request, wait for files. Then they come back from `arrived`."""
        if self._files is None:
            return False
        wanted: dict[str, list[tuple[Sequence, Found]]] = {}
        busy = scheduler.busy_slots()
        for sequence in sequences:
            if found := self._found(sequence, scheduler.prefixes, busy):
                wanted.setdefault(found.entry.name, []).append((sequence, found))
        request = _Request(sequences, len(wanted))
        for name, waiting in wanted.items():
            if name not in self._fetching:
                self._fetch(name, waiting[0][1])
            self._fetching.setdefault(name, []).append((request, waiting))
        return bool(wanted)

    def _fetch(self, name: str, found: Found) -> None:
        """Have a file read. Where the disk does not answer it is as if there was none."""
        assert self._files
        late = threading.Timer(PATIENCE, lambda: self.fetched(name, None))
        late.daemon = True

        def done(state: memoryview | None) -> None:
            late.cancel()
            self.fetched(name, state)

        late.start()
        self._files.fetch(found, done)

    def arrived(self, name: str, state: memoryview | None) -> list[list[Sequence]]:
        """A file was read, or is not there. The requests that wait for nothing any more."""
        ready = []
        for request, waiting in self._fetching.pop(name, []):
            for sequence, found in waiting:
                if state is not None:
                    sequence.stored = StoredPrefix(found.length, found.entry.length, state)
            request.missing -= 1
            if request.missing == 0 and request.sequences:
                ready.append(request.sequences)
        return ready

    def abort(self, ids: list[int]) -> None:
        """Forget these sequences."""
        if self._fetching:
            for waiting in self._fetching.values():
                for request, _ in waiting:
                    request.sequences[:] = [each for each in request.sequences if each.id not in ids]

    def _found(self, sequence: Sequence, prefixes: PrefixCache, busy: list[BusySlot]) -> Found | None:
        key = self._key(sequence.adapters)
        if self._files is None or key is None or sequence.bypass_cache:
            return None
        length = text_length(sequence.tokens)
        tokens = sequence.tokens if length == len(sequence.tokens) else sequence.tokens[:length]
        found = self._files.find(pack(tokens), key)
        if found is None:
            return None
        held = prefixes.find(sequence.tokens, busy, sequence.adapters)[1]
        return found if prefixes.grid.down(found.length) - held >= MIN_TOKENS else None


class Prospect:
    """What is to be kept of a model that is yet to be loaded: its files as they are before."""

    def __init__(self, spec: EngineSpec):
        """Nothing where `spec` says nothing."""
        self._spec = spec
        self._folder = PrefixFolder(Path(spec.prefix_cache), spec.prefix_cache_bytes) if spec.prefix_cache else None
        self._weights: Weights | None = None
        self._adapters: dict[int, Weights] = {}
        if self._folder:
            self._weights = _weights(spec.model, self._folder.path)
            with contextlib.suppress(BadAdapters):  # whoever loads them says so
                found = {each.id: _weights(each.path, self._folder.path) for each in spec.adapter_sources}
                self._adapters = {id: weights for id, weights in found.items() if weights}

    def loaded(self, runner: ModelRunner, outbox: Outbox) -> StoredPrefixes:
        """The model was loaded."""
        if self._folder is None or self._weights is None:
            return StoredPrefixes(runner)
        saving = runner.saving
        if saving.why_not:
            log.warning("--prefix-cache: nothing is kept of this model. %s", saving.why_not)
            return StoredPrefixes(runner)
        index = PrefixIndex(saving.entire, runner.info.context)
        files = PrefixFiles(self._folder, index, lambda *event: outbox.put(messages.PrefixEvent(*event)))
        stored = StoredPrefixes(runner, files, self._folder.path)
        spec, weights = self._spec, self._weights
        try:
            known = weights.known()
        except (OSError, Changed) as error:
            log.warning("--prefix-cache: nothing is kept of this model: %s", error)
            return StoredPrefixes(runner)
        for number, adapter in self._adapters.items():
            stored.note(number, adapter)
        files.start(
            identity.of(spec, saving.parts, known) if known else None,
            lambda pause: identity.of(spec, saving.parts, weights.digest(pause)),
        )
        return stored


def _weights(path: str, folder: Path) -> Weights | None:
    try:
        return Weights(path, folder)
    except OSError:  # whoever loads it says so
        return None
