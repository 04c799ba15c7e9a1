"""All requests under way in an engine: which sequence belongs to which, and what the engine says about them."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable

from nitro.engines import messages
from nitro.engines.client.embedding import Embedding
from nitro.engines.client.generation import Generation
from nitro.engines.client.questions import Questions
from nitro.engines.client.suspects import Suspects
from nitro.engines.shares import NOBODYS, Share
from nitro.engines.types import StepRecord
from nitro.engines.work import EncodedEmbeddingWork, EncodedWork
from nitro.errors import EngineBusy, EngineDied, EngineError, PromptRejected, PromptTooLong, RequestTooLarge
from nitro.system.frames import WireMessage

MOST_USERS = 16  # with a full queue at once
MAX_ABORTED = 256  # aborted sequences that are remembered


class Generations:
    """Routes what the engine says of a request to its generation or embedding, of which the latter have one id each.
    Every method belongs to the event loop."""

    def __init__(self, parallel: int, max_sequences: int, suspects: Suspects, send: Callable[[WireMessage], None]):
        """`parallel`: sequences that run at once; `max_sequences`: of one user, that run or wait."""
        self.open: set[Generation] = set()
        self.questions = Questions(send)
        self.by_id: dict[int, Generation] = {}  # the same, by the ids of their open sequences
        self.embeddings: dict[int, Embedding] = {}  # that are open, by id
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
        return any(request.accepted.done() for request in self._requests)

    @property
    def _requests(self) -> list[Generation | Embedding]:
        return [*self.open, *self.embeddings.values()]

    async def ask(self, question: Callable[[int], messages.Question], digest: bytes) -> messages.Answer:
        """See Questions. `question`: makes it, with its id."""
        return await self.questions.ask(question(next(self._ids)), digest)

    def begin(self, work: EncodedWork, share: Share = NOBODYS) -> Generation:
        """Number its sequences, for a Generate that is to be sent. Raises EngineBusy."""
        self._check_queue(work.sequences, share.user)
        generation = Generation(self, list(itertools.islice(self._ids, work.sequences)), work.n, work.digest, share)
        self.open.add(generation)
        self.by_id.update(dict.fromkeys(generation.ids, generation))
        return generation

    def begin_embedding(self, work: EncodedEmbeddingWork, user: str = "") -> Embedding:
        """Number a request for an Embed that is to be sent. It counts as one sequence. Raises EngineBusy."""
        self._check_queue(1, user)
        embedding = Embedding(next(self._ids), work.inputs, work.digest, self._embedding_ended, user)
        self.embeddings[embedding.id] = embedding
        return embedding

    def _check_queue(self, sequences: int, user: str) -> None:
        """Raises EngineBusy. A request counts as at most `parallel` sequences, since it takes turns with the others. A
        user's is always accepted when nothing else of theirs is there, unless many others are."""
        counts = Counter[str]()
        for generation in self.open:
            counts[generation.share.user] += min(generation.open, self._parallel)
        for embedding in self.embeddings.values():
            counts[embedding.user] += 1
        own, present = counts[user], counts.total()
        asked = min(sequences, self._parallel)
        if own and own + asked > self._max_sequences:
            raise EngineBusy(f"{own} sequences run or wait, and no more may queue.")
        if own < present and present + asked > MOST_USERS * self._max_sequences:
            raise EngineBusy(f"{present} sequences of {len(counts)} users run or wait, and no more may queue.")

    # Called by generations

    def abort(self, ids: list[int]) -> None:
        """See GenerationOwner."""
        self._send_abort({id: generation.digest for id in ids if (generation := self.by_id.pop(id, None))})

    def _send_abort(self, known: dict[int, bytes]) -> None:
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

    def _embedding_ended(self, embedding: Embedding, completed: bool) -> None:
        known = self.embeddings.pop(embedding.id, None)
        if completed:
            self.completed += 1
            self._suspects.answered(embedding.digest)
        elif known:
            self._send_abort({embedding.id: embedding.digest})

    # What the engine says

    def accepted(self, message: messages.Accepted) -> None:
        """A request is queued."""
        if generation := self.by_id.get(message.id):
            generation.accept(message)
        elif embedding := self.embeddings.get(message.id):
            embedding.accept(message.prompt_tokens)

    def rejected(self, message: messages.Rejected) -> None:
        """A request cannot run."""
        said, param = message.message, message.param
        self._fail(message.id, RequestTooLarge(said) if message.too_large else PromptRejected(said, param))

    def too_long(self, message: messages.TooLong) -> None:
        """A request does not fit into the context."""
        error = PromptTooLong(message.prompt_tokens, message.context, message.partly, message.param)
        self._fail(message.id, error)

    def _fail(self, id: int, error: EngineError) -> None:
        if request := self._known(id):
            request.fail(error)
        else:
            self.questions.fail(id, error)

    def _known(self, id: int) -> Generation | Embedding | None:
        return self.by_id.get(id) or self.embeddings.get(id)

    def embedded(self, message: messages.Embedded) -> None:
        """Some inputs have their vectors."""
        if embedding := self.embeddings.get(message.id):
            embedding.deliver(message.places, message.vectors)

    def embedding_failed(self, message: messages.EmbeddingFailed) -> None:
        """A step failed."""
        if embedding := self.embeddings.get(message.id):
            embedding.failed(message)

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
        requests = {request for id in ids if (request := self._known(id))}
        aborted = [self._aborted[id] for id in ids & self._aborted.keys()]
        digests = [request.digest for request in requests]
        self._suspects.died([*aborted, *digests, *self.questions.digests(ids)], reason)
        self.questions.blame(ids, reason)
        for request in requests:
            request.fail(EngineDied(f"{reason} It was at work on this request, which may be the cause."))

    def lost(self, error: EngineError) -> None:
        """The process ended: all that is open ends with `error`. The next has not worked on what was aborted."""
        self.fail_all(error)
        self._aborted.clear()

    def fail_all(self, error: EngineError) -> None:
        """All that is open ends with `error`."""
        for request in self._requests:
            request.fail(error)
        self.questions.fail_all(error)
