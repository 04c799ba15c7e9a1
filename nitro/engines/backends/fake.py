"""A runner without a model, for tests and for measuring everything around a model: token n+1 follows token n.

Its tokens are bytes. An answer counts on from the prompt's last byte through printable ASCII, and ends after "~".
It keeps the rules of the contract strictly: what a slot holds, under which adapters that was computed, the pool's size,
one chunk per slot. An adapter is a file whose text is how many letters further an answer counts at each step.
"""

from array import array
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from nitro.engines.adapters import AdapterInfo, AdapterSet, AdapterSource
from nitro.engines.embedder import EmbedsOnly, Pair
from nitro.engines.media import Media
from nitro.engines.media_encoder import MediaEncoder, MediaRejected, MediaRun
from nitro.engines.runner import Chunk, LoadError, OutOfKV, Result, Saving, TokenizerRecipe
from nitro.engines.types import (
    EmbeddingInfo,
    EngineSpec,
    Logprobs,
    MediaInfo,
    ModelInfo,
    RerankInfo,
    SamplingParams,
    ScoredToken,
)

EOG = 256
FIRST = ord(" ")
LAST = ord("~")
WIDTH = 8  # of its embeddings
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"

SEER_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% elif part.type in ('image', 'audio') %}<{{ part.type }}>{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}<assistant>"
)


class FakeTokenizer:
    """One token per UTF-8 byte."""

    def encode(self, text: str) -> list[int]:
        """The bytes of the text; no text is a control token."""
        return list(text.encode())

    def encode_plain(self, text: str) -> list[int]:
        """The same."""
        return self.encode(text)

    def token_bytes(self, token: int) -> bytes:
        """The byte; none for EOG."""
        return b"" if token == EOG else bytes([token])

    def vocabulary_text(self, token: int) -> bytes:
        """The byte, or "<end>"."""
        return b"<end>" if token == EOG else bytes([token])

    @property
    def recipe(self) -> Callable[[], TokenizerRecipe] | None:
        """See Tokenizer. One that was changed for a test has none."""
        return _recipe if type(self) is FakeTokenizer else None


def _recipe() -> TokenizerRecipe:
    return TokenizerRecipe(f"{__name__}:open_tokenizer", b"")


def open_tokenizer(_: bytes) -> FakeTokenizer:
    """By its recipe."""
    return FakeTokenizer()


