"""What a request's prompt is, without a generation: its text, its tokens, how many they are. For every protocol.

Requests are read as those of generations are, with the same refusals, and what is counted is what a generation of the
same request would compute: the usage of its reply says the same number.
"""

from typing import NamedTuple

from nitro.service.generation import GenerationService, Read
from nitro.service.intake.messages import Prepared, Rendered
from nitro.service.requests import Principal, RawRequest
from nitro.service.token_options import decode


class TokenCount(NamedTuple):
    """How many tokens a request's prompts have, all together. `ignored`: parameters without effect, as they may stand
    in a header."""

    tokens: int
    ignored: list[str]


class TokenList(NamedTuple):
    """The tokens of a request's prompts, one after the other, and what each is, if asked for."""

    ids: list[int]
    pieces: list[bytes] | None
    ignored: list[str]


class TokenText(NamedTuple):
    """What the token ids of a request say."""

    text: bytes
    ignored: list[str]


class PromptText(NamedTuple):
    """The prompt that the chat template makes of a request, in JSON."""

    prompt: bytes
    ignored: list[str]


class TokenService:
    """Answers about prompts. Belongs to the event loop. Every method raises what `GenerationService.generate` does."""

    def __init__(self, requests: GenerationService):
        self._requests = requests

    async def count(self, raw: RawRequest, principal: Principal) -> TokenCount:
        """How many tokens the prompts have. Of a text that is much longer than the context it is not known."""
        return await self._requests.answer(raw, principal, _count)

    async def tokenize(self, raw: RawRequest, principal: Principal) -> TokenList:
        """Which they are. The request has TokenOptions for its reply."""
        return await self._requests.answer(raw, principal, _tokenize)

    async def detokenize(self, raw: RawRequest, principal: Principal) -> TokenText:
        """What they say. The request's prompts are token ids."""
        return await self._requests.answer(raw, principal, _detokenize)

    async def render(self, raw: RawRequest, principal: Principal) -> PromptText:
        """What the chat template makes of a conversation."""
        return await self._requests.answer(raw, principal, _render, only_prompt=True)


async def _count(read: Read) -> TokenCount:
    prepared = _prepared(read)
    answer = await read.model.engine.tokenize(prepared.work)
    return TokenCount(sum(answer.counts), prepared.ignored)


async def _tokenize(read: Read) -> TokenList:
    prepared = _prepared(read)
    options = decode(prepared.reply_options)
    answer = await read.model.engine.tokenize(
        prepared.work, ids=True, pieces=options.pieces, parse_special=options.parse_special
    )
    pieces = [piece for prompt in answer.pieces for piece in prompt] if options.pieces else None
    return TokenList([id for prompt in answer.ids for id in prompt], pieces, prepared.ignored)


async def _detokenize(read: Read) -> TokenText:
    prepared = _prepared(read)
    answer = await read.model.engine.detokenize(prepared.work)
    return TokenText(b"".join(answer.texts), prepared.ignored)


async def _render(read: Read) -> PromptText:
    assert isinstance(read.prepared, Rendered)
    return PromptText(read.prepared.prompt, read.prepared.ignored)


def _prepared(read: Read) -> Prepared:
    assert isinstance(read.prepared, Prepared)
    return read.prepared
