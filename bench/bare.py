"""The smallest server that can stream: a Litestar app with ready-made frames. `python -m bench.bare PORT`; see
bench.http."""

import asyncio
import sys
from collections.abc import AsyncIterator

import uvicorn
from litestar import Litestar, Request, get, post
from litestar.response import Stream

FRAME = (
    b'data: {"id":"chatcmpl-0123456789abcdef01234567","created":1700000000,"model":"bare","choices":[{"index":0,'
    b'"delta":{"content":"a"},"finish_reason":null,"logprobs":null}],"system_fingerprint":"fp_0123456789abcdef",'
    b'"usage":null,"object":"chat.completion.chunk"}\n\n'
)


def last_frames(tokens: int) -> bytes:
    """The frames after the last token: the usage, and the end."""
    usage = b'{"prompt_tokens":1,"completion_tokens":%d,"total_tokens":%d}' % (tokens, tokens + 1)
    return b'data: {"choices":[],"usage":%b}\n\ndata: [DONE]\n\n' % usage


@post("/v1/chat/completions", status_code=200)
async def chat(request: Request) -> Stream:
    """As many frames as the request has max_tokens."""
    tokens = (await request.json())["max_tokens"]

    async def frames() -> AsyncIterator[bytes]:
        for _ in range(tokens):
            yield FRAME
            await asyncio.sleep(0)  # as tokens come, one at a time; otherwise frames leave in a few large writes
        yield last_frames(tokens)

    return Stream(frames(), media_type="text/event-stream")


@get("/health")
async def health() -> str:
    """Says that the server is ready."""
    return "ok"


if __name__ == "__main__":
    uvicorn.run(Litestar([chat, health]), port=int(sys.argv[1]), log_level="warning", access_log=False)
