"""What a server prints for people when it is ready: what was loaded, where it computes, its address, and warnings."""

import logging
import stat
from typing import Protocol

from nitro import __version__
from nitro.api.transport.certificates import Certificates
from nitro.config import ServeConfig
from nitro.engines.types import ModelInfo
from nitro.models.handle import ServedModel
from nitro.records.recorder import Recorder
from nitro.system import terminal

log = logging.getLogger("nitro")


class Running(Protocol):
    """What is told of a server."""

    config: ServeConfig
    recorder: Recorder | None
    certificates: Certificates | None

    @property
    def url(self) -> str:
        """Its address."""


def show(server: Running, model: ServedModel | None = None, info: ModelInfo | None = None) -> None:
    """Print what was loaded, where it computes, the page and the URL."""
    config = server.config
    rows = _described(model, info, config.draft) if model and info else {"model": "none is loaded yet"}
    if server.recorder:
        rows["records"] = f"every request and its reply, in {server.recorder.folder}"
    rows |= {"URL": server.url} if config.uds else {"chat": f"{server.url}/ in a browser", "URL": f"{server.url}/v1"}
    terminal.say(f"Nitro {__version__}", err=True, bold=True)
    terminal.facts(rows, err=True)
    _warn(server)


def _warn(server: Running) -> None:
    config, certificates = server.config, server.certificates
    locked = config.api_key or config.keys
    if not locked and not config.uds and config.host not in ("127.0.0.1", "::1", "localhost"):
        log.warning(
            "listening on %s without --api-key: anyone who can reach this address can use the model", config.host
        )
    if not locked and config.uds and int(config.uds_mode, 8) & stat.S_IWOTH:
        log.warning("every user of this machine can use the model: --uds-mode %s, and no --api-key", config.uds_mode)
    if (config.rpc or config.hosts) and config.takes_any_network:
        others = "the workers" if config.rpc else "other machines"
        log.warning("--insecure-network: what goes to %s can be read and changed on its way", others)
    for warning in certificates.warnings() if certificates else ():
        log.warning("%s", warning)


def _described(model: ServedModel, info: ModelInfo, draft: str | None) -> dict[str, str]:
    rows = {
        "model": f"{model.source.id} (trained for {info.trained_context} tokens)",
        "engine": info.engine,
        "device": f"{info.device}, layers: {info.layers}" + (f", KV cache: {info.kv_place}" if info.kv_place else ""),
        "context": f"{info.context} tokens a request × {info.parallel} at once; "
        f"pool of up to {info.kv_tokens} tokens, {info.kv_bytes / 2**20:.0f} MiB",
    }
    if info.has_draft_model:
        rows["drafts"] = f"by {draft}"
    if system := model.system:
        rows["system"] = f"{system!r} where a request has no system message"
    return rows
