"""A runner without a model, for tests and for measuring everything around a model: token n+1 follows token n.

Its tokens are bytes. An answer counts on from the prompt's last byte through printable ASCII, and ends after "~".
It keeps the rules of the contract strictly: what a slot holds, the pool's size, one chunk per slot.
"""

from collections.abc import Iterable

from nitro.engines.runner import Chunk, OutOfKV, Result
from nitro.engines.types import EngineSpec, Logprobs, ModelInfo, SamplingParams, Scored

EOG = 256
FIRST, LAST = ord(" "), ord("~")
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


class FakeTokenizer:
    """One token per UTF-8 byte."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def token_bytes(self, token: int) -> bytes:
        return b"" if token == EOG else bytes([token])

    def vocabulary_text(self, token: int) -> bytes:
        return b"<end>" if token == EOG else bytes([token])


class FakeRunner:
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
        )
        self.tokenizer = FakeTokenizer()
        self._held: list[list[int]] = [[] for _ in range(self.info.slots)]
        self._batch: list[Chunk] = []

    def prepare(self, sampling: SamplingParams) -> None:
        pass

    def submit(self, batch: list[Chunk]) -> None:
        assert len({chunk.slot for chunk in batch}) == len(batch), "a slot twice in a batch"
        assert sum(chunk.stop - chunk.start for chunk in batch) <= self.info.step_tokens
        for chunk in batch:
            assert chunk.start < chunk.stop <= len(chunk.tokens)
            assert self._held[chunk.slot] == chunk.tokens[: chunk.start], "a chunk starts where its slot ends"
        wanted = sum(chunk.stop - chunk.start for chunk in batch)
        if sum(map(len, self._held)) + wanted > self.info.kv_tokens:
            raise OutOfKV
        for chunk in batch:
            self._held[chunk.slot] = chunk.tokens[: chunk.stop]
        self._batch = batch

    def collect(self) -> list[Result]:
        return [self._result(chunk) for chunk in self._batch]

    def _result(self, chunk: Chunk) -> Result:
        drawn: list[int] = []
        if chunk.wants_token:
            if (token := self._draw(chunk)) is None:
                assert chunk.matcher is not None
                return Result.failed(chunk.matcher)
            drawn = [token]
        return Result(drawn, logprobs=_scored(chunk, drawn), prompt_logprobs=_scored(chunk, chunk.score_tokens))

    def _draw(self, chunk: Chunk) -> int | None:
        """The first of its candidates that the sequence's grammar allows; None where that leaves nothing."""
        matcher, candidates = chunk.matcher, self._candidates(chunk)
        if matcher is None:
            return next(iter(candidates))
        token = next(filter(matcher.allows, candidates), None)
        return token if token is not None and matcher.accept(token) else None

    def _candidates(self, chunk: Chunk) -> Iterable[int]:
        """Tokens, the likeliest first; without a grammar the one is enough."""
        follows = chunk.tokens[-1] + 1
        if chunk.matcher:
            return (token % self.info.vocabulary for token in range(follows, follows + self.info.vocabulary))
        if FIRST <= follows <= LAST:
            return [follows]
        return [FIRST if EOG in chunk.sampling.logit_bias else EOG]  # a ban is the only bias it knows

    def trim(self, slot: int, length: int) -> int:
        assert length <= len(self._held[slot])
        del self._held[slot][length:]
        return length

    def offload(self, slot: int) -> None:
        pass

    def copy(self, src: int, dst: int, length: int) -> int:
        assert length <= len(self._held[src])
        self._held[dst] = self._held[src][:length]
        return length

    def free_sequence(self, sequence_id: int) -> None:
        pass

    def release_idle_memory(self) -> None:
        pass

    def reset(self) -> None:
        self._held = [[] for _ in range(self.info.slots)]

    def close(self) -> None:
        pass


def _scored(chunk: Chunk, tokens: list[int]) -> list[Logprobs]:
    """Token n has the logprob −n/100; the likeliest are the ids from 0 on."""
    if (most := chunk.sampling.logprobs) is None:
        return []
    return [Logprobs(Scored(t, -t / 100), [Scored(i, -i / 100) for i in range(most)]) for t in tokens]
