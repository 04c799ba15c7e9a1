"""All generations under way in an engine: which sequence belongs to which, and what the engine says about them."""

import itertools
from collections.abc import Callable, Iterable

from nitro.engines import messages
from nitro.engines.client.generation import Generation
from nitro.engines.client.questions import Questions
from nitro.engines.client.suspects import Suspects
from nitro.engines.types import StepRecord
from nitro.engines.work import EncodedWork
from nitro.errors import EngineBusy, EngineDied, EngineError, PromptRejected, PromptTooLong
from nitro.system.frames import WireMessage

MAX_ABORTED = 256  # aborted sequences that are remembered


class Generations:
    """Routes Accepted, Rejected, TooLong and Step to generations. Every method belongs to the event loop."""

    def __init__(self, parallel: int, max_sequences: int, suspects: Suspects, send: Callable[[WireMessage], None]):
        """`parallel`: sequences that run at once; `max_sequences`: that run or wait."""
        self.open: set[Generation] = set()
        self.questions = Questions(send)
        self.by_id: dict[int, Generation] = {}  # the same, by the ids of their open sequences
        self.completed = 0  # requests that the engine has answered, to the end
        self._parallel = parallel
        self._max_sequences = max_sequences
        self._suspects = suspects
        self._send = send
        self._aborted: dict[int, bytes] = {}  # digests of the last ones: the engine may still be at work on them
        self._ids = itertools.count(1)
        self._changed: list[Generation] = []  # that are to be told so
        self._held = False  # until `tell`

    @property
    def computing(self) -> bool:
        """Whether the engine has something to compute; what is still being prepared takes no steps."""
        return any(generation.accepted.done() for generation in self.open)

    async def ask(self, question: Callable[[int], messages.Question], digest: bytes) -> messages.Answer:
        """See Questions. `question`: makes it, with its id."""
        return await self.questions.ask(question(next(self._ids)), digest)

    def begin(self, work: EncodedWork) -> Generation:
        """Number its sequences, for a Generate that is to be sent. Raises EngineBusy."""
        self._check_queue(work.sequences)
        generation = Generation(self, list(itertools.islice(self._ids, work.sequences)), work.n, work.digest)
        self.open.add(generation)
        self.by_id.update(dict.fromkeys(generation.ids, generation))
        return generation

    def _check_queue(self, sequences: int) -> None:
        """Raises EngineBusy. A request counts as at most `parallel` sequences, since it takes turns with the others. It
        is always accepted when nothing else runs."""
        present = sum(min(generation.open, self._parallel) for generation in self.open)
        if present and present + min(sequences, self._parallel) > self._max_sequences:
            raise EngineBusy(f"{present} sequences run or wait, and no more may queue.")

    # Called by generations

    def abort(self, ids: list[int]) -> None:
        """See GenerationOwner."""
        known = {id: generation.digest for id in ids if (generation := self.by_id.pop(id, None))}
        if known:
            self._send(messages.Abort(list(known)))
            self._aborted |= known
            while len(self._aborted) > MAX_ABORTED:
                del self._aborted[next(iter(self._aborted))]

    def changed(self, generation: Generation) -> None:
        """See GenerationOwner. Of all that changes in one turn of the event loop it is told once."""
        if not self._changed and not self._held:
            generation.accepted.get_loop().call_soon(self.tell)
        self._changed.append(generation)

    def hold(self) -> None:
        """Tell no generation of a change before `tell` is called, soon and whatever happens."""
        self._held = True

    def tell(self) -> None:
        """Tell those that have changed."""
        self._held = False
        changed, self._changed = self._changed, []
        for generation in changed:
            try:
                generation.tell()
            except Exception as error:  # of one listener: the others are told all the same
                context = {"message": "a listener of a generation failed", "exception": error}
                generation.accepted.get_loop().call_exception_handler(context)

    def ended(self, generation: Generation, completed: bool) -> None:
        """See GenerationOwner."""
        self.open.discard(generation)
        if completed:
            self.completed += 1
            self._suspects.answered(generation.digest)

    # What the engine says

    def accepted(self, message: messages.Accepted) -> None:
        """A request is queued."""
        if generation := self.by_id.get(message.id):
            generation.accept(message.prompt_tokens, message.echoes, message.unenforced)

    def rejected(self, message: messages.Rejected) -> None:
        """A request cannot run."""
        if generation := self.by_id.get(message.id):
            generation.fail(PromptRejected(message.message, message.param))
        else:
            self.questions.fail(message.id, PromptRejected(message.message, message.param))

    def too_long(self, message: messages.TooLong) -> None:
        """A request does not fit into the context."""
        error = PromptTooLong(message.prompt_tokens, message.context, message.partly)
        if generation := self.by_id.get(message.id):
            generation.fail(error)
        else:
            self.questions.fail(message.id, error)

    def step(self, message: messages.Step) -> None:
        """A step has ended."""
        self._admit(message.record)
        by_id = self.by_id
        for output in message.outputs:
            generation = by_id.get(output.id) if output.finish is None else by_id.pop(output.id, None)
            if generation:
                generation.deliver(output)

    def _admit(self, record: StepRecord) -> None:
        for admission in record.admitted:
            if generation := self.by_id.get(admission.id):
                generation.admitted(admission)

    # When there is no engine any more

    def blame(self, at_work: Iterable[int], reason: str) -> None:
        """The engine died for this `reason`, at work on these sequences: their requests are suspects, and end."""
        ids = set(at_work)
        generations = {generation for id in ids if (generation := self.by_id.get(id))}
        aborted = [self._aborted[id] for id in ids & self._aborted.keys()]
        digests = [generation.digest for generation in generations]
        self._suspects.died([*aborted, *digests, *self.questions.digests(ids)], reason)
        self.questions.blame(ids, reason)
        for generation in generations:
            generation.fail(EngineDied(f"{reason} It was at work on this request, which may be the cause."))

    def lost(self, error: EngineError) -> None:
        """The process ended: every open generation ends with `error`. The next has not worked on what was aborted."""
        self.fail_all(error)
        self._aborted.clear()

    def fail_all(self, error: EngineError) -> None:
        """Every open generation ends with `error`."""
        for generation in list(self.open):
            generation.fail(error)
        self.questions.fail_all(error)
