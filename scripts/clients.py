"""Writes docs/clients/: a page per client, from the program in tests/clients that runs it."""

from pathlib import Path

from tests.clients import catalog
from tests.clients.catalog import Client

FOLDER = Path(__file__).parents[1] / "docs" / "clients"
LANGUAGES = {".py": "python", ".mjs": "js"}
SERVERS = {"scripted": "scripted", "llama": "llama.cpp", "mlx": "MLX"}
PAGE = """# {title}

`make docs` writes this file. Tested by `make test-clients` with {packages}. What you change:

```{language}
{lines}```

`api_key` may be anything, unless the server has one (`--api-key`); `GET /v1/models` tells the model's name.

What the tests show, and on which servers: SmolLM2-135M on llama.cpp and on MLX, or *scripted*, which says what the
test wants said, for dialogues that so small a model cannot hold. All are run with `--strict`: nothing that is sent is
ignored.

| | {servers} |
| --- |{rules}
{rows}
{limits}"""
INDEX = """# Clients

`make docs` writes this file. Each of these works with Nitro as it is; its page has the lines that a user changes.

| client | tested |
| --- | --- |
"""


def pages() -> dict[str, str]:
    """By file name."""
    clients = catalog.read()
    index = [f"| [{client.title}]({client.name}.md) | {_packages(client)} |\n" for client in clients]
    return {"README.md": INDEX + "".join(index), **{f"{client.name}.md": page(client) for client in clients}}


def page(client: Client) -> str:
    rows = [
        f"| {step.what} | {' | '.join('yes' if server in step.servers else '' for server in SERVERS)} |\n"
        for step in client.steps
    ]
    limits = "".join(f"- {limit}\n" for limit in client.limits)
    return PAGE.format(
        title=client.title,
        packages=_packages(client),
        language=LANGUAGES[client.program.suffix],
        lines=client.lines(),
        servers=" | ".join(SERVERS.values()),
        rules=" --- |" * len(SERVERS),
        rows="".join(rows),
        limits=f"Known limits:\n\n{limits}" if limits else "No limits are known.\n",
    )


def _packages(client: Client) -> str:
    return ", ".join(f"`{package}`" for package in client.packages)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