class FakeRunner:
    """Counts, and checks that it is called as the contract says. `kv_tokens`: the size of its pool."""

    def __init__(self, spec: EngineSpec, kv_tokens: int | None = None):
        context = spec.context or 4096
        self.info = ModelInfo(
            engine="fake",
            device="none",
            layers="none",
            slots=spec.parallel + 4,
            parallel=spec.parallel,
            context=context,
            trained_context=context,
            kv_tokens=kv_tokens or context * spec.parallel,
            kv_bytes=0,
            step_tokens=512,
            vocabulary=257,
            eog=frozenset({EOG}),
            template=TEMPLATE,
            deterministic=spec.deterministic,
            takes_adapters=True,
            embedding=EmbeddingInfo(
                width=WIDTH, pooling="mean", longest=context, step_tokens=max(context, 512), step_inputs=8
            ),
        )
        self.tokenizer = FakeTokenizer()
        self.media: MediaEncoder | None = None
        self.saving = Saving(["fake"])
        self.draft_model: Callable[[list[int]], int] = self._follows  # the token that it says after those
        self._shifts: dict[int, int] = {}  # by adapter
        self._held: list[list[int]] = [[] for _ in range(self.info.slots)]
        self._under: dict[int, AdapterSet] = {}  # by slot
        self._restored: dict[int, int] = {}  # by slot that was: how much further was counted there
        self._compared: dict[int, list[int]] = {}  # by slot: the list that it is known to hold the beginning of
        self._batch: list[Chunk] = []
        self.info = replace(self.info, adapters=list(map(self.load_adapter, spec.adapter_sources)))

    def prepare(self, sampling: SamplingParams) -> None:
        """Nothing."""

    def submit(self, batch: list[Chunk]) -> None:
        """Check the batch against the contract, and note what the slots hold. Raises OutOfKV."""
        assert len({chunk.slot for chunk in batch}) == len(batch), "a slot twice in a batch"
        assert len({chunk.adapters for chunk in batch}) <= 1, "two adapter sets in a batch"
        tokens = guesses = 0
        for chunk in batch:
            begin, end = chunk.start, chunk.stop
            assert begin < end <= len(chunk.tokens)
            assert self._holds(chunk), "a chunk starts where its slot ends"
            tokens += end - begin
            if chunk.draft:
                assert chunk.wants_token
                guesses += len(chunk.draft)
        assert tokens <= self.info.step_tokens
        if sum(map(len, self._held)) + tokens + guesses > self.info.kv_tokens:
            raise OutOfKV
        for chunk in batch:
            self._held[chunk.slot] += chunk.tokens[chunk.start : chunk.stop]
            self._under[chunk.slot] = chunk.adapters
            self._restored.pop(chunk.slot, None)
        self._batch = batch

    def _holds(self, chunk: Chunk) -> bool:
        """Whether its slot holds what comes before it. A list that only grows is compared once, and then its length."""
        slot, tokens = chunk.slot, chunk.tokens
        held = self._held[slot]
        if slot in self._restored:
            assert not held or self._restored[slot] == self._shift(chunk), "KV of other adapters, from elsewhere"
        else:
            assert not held or self._under[slot] == chunk.adapters, "KV of other adapters"
        if self._compared.get(slot) is tokens:
            return len(held) == chunk.start
        self._compared[slot] = tokens
        return held == tokens[: chunk.start]

    def collect(self) -> list[Result]:
        """The next tokens, and those of the drafts that are the same."""
        return [self._result(chunk) for chunk in self._batch]

    def _result(self, chunk: Chunk) -> Result:
        tokens = chunk.tokens
        plain = chunk.matcher is None and not chunk.draft and chunk.sampling.logprobs is None
        if plain and not chunk.adapters:
            if chunk.stop < len(tokens):
                return Result([])
            return Result([self._next(chunk)])
        drawn: list[int] = []
        if chunk.wants_token:
            token = self._draw(chunk)
            if token is None:
                assert chunk.matcher is not None
                return Result.failed(chunk.matcher, bool(chunk.sampling.logit_bias))
            drawn = [token]
            banned = EOG in chunk.sampling.logit_bias  # a ban is the only bias it knows
            for guess in chunk.draft:
                if guess != drawn[-1] or guess in self.info.eog:
                    break
                drawn.append(self._follows([guess], banned, self._shift(chunk)))
            self._held[chunk.slot] += drawn[:-1]
            self._compared.pop(chunk.slot, None)
        if chunk.sampling.logprobs is None:
            return Result(drawn)
        return Result(drawn, logprobs=_scored(chunk, drawn), prompt_logprobs=_scored(chunk, chunk.score_tokens))

    def _draw(self, chunk: Chunk) -> int | None:
        """The first of its candidates that the sequence's grammar allows; None where that leaves nothing."""
        matcher = chunk.matcher
        if matcher is None:
            return self._next(chunk)
        token = next(filter(matcher.allows, self._candidates(chunk)), None)
        return token if token is not None and matcher.accept(token) else None

    def _candidates(self, chunk: Chunk) -> Iterable[int]:
        """All tokens, the likeliest first."""
        follows = chunk.tokens[-1] + 1 + self._shift(chunk)
        return (token % self.info.vocabulary for token in range(follows, follows + self.info.vocabulary))

    def _next(self, chunk: Chunk) -> int:
        """The token after the chunk's, where there is no grammar."""
        follows = chunk.tokens[-1] + 1  # most tokens come this way
        if FIRST <= follows <= LAST and not chunk.adapters:
            return follows
        return self._follows(chunk.tokens, EOG in chunk.sampling.logit_bias, self._shift(chunk))

    def _shift(self, chunk: Chunk) -> int:
        """How much further its adapters count."""
        return self._sum(chunk.adapters)

    def _sum(self, adapters: AdapterSet) -> int:
        return round(sum(scale * self._shifts[id] for id, scale in adapters))

    def _follows(self, tokens: list[int], banned: bool = False, shift: int = 0) -> int:
        """The token after these."""
        follows = tokens[-1] + 1 + shift
        if FIRST <= follows <= LAST:
            return follows
        return FIRST if banned else EOG

    def guess(self, chunks: list[Chunk], limits: list[int]) -> list[list[int]]:
        """What `draft_model` says, one token after the other."""
        guesses: list[list[int]] = []
        for chunk, limit in zip(chunks, limits, strict=True):
            assert chunk.wants_token and chunk.matcher is None and limit >= 1
            said = chunk.tokens[: chunk.stop]
            while len(said) < chunk.stop + limit and (token := self.draft_model(said)) not in self.info.eog:
                said.append(token)
            guesses.append(said[chunk.stop :])
        return guesses

    def load_adapter(self, source: AdapterSource) -> AdapterInfo:
        """Raises LoadError where its file holds no number."""
        try:
            text = Path(source.path).read_text()
            self._shifts[source.id] = int(text)
        except (OSError, ValueError) as error:
            raise LoadError(f"{source.path} is no adapter: {error}.") from None
        return AdapterInfo(source.id, source.name, source.path, source.scale, rank=1, fingerprint=text)

    def drop_adapter(self, adapter: int) -> None:
        """Forget it."""
        del self._shifts[adapter]

    def embed(self, sequences: list[list[int]]) -> list[bytes]:
        """See `pooled`."""
        assert self.info.embedding
        return pooled(sequences, self.info.embedding)

    def trim(self, slot: int, length: int) -> int:
        """Cut, which is always possible."""
        assert length <= len(self._held[slot])
        del self._held[slot][length:]
        return length

    def offload(self, slot: int) -> None:
        """Nothing."""

    def copy(self, src: int, dst: int, length: int) -> int:
        """Copy, which is always possible."""
        assert length <= len(self._held[src])
        self._held[dst] = self._held[src][:length]
        self._under[dst] = self._under.get(src, ())
        self._restored.pop(dst, None)
        if src in self._restored:
            self._restored[dst] = self._restored[src]
        self._compared.pop(dst, None)
        return length

    def export(self, slot: int) -> list[memoryview] | None:
        """Its tokens, and how much further was counted there."""
        held = self._held[slot]
        shift = self._restored.get(slot, self._sum(self._under.get(slot, ())))
        return [memoryview(array("i", part)).cast("B") for part in ([shift], held)] if held else None

    def restore(self, slot: int, state: memoryview, length: int) -> bool:
        """Whatever they are: what comes next is compared with them."""
        self._restored[slot], *self._held[slot] = array("i", bytes(state))
        self._compared.pop(slot, None)
        return len(self._held[slot]) == length

    def free_sequence(self, sequence_id: int) -> None:
        """Nothing."""

    def release_idle_memory(self) -> None:
        """Nothing."""

    def reset(self) -> None:
        """Empty all slots."""
        self._held = [[] for _ in range(self.info.slots)]
        self._compared = {}

    def close(self) -> None:
        """Nothing."""


