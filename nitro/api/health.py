"""`GET /health`, `/healthz`, `/metrics`: whether the server is alive, and what it has done."""

import math
from typing import Literal

from litestar import MediaType, Request, Response, get

from nitro.api.drain import Drain
from nitro.api.files.filing import Filing
from nitro.api.openai import schema
from nitro.api.openai.models import served
from nitro.models.pool_entry import PoolEntry
from nitro.service.metrics import CONTENT_TYPE, Metrics

Status = Literal["ok", "loading", "restarting", "down", "stalled", "failed", "draining"]
NOT_WELL = ("loading", "restarting", "down", "stalled", "failed")


@get("/metrics")
async def metrics(request: Request) -> Response[bytes]:
    """For Prometheus."""
    metrics: Metrics = request.app.state.metrics
    filing: Filing = request.app.state.filing
    if filing.metrics:
        await filing.metrics.look()
    return Response(metrics.text(), media_type=CONTENT_TYPE)


@get("/health")
async def health(request: Request) -> Response[schema.Health]:
    """200 while the default model is well, or unloaded because nobody needed it, else 503 with the reason. A server
    without a default is well; one that ends is not, from the moment when it is told to."""
    pool = served(request)
    entry = pool.default_entry
    status, reason = _ending(request) or _well(entry)
    models = [_told(each) for each in pool.entries()] if pool.by_name else []
    loading = _loading(entry) if entry else None
    pause = _pause(entry) if entry else None
    told = schema.Health(status, reason, models, loading, pause, _workers(entry) if entry else {})
    return Response(told, status_code=200 if status == "ok" else 503)


def _told(entry: PoolEntry) -> schema.ModelHealth:
    return schema.ModelHealth(entry.id, entry.state, entry.reason, _loading(entry), _pause(entry))


def _loading(entry: PoolEntry) -> schema.LoadedBytes | None:
    progress = entry.loading
    return schema.LoadedBytes(progress.read, progress.total) if progress else None


def _workers(entry: PoolEntry) -> dict[str, int]:
    """Layers by worker, while they are there."""
    info = entry.served.engine.info if entry.served else None
    return info.workers if info else {}


def _pause(entry: PoolEntry) -> schema.Pause | None:
    return schema.Pause(entry.pause.failures, math.ceil(entry.pause.seconds)) if entry.pause else None


def _ending(request: Request) -> tuple[Status, str] | None:
    drain: Drain = request.app.state.drain
    if not drain.active:
        return None
    return "draining", f"The server takes no new requests. It ends when {drain.underway} have their replies."


def _well(entry: PoolEntry | None) -> tuple[Status, str | None]:
    if entry and entry.state in NOT_WELL:
        return entry.state, entry.reason  # type: ignore[return-value]
    return "ok", None


@get("/healthz", media_type=MediaType.HTML)
async def healthz(request: Request) -> Response[str]:
    """The same in the first Nitro's words."""
    if _ending(request):
        return Response("Nitro takes no new requests.", status_code=503)
    if _well(served(request).default_entry)[0] == "ok":
        return Response("Nitro is alive!!!")
    return Response("Nitro has no model ready.", status_code=503)
