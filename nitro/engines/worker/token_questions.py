"""What is asked of a model's tokenizer: answers of a verb, and no sequences. Nothing is computed.

The prompts of the work are read as those of a Generate are, but that they need not leave room for an answer.
"""

from nitro.engines import messages
from nitro.engines.media import Media
from nitro.engines.runner import Tokenizer
from nitro.engines.types import ModelInfo
from nitro.engines.work import MediaPrompt, decode_work
from nitro.engines.worker.jobs import JobResult, Rejection, Slices, first_lane
from nitro.engines.worker.media_prompts import MediaPrompts
from nitro.engines.worker.prompt_tokens import PromptTokenizer

PIECES_PER_SLICE = 2**14  # tokens


class TokenQuestions:
    """Answers for one model. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, info: ModelInfo, media: MediaPrompts | None = None):
        """`media`: reads prompts that have images or sounds; such are counted only."""
        self._media = media
        self._tokenizer = tokenizer
        self._prompts = PromptTokenizer(tokenizer, info)

    def tokenize(self, question: messages.Tokenize) -> Slices[JobResult]:
        """Raises Rejection."""
        lane = first_lane(question.work) if question.parse_special else "long"  # some have to make a tokenizer for it
        answer = messages.Tokenized(question.id, [])
        work = decode_work(question.work)
        for prompt in work.prompts:
            yield lane
            if isinstance(prompt, MediaPrompt):
                answer.counts.append((yield from self._count(question, prompt, work.media)))
                continue
            tokens = self._prompts.read(question.id, prompt, question.parse_special)
            answer.counts.append(len(tokens))
            if question.ids or question.pieces:
                answer.ids.append(tokens)
            if question.pieces:
                answer.pieces.append((yield from self._pieces(tokens)))
        return JobResult(answer)

    def detokenize(self, question: messages.Detokenize) -> Slices[JobResult]:
        """Raises Rejection."""
        texts = []
        for prompt in decode_work(question.work).prompts:
            if not isinstance(prompt, list):
                raise Rejection(messages.Rejected(question.id, "Only token ids can be detokenized."))
            texts.append(b"".join((yield from self._pieces(self._prompts.read(question.id, prompt)))))
        return JobResult(messages.Detokenized(question.id, texts))

    def _count(self, question: messages.Tokenize, prompt: MediaPrompt, media: list[Media]) -> Slices[int]:
        """Tokens of a prompt with media. Raises Rejection."""
        if question.ids or question.pieces or self._media is None:
            raise Rejection(messages.Rejected(question.id, "Images and sounds have no tokens that can be shown."))
        return len((yield from self._media.read(question.id, prompt, media)).tokens)

    def _pieces(self, tokens: list[int]) -> Slices[list[bytes]]:
        pieces: list[bytes] = []
        while len(pieces) < len(tokens):
            if pieces:
                yield "long"
            pieces += map(self._tokenizer.vocabulary_text, tokens[len(pieces) : len(pieces) + PIECES_PER_SLICE])
        return pieces
