"""`nitro ps`."""

import json
import time
from typing import Any

import click

from nitro.chat.printable import printable
from nitro.cli import tables
from nitro.cli.client_options import told_in_a_line, with_server
from nitro.errors import ChatError
from nitro.system.http_clients import Trust

HEADER = ("NAME", "STATE", "SIZE", "CONTEXT", "IDLE", "REQUESTS")


@click.command()
@with_server
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as GET /v1/models has it.")
def ps(server: dict[str, Any], as_json: bool) -> None:
    """List the models that a running server has loaded, and what runs on them."""
    with told_in_a_line():
        models = _loaded(server["url"] or server["usual_url"], server["api_key"], server["trust"])
    if as_json:
        click.echo(json.dumps(models, indent=2))
    else:
        tables.table(HEADER, [_cells(model) for model in models])


def _loaded(url: str, api_key: str | None, trust: Trust) -> list[dict[str, Any]]:
    """Raises ChatError."""
    from nitro.chat.client import Client, Refused, Unreachable

    client = Client(url, api_key, trust)
    try:
        found = client.models()
    except Unreachable as error:
        raise ChatError(f"{error} `nitro serve` starts a server.") from None
    except Refused as refused:
        hint = " Give its key with --api-key-file or NITRO_API_KEY." if refused.status == 401 else ""
        raise ChatError(f"{client.url}: {refused}{hint}") from None
    if not all("state" in model for model in found):
        raise ChatError(f"{client.url} is no Nitro server with many models.")
    return [model for model in found if model["state"] != "unloaded"]


def _cells(model: dict[str, Any]) -> tuple[str, ...]:
    used = model.get("last_used")
    return (
        printable(model["id"]) + (" (pinned)" if model.get("pinned") else ""),
        printable(model["state"]),
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
