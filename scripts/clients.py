"""Writes docs/clients/: one page per client, made from the program in tests/clients that tests it."""

from pathlib import Path

from tests.clients import catalog
from tests.clients.catalog import Client

FOLDER = Path(__file__).parents[1] / "docs" / "clients"
LANGUAGES = {".py": "python", ".mjs": "js"}
SERVERS = {"scripted": "scripted", "llama": "llama.cpp", "mlx": "MLX"}
SPECIAL = {"ranks": "a stand-in for a reranker", "hears": "a stand-in that hears"}  # which few clients meet
STRICT = """All tests run with
`--strict`, so nothing that the client sends is ignored."""
LENIENT = "The tests run without `--strict`."
PAGE = """# {title}

`make test-clients` tests this client with {packages}. These are the lines to change:

```{language}
{lines}```

`api_key` may be anything, unless the server has one (`--api-key`). `GET /v1/models` shows the model's name.

The table shows what is tested, and with which model: SmolLM2-135M on llama.cpp, where a projector shows it colours,
and on MLX, or *scripted*, a stand-in that answers what the test needs, for dialogues that are too hard for so small
a model. {strictness}

| | {servers} |
| --- |{rules}
{rows}
{limits}
`make docs` writes this file.
"""
INDEX = """# Clients

These client libraries work with Nitro unchanged. Each page has the lines to change in your program, and what is tested.
`make docs` writes these files.

| client | tested version |
| --- | --- |
"""


def pages() -> dict[str, str]:
    """The text of every page, by file name."""
    clients = catalog.read()
    index = [f"| [{client.title}]({client.name}.md) | {_packages(client)} |\n" for client in clients]
    return {"README.md": INDEX + "".join(index), **{f"{client.name}.md": page(client) for client in clients}}


def page(client: Client) -> str:
    """The page of one client."""
    own = {server: title for server, title in SPECIAL.items() if server in client.servers}
    servers = own if set(client.servers) <= set(own) else SERVERS | own
    rows = [
        f"| {step.what} | {' | '.join('yes' if server in step.servers else '' for server in servers)} |\n"
        for step in client.steps
    ]
    limits = "".join(f"- {limit}\n" for limit in client.limits)
    return PAGE.format(
        title=client.title,
        strictness=STRICT if client.strict else LENIENT,
        packages=_packages(client),
        language=LANGUAGES[client.program.suffix],
        lines=client.lines(),
        servers=" | ".join(servers.values()),
        rules=" --- |" * len(servers),
        rows="".join(rows),
        limits=f"Known limits:\n\n{limits}" if limits else "No limits are known.\n",
    )


def _packages(client: Client) -> str:
    return ", ".join(f"`{package}`" for package in client.packages)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
