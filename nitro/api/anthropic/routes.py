"""`POST /v1/messages`. Headers that Anthropic's clients send (`anthropic-version`, `anthropic-beta`) change nothing."""

from typing import Any

from litestar import Request, Response, post

from nitro.api import readers, sse
from nitro.api.anthropic.renderer import PING, MessagesRenderer, error_event
from nitro.api.anthropic.schema import MessageTokens
from nitro.api.endpoint import Endpoint, respond
from nitro.api.late_stream import Early
from nitro.api.questions import Question, respond_count


@post("/v1/messages", status_code=200)
async def messages(request: Request) -> Response[Any]:
    """Answer a conversation."""
    return await respond(request, MESSAGES)


@post("/v1/messages/count_tokens", status_code=200)
async def count_tokens(request: Request) -> Response[bytes]:
    """How many tokens its prompt has, tools and template included."""
    return await respond_count(request, COUNT, MessageTokens)


EARLY = Early(sse.MEDIA_TYPE, sse.HEADERS, PING, error_event, sse.comment)
MESSAGES = Endpoint(
    reader=readers.MESSAGES,
    renderer=MessagesRenderer,
    prompt_param="messages",
    namer=readers.NAME,
    early=EARLY,
)
COUNT = Question(readers.MESSAGES_COUNT, "messages", readers.NAME)
