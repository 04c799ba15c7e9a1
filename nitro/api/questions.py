"""A route that asks about a request instead of having it answered: how many tokens has it, say. Knows no protocol."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from litestar import MediaType, Request, Response

from nitro.api.endpoint import CLIENT_CLOSED_REQUEST, Endpoint, principal_of, read_body
from nitro.errors import ApiError
from nitro.service import ignored_parameters
from nitro.service.disconnects import ClientDisconnected
from nitro.service.requests import Principal, RawRequest
from nitro.service.tokens import TokenService


class Answer(Protocol):
    """What the service has found out. `ignored`: parameters without effect, as they may stand in a header."""

    @property
    def ignored(self) -> list[str]:
        """See above."""


A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True)
class Question:
    """`reader`, `prompt_param`, `namer`, `error`: see Endpoint."""

    reader: str
    prompt_param: str
    namer: str | None = None
    error: Callable[[ApiError], Response[bytes]] | None = None

    @classmethod
    def about(cls, endpoint: Endpoint) -> "Question":
        """The requests of this endpoint."""
        return cls(endpoint.reader, endpoint.prompt_param, endpoint.namer, endpoint.error)


async def respond(
    request: Request,
    question: Question,
    ask: Callable[[TokenService], Callable[[RawRequest, Principal], Awaitable[A]]],
    write: Callable[[A], Any],
) -> Response[bytes]:
    """Have a request read, ask the service about it, and reply with what `write` makes of the answer, in JSON."""
    raw = RawRequest(question.reader, partial(read_body, request), question.prompt_param, None, question.namer)
    return await exchange(request, question, raw, principal_of(request), ask, write)


async def exchange(
    request: Request,
    question: Question,
    raw: RawRequest,
    principal: Principal,
    ask: Callable[[TokenService], Callable[[RawRequest, Principal], Awaitable[A]]],
    write: Callable[[A], Any],
) -> Response[bytes]:
    """The same for who has looked at the request before."""
    tokens: TokenService = request.app.state.tokens
    try:
        answer = await ask(tokens)(raw, principal)
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    except ApiError as error:
        if question.error is None:
            raise
        return question.error(error)
    body = msgspec.json.encode(write(answer))
    return Response(body, headers=ignored_parameters.header(answer.ignored), media_type=MediaType.JSON)


async def respond_count(request: Request, question: Question, write: Callable[[int], Any]) -> Response[bytes]:
    """The same, of the number of tokens."""
    return await respond(request, question, lambda tokens: tokens.count, lambda count: write(count.tokens))
