"""`nitro ps`."""

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import click

from nitro.cli import tables
from nitro.cli.options import option, with_api_key

HEADER = ("NAME", "STATE", "SIZE", "CONTEXT", "IDLE", "REQUESTS")
URL = "http://127.0.0.1:3928"
TIMEOUT = 30.0  # seconds


@click.command()
@option("--url", default=URL, help="Address of the server.")
@with_api_key("The server's key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as GET /v1/models has it.")
def ps(url: str, api_key: str | None, as_json: bool) -> None:
    """List the models that a running server has loaded, and what runs on them."""
    try:
        models = [model for model in _ask(url, api_key) if model["state"] != "unloaded"]
    except (OSError, ValueError, KeyError) as error:
        click.echo(f"nitro: {url}: {_reason(error)}", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(models, indent=2))
    else:
        tables.table(HEADER, [_cells(model) for model in models])


def _ask(url: str, api_key: str | None) -> list[dict[str, Any]]:
    """Raises OSError, ValueError, KeyError."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    base = url.rstrip("/").removesuffix("/v1")
    if not base.startswith(("http://", "https://")):
        base = f"http://{base}"
    with urllib.request.urlopen(urllib.request.Request(f"{base}/v1/models", headers=headers), timeout=TIMEOUT) as reply:
        found: list[dict[str, Any]] = json.load(reply)["data"]
    return [{**model, "state": model["state"]} for model in found]


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return "the server wants a key: --api-key." if error.code == 401 else f"it answers {error.code}."
    if isinstance(error, OSError):
        return f"no server answers there ({getattr(error, 'reason', None) or error})."
    return "what answers there is no Nitro server with many models."


def _cells(model: dict[str, Any]) -> tuple[str, ...]:
    used = model.get("last_used")
    return (
        model["id"] + (" (pinned)" if model.get("pinned") else ""),
        model["state"],
        tables.size(model.get("size") or 0),
        str(model.get("context_length") or "?"),
        "-" if used is None else _duration(max(time.time() - used, 0.0)),
        str(model.get("requests", 0)),
    )


def _duration(seconds: float) -> str:
    """As in 5 s, 12 min, 3.4 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
