"""`POST /tokenize`, `/detokenize`, `/apply-template`: llama-server's."""

import msgspec
from litestar import Request, Response, post

from nitro.api import readers
from nitro.api.llama_server.requests import Content, TokenPiece, Tokens
from nitro.api.openai.chat import CHAT
from nitro.api.questions import Question, respond
from nitro.service.tokens import PromptText, TokenList, TokenText

TOKENIZE = Question(readers.TOKENIZE, "content", readers.NAME)
DETOKENIZE = Question(readers.DETOKENIZE, "tokens", readers.NAME)


@post("/tokenize", status_code=200)
async def tokenize(request: Request) -> Response[bytes]:
    """The tokens of a text."""
    return await respond(request, TOKENIZE, lambda tokens: tokens.tokenize, _tokens)


@post("/detokenize", status_code=200)
async def detokenize(request: Request) -> Response[bytes]:
    """The text of tokens."""
    return await respond(request, DETOKENIZE, lambda tokens: tokens.detokenize, _content)


@post("/apply-template", status_code=200)
async def apply_template(request: Request) -> Response[bytes]:
    """The prompt of a chat completion, as the chat template writes it."""
    return await respond(request, Question.about(CHAT), lambda tokens: tokens.render, _prompt)


HANDLERS = [tokenize, detokenize, apply_template]


def _tokens(answer: TokenList) -> Tokens:
    if answer.pieces is None:
        return Tokens([*answer.ids])
    return Tokens([TokenPiece(id, _text(piece)) for id, piece in zip(answer.ids, answer.pieces, strict=True)])


def _text(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def _content(answer: TokenText) -> Content:
    return Content(answer.text.decode(errors="replace"))


def _prompt(answer: PromptText) -> msgspec.Raw:
    """A Prompt, whose text is JSON already."""
    return msgspec.Raw(b'{"prompt":%b}' % answer.prompt)
