"""`/v1/responses`: answered, kept, asked for again."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from litestar import MediaType, Request, Response, delete, get, post
from litestar.response import Stream

from nitro.api import endpoint, error_responses, questions, readers, recording, sse, users
from nitro.api.endpoint import CLIENT_CLOSED_REQUEST, Answer, exchange, principal_of, read_body
from nitro.api.openai.schema import InputTokens
from nitro.api.questions import Question
from nitro.api.responses import asked as asked_before
from nitro.api.responses import query
from nitro.api.responses.asked import Lasting
from nitro.api.responses.background import Background
from nitro.api.responses.endpoint import RESPONSES
from nitro.api.responses.keeper import Keeper, WithheldEnd
from nitro.api.responses.kept_schema import ResponseDeleted
from nitro.api.responses.kept_stream import KeptStream
from nitro.api.responses.memory import Memory, Remembered, told
from nitro.api.responses.renderer import ResponsesRenderer
from nitro.api.responses.replies import json
from nitro.errors import ApiError, NitroError
from nitro.service import ignored_parameters
from nitro.service.disconnects import ClientDisconnected
from nitro.service.generation import GenerationService, GenerationStream
from nitro.service.requests import Principal, RawRequest
from nitro.state import responses
from nitro.state.responses import NotThere


@post("/v1/responses", status_code=200)
async def create_response(request: Request) -> Response[Any]:
    """Answer a conversation; keep the answer."""
    service: GenerationService = request.app.state.service
    memory: Memory = request.app.state.memory
    principal = principal_of(request)
    try:
        body = await read_body(request)
        known = await service.asked(readers.RESPONSE_NAME, body, principal)
        asked = asked_before.lasting(known)
        keeps = memory.keeps(asked)
        remembered = await memory.remember(asked, users.sees_of(request.scope))
        if tape := recording.of(request.scope):
            tape.history = remembered.history
        pieces = [body]

        async def once() -> list[bytes]:
            return pieces.pop()

        raw = RawRequest(RESPONSES.reader, once, RESPONSES.prompt_param, known, history=remembered.history)
        if asked.background:
            return await _create_in_background(request, raw, b"".join(body), asked, remembered, principal)
        del body
        answer: Answer = partial(endpoint.answer, RESPONSES)
        if keeps:
            answer = partial(_kept, Keeper(memory.store, asked, remembered, users.owner_of(request.scope)))
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    except NitroError as error:
        refusal = error_responses.as_api_error(error)
        raise refusal from None
    return await exchange(request, RESPONSES, raw, principal, answer)


@post("/v1/responses/input_tokens", status_code=200)
async def input_tokens(request: Request) -> Response[Any]:
    """How many tokens its prompt has, with what it goes on with; nothing is kept."""
    service: GenerationService = request.app.state.service
    memory: Memory = request.app.state.memory
    principal = principal_of(request)
    try:
        body = await read_body(request)
        known = await service.asked(readers.RESPONSE_NAME, body, principal)
        remembered = await memory.remember(asked_before.lasting(known), users.sees_of(request.scope))
    except ClientDisconnected:
        return Response(b"", status_code=CLIENT_CLOSED_REQUEST)
    except NitroError as error:
        refusal = error_responses.as_api_error(error)
        raise refusal from None

    async def once() -> list[bytes]:
        return body

    raw = RawRequest(RESPONSES.reader, once, RESPONSES.prompt_param, known, history=remembered.history)
    count = Question.about(RESPONSES)
    return await questions.exchange(
        request, count, raw, principal, lambda tokens: tokens.count, lambda count: InputTokens(count.tokens)
    )


async def _kept(keeper: Keeper, stream: GenerationStream, principal: Principal) -> Response[Any]:
    try:
        renderer = ResponsesRenderer(stream.started, stream.reply_options, keeper.keeping)
        await keeper.begin(renderer, stream.started)
    except BaseException as error:
        stream.release(f"error: {error}")
        keeper.leave()
        raise
    headers = endpoint.headers_of(stream)
    if stream.streamed:
        return KeptStream(stream, WithheldEnd(renderer, keeper), headers, principal, keeper)
    try:
        data = await stream.whole(renderer)
        await keeper.kept()
    except ApiError as error:
        keeper.fail(error)
        raise
    finally:
        keeper.leave()
    return Response(data, headers=headers, media_type=MediaType.JSON)


async def _create_in_background(
    request: Request, raw: RawRequest, body: bytes, asked: Lasting, remembered: Remembered, principal: Principal
) -> Response[Any]:
    background: Background = request.app.state.background
    id, queued, read = await background.create(raw, body, asked, remembered, principal)
    headers = ignored_parameters.header(read.ignored)
    if read.streamed:
        return _follow(background, id, -1, headers)
    return Response(queued, headers=headers, media_type=MediaType.JSON)


def _follow(background: Background, id: str, after: int, headers: Mapping[str, str]) -> Response[Any]:
    return Stream(
        _frames(background, id, after), media_type=sse.MEDIA_TYPE, headers={**headers, **sse.HEADERS}, status_code=200
    )


async def _frames(background: Background, id: str, after: int) -> AsyncIterator[bytes]:
    """Errors end a stream that has begun."""
    try:
        async with aclosing(background.follow(id, after)) as frames:
            async for some in frames:
                yield some
    except NotThere:
        yield sse.error(ApiError(404, f"Response with id '{id}' was deleted."))
    except NitroError as error:
        yield sse.error(error_responses.as_api_error(error))


@get("/v1/responses/{response_id:str}")
async def get_response(request: Request) -> Response[Any]:
    """The response as it is now, or its events."""
    response_id = str(request.path_params["response_id"])
    memory: Memory = request.app.state.memory
    asked, sees = query.retrieval(request.query_params.dict()), users.sees_of(request.scope)
    with told():
        found = await memory.store.read(lambda db: responses.get(db, response_id, sees))
    if not asked.stream:
        return Response(found.body, media_type=MediaType.JSON)
    if not found.streamed:
        why = "needs a response that was created with 'background' and 'stream'"
        raise ApiError.unsupported("stream", why)
    return _follow(request.app.state.background, response_id, asked.after, {})


@delete("/v1/responses/{response_id:str}", status_code=200)
async def delete_response(request: Request) -> Response[Any]:
    """Forget it. What runs is ended."""
    response_id = str(request.path_params["response_id"])
    memory: Memory = request.app.state.memory
    sees = users.sees_of(request.scope)
    with told():
        await memory.store.write(lambda db: responses.delete(db, response_id, sees))
    background: Background = request.app.state.background
    background.give_up(response_id)
    return json(ResponseDeleted(response_id))


@post("/v1/responses/{response_id:str}/cancel", status_code=200)
async def cancel_response(request: Request) -> Response[Any]:
    """End a response in the background."""
    response_id = str(request.path_params["response_id"])
    background: Background = request.app.state.background
    return Response(await background.cancel(response_id, users.sees_of(request.scope)), media_type=MediaType.JSON)


@get("/v1/responses/{response_id:str}/input_items")
async def list_input_items(request: Request) -> Response[Any]:
    """The items that a response was made of, with those of the responses that it goes on with."""
    response_id = str(request.path_params["response_id"])
    memory: Memory = request.app.state.memory
    sees = users.sees_of(request.scope)
    with told():
        items = await memory.store.read(lambda db: responses.input_items(db, response_id, sees))
    return json(query.items_page(request.query_params.dict(), items))


HANDLERS = [create_response, input_tokens, get_response, delete_response, cancel_response, list_input_items]