class FakeRows(Struct, frozen=True):
    """What stands for rows: the medium."""

    media: Media

    @property
    def nbytes(self) -> int:
        """As many as the file has."""
        return len(self.media.data)


class FakeMediaEncoder:
    """Makes one run of each medium, between "(" and ")": a token for each 16 bytes of the file, and one more. A file
    that has "!unreadable" in it is none."""

    def pieces(self, media: Media) -> list[list[int] | MediaRun]:
        """Raises MediaRejected."""
        if b"!unreadable" in media.data:
            raise MediaRejected("The file is damaged.")
        tokens = len(media.data) // 16 + 1
        return [list(b"("), MediaRun(tokens, tokens, atomic=False, source=media), list(b")")]

    def encode(self, run: MediaRun) -> FakeRows:
        """The medium itself."""
        return FakeRows(run.source)


class FakeSeer(FakeRunner):
    """Sees and hears. Its template takes parts."""

    def __init__(self, spec: EngineSpec, kv_tokens: int | None = None):
        super().__init__(spec, kv_tokens)
        self.info = replace(self.info, template=SEER_TEMPLATE, media=MediaInfo(image=True, audio=True))
        self.media: MediaEncoder | None = FakeMediaEncoder()

    def submit(self, batch: list[Chunk]) -> None:
        """Every id below zero has its rows."""
        for chunk in batch:
            assert all(token >= 0 or token in chunk.media for token in chunk.tokens[chunk.start : chunk.stop])
        super().submit(batch)


