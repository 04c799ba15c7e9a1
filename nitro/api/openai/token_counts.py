"""`POST /v1/chat/completions/input_tokens`: how many tokens a chat completion's prompt has."""

from litestar import Request, Response, post

from nitro.api.openai.chat import CHAT
from nitro.api.openai.schema import InputTokens
from nitro.api.questions import Question, respond_count


@post("/v1/chat/completions/input_tokens", status_code=200)
async def chat_input_tokens(request: Request) -> Response[bytes]:
    """Count them, tools and template included, and generate nothing."""
    return await respond_count(request, Question.about(CHAT), InputTokens)
