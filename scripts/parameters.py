"""Writes docs/parameters.md: each parameter, what it means, which engine has it; from what the server goes by."""

from collections.abc import Iterator
from pathlib import Path

from nitro.api.openai import schema
from nitro.api.openapi.descriptions import PARAMETERS, capability
from nitro.engines.backends import registry
from nitro.engines.types import SAMPLERS

FILE = Path(__file__).parents[1] / "docs" / "parameters.md"
ENGINES = {engine.library: engine.samplers for engine in (registry.LLAMA, registry.MLX)}
HEAD = """# Parameters of requests

`make docs` writes this file. A parameter works, or the request is refused by name: 400 `unsupported_parameter`. What a
served model is able to, `GET /v1/models` tells by the capabilities named here. –: it tunes what is refused.

| parameter | routes | llama.cpp | MLX | capability | meaning |
| --- | --- | --- | --- | --- | --- |
"""


def text() -> str:
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows())


def rows() -> Iterator[list[str]]:
    chat, texts = schema.ChatRequest.__struct_fields__, schema.CompletionRequest.__struct_fields__
    for name, words in PARAMETERS.items():
        routes = [route for route, fields in (("chat", chat), ("text", texts)) if name in fields]
        engines = [has(name, samplers) if routes else "refused" for samplers in ENGINES.values()]
        words = words.replace("|", "\\|")
        yield [f"`{name}`", ", ".join(routes), *engines, f"`{of}`" if (of := capability(name)) else "", words]


def has(name: str, samplers: frozenset[str]) -> str:
    of = capability(name)
    if of not in SAMPLERS or of in samplers:
        return "yes"
    return "refused" if of == name else "–"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text())