class FakeEncoder(EmbedsOnly):
    """An embedding model. It puts 2 before each text and 3 after it, knows two prefixes, and can be cut to 2 and 4."""

    def __init__(self, spec: EngineSpec):
        context = spec.context or 512
        about = EmbeddingInfo(
            width=WIDTH,
            pooling="mean",
            longest=context,
            step_tokens=context,
            step_inputs=8,
            before=[2],
            after=[3],
            dimensions=[2, 4],
            prefixes={"query": "query: ", "document": "passage: "},
            encoder_only=True,
        )
        self.info = replace(FakeRunner(spec).info, template=None, embedding=about, takes_adapters=False)
        self.tokenizer = FakeTokenizer()

    def embed(self, sequences: list[list[int]]) -> list[bytes]:
        """See `pooled`."""
        assert self.info.embedding
        return pooled(sequences, self.info.embedding)


class FakeReranker(EmbedsOnly):
    """A reranker. The logit of a pair is how many of the document's tokens the query has, less its own length."""

    def __init__(self, spec: EngineSpec):
        context = spec.context or 512
        about = RerankInfo(longest=context, step_tokens=context, step_inputs=8, before=[2], between=[3, 4], after=[5])
        self.info = replace(FakeRunner(spec).info, template=None, embedding=None, rerank=about, takes_adapters=False)
        self.tokenizer = FakeTokenizer()

    def score(self, pairs: list[Pair]) -> list[float]:
        """See Scorer."""
        about = self.info.rerank
        assert about and len(pairs) <= about.step_inputs
        assert sum(len(pair.tokens) for pair in pairs) <= about.step_tokens
        scores = []
        for pair in pairs:
            query, document = pair.tokens[1 : pair.second - 2], pair.tokens[pair.second : -1]
            assert pair.tokens == [2, *query, 3, 4, *document, 5]
            scores.append(float(sum(token in query for token in document) - len(query)))
        return scores


def pooled(sequences: list[list[int]], about: EmbeddingInfo) -> list[bytes]:
    """How many of the tokens have each remainder by the vector's width."""
    assert 1 <= len(sequences) <= about.step_inputs
    assert len(sequences) == 1 or sum(map(len, sequences)) <= about.step_tokens
    vectors = []
    for tokens in sequences:
        assert 1 <= len(tokens) <= about.longest
        counts = array("f", [0.0] * about.width)
        for token in tokens:
            counts[token % about.width] += 1
        vectors.append(counts.tobytes())
    return vectors


def _scored(chunk: Chunk, tokens: list[int]) -> list[Logprobs]:
    """Token n has the logprob −n/100; the likeliest are the ids from 0 on."""
    top_count = chunk.sampling.logprobs
    if top_count is None:
        return []
    return [Logprobs(ScoredToken(t, -t / 100), [ScoredToken(i, -i / 100) for i in range(top_count)]) for t in tokens]
