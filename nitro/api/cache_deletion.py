"""`DELETE /v1/cache`: forget all prefixes of prompts, for who has the key or, where there is none, on this machine."""

import asyncio

from litestar import Request, delete
from msgspec import Struct

from nitro.api.callers import is_trusted
from nitro.api.openai.models import served
from nitro.engines.prefix_files.folder import PrefixFolder, Usage
from nitro.errors import ApiError


class CacheDeleted(Struct):
    """How much there was: tokens in memory that no request had, and files of `--prefix-cache` and their bytes."""

    tokens: int
    files: int
    bytes: int
    object: str = "cache.deleted"


@delete("/v1/cache", status_code=200)
async def delete_cache(request: Request) -> CacheDeleted:
    """Forget them in memory first, so that no engine writes any of them again."""
    if not is_trusted(request):
        why = "Only who has the key may delete the cache or, where there is none, a program on this machine."
        raise ApiError(403, why, code="not_allowed")
    tokens = await served(request).forget_prefixes()
    folder: PrefixFolder | None = request.app.state.prefixes
    try:
        usage = await asyncio.to_thread(folder.clear) if folder else Usage(0, 0)
    except OSError as error:
        why = f"{error.filename or 'The cache'} cannot be removed: {error.strerror or error}."
        raise ApiError(503, why, type="server_error") from None
    return CacheDeleted(tokens, usage.files, usage.bytes)


HANDLERS = [delete_cache]
