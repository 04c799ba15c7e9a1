"""The first Nitro's messages, word for word, and errors in its form: `{"message": …}`."""

from collections.abc import Mapping
from typing import Any

from litestar import MediaType, Response

from nitro.api import error_responses
from nitro.api.first_nitro.renderer import encode
from nitro.errors import ApiError

LOADED = "Model loaded successfully"
ALREADY_LOADED = "Model already loaded"
LOAD_FAILED = "Failed to load model"
UNLOADED = "Model unloaded successfully"
NOT_LOADED = "Model has not been loaded, please load model into nitro"
NO_CHAT = "Not support completion for embedding model"
INFERENCE_FAILED = "Internal error during inference"
STOPPING = "Nitro is stopping"

REASON = "x-nitro-reason"  # the header that says why a load failed


def message(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """A reply that consists of a message."""
    return reply({"message": text}, status, headers)


def reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """Any other."""
    return Response(encode(body), status_code=status, media_type=MediaType.JSON, headers=headers)


def error(error: ApiError) -> Response[bytes]:
    """What went wrong, with the status and the headers that it has for OpenAI's clients, too."""
    response = error_responses.response(error)
    response.content = encode({"message": str(error)})
    return response


def chat_error(refused: ApiError) -> Response[bytes]:
    """The same for a conversation. What fails while the model computes is a 200 with a message, as it was."""
    failed = refused.status == 500 or (refused.status == 503 and refused.code == "engine_died")
    return message(200, INFERENCE_FAILED) if failed else error(refused)
