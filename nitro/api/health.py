"""`GET /health`, `/healthz`, `/metrics`: whether the server is alive, and what it has done."""

from litestar import MediaType, Request, Response, get

from nitro.api.openai import schema
from nitro.api.openai.models import served
from nitro.engines.client.state import EngineState
from nitro.service.metrics import CONTENT_TYPE, Metrics


@get("/metrics")
async def metrics(request: Request) -> Response[bytes]:
    """For Prometheus."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=CONTENT_TYPE)


@get("/health")
async def health(request: Request) -> Response[schema.Health]:
    """200 once a model is loaded and its engine takes steps, else 503 with the reason."""
    engine = served(request).default.engine
    if reason := engine.stalled:
        return Response(schema.Health("stalled", reason), status_code=503)
    match engine.state:
        case EngineState.READY:
            return Response(schema.Health("ok"))
        case EngineState.LOADING:
            return Response(schema.Health("loading"), status_code=503)
        case EngineState.RESTARTING:
            return Response(schema.Health("restarting", engine.failure), status_code=503)
        case EngineState.DOWN:
            return Response(schema.Health("down", engine.failure or "The server is stopping."), status_code=503)


@get("/healthz", media_type=MediaType.HTML)
async def healthz(request: Request) -> Response[str]:
    """The same in the first Nitro's words."""
    engine = served(request).default.engine
    if engine.state is EngineState.READY and not engine.stalled:
        return Response("Nitro is alive!!!")
    return Response("Nitro has no model ready.", status_code=503)
