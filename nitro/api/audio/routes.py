"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`: what is said in a sound, by a model that hears."""

from functools import partial
from typing import Any

from litestar import Request, Response, post

from nitro.api import readers
from nitro.api.audio import form
from nitro.api.audio.renderer import EARLY, TEXT_TYPE, TranscriptRenderer
from nitro.api.audio.requests import decode_options
from nitro.api.endpoint import Endpoint, answer, exchange, principal_of, read_body
from nitro.service.generation import GenerationStream
from nitro.service.requests import Principal, RawRequest

TRANSCRIPTION = Endpoint(readers.TRANSCRIPTION, TranscriptRenderer, form.FILE, namer=readers.SPEECH_NAME, early=EARLY)
TRANSLATION = Endpoint(readers.TRANSLATION, TranscriptRenderer, form.FILE, namer=readers.SPEECH_NAME, early=EARLY)


@post("/v1/audio/transcriptions", status_code=200)
async def transcriptions(request: Request) -> Response[Any]:
    """Write what is said."""
    return await _respond(request, TRANSCRIPTION)


@post("/v1/audio/translations", status_code=200)
async def translations(request: Request) -> Response[Any]:
    """Write what is said, in another language."""
    return await _respond(request, TRANSLATION)


HANDLERS = [transcriptions, translations]


async def _respond(request: Request, endpoint: Endpoint) -> Response[Any]:
    raw = RawRequest(endpoint.reader, partial(_body, request), endpoint.prompt_param, None, endpoint.namer)
    return await exchange(request, endpoint, raw, principal_of(request), partial(_answer, endpoint))


async def _body(request: Request) -> list[bytes]:
    """A form cannot be read without the boundary that its type names."""
    return form.with_type(request.headers.get("content-type", ""), await read_body(request))


async def _answer(endpoint: Endpoint, stream: GenerationStream, principal: Principal) -> Response[Any]:
    """With the endpoint's renderer; the type is a text's where that is wanted."""
    is_text = not stream.streamed and decode_options(stream.reply_options).format == "text"
    response = await answer(endpoint, stream, principal)
    if is_text:
        response.media_type = TEXT_TYPE
    return response
