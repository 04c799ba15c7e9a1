"""Writes docs/parameters.md from what the server itself reads: the annotations of the request structs."""

import json
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from nitro.api.openai import requests
from nitro.engines.backends import registry
from nitro.engines.sampling_params import INT32, NEUTRAL, SAMPLERS, SPEC, SamplingOptions
from nitro.parameters import NO_LIMIT, Param, parameters

FILE = Path(__file__).parents[1] / "docs" / "parameters.md"
ENGINES = {engine.library: engine.samplers for engine in (registry.LLAMA, registry.MLX)}
HEAD = """# Parameters of requests

`make docs` writes this file.

A parameter works, or the server refuses the request and names the parameter: 400 `unsupported_parameter`.
`GET /v1/models` says which capabilities the served model has, by the names in the column "capability".
–: the parameter tunes a sampler that this engine does not have.
A default counts where neither the request, nor `--defaults`, nor the model's files set the parameter.
"""
SECTIONS: dict[str, type[Struct]] = {
    "Chat and text completions": requests.CommonRequest,
    "Chat completions only": requests.ChatRequest,
    "Text completions only": requests.CompletionRequest,
    "How an answer is drawn and where it ends": requests.SamplingRequest,
    "Sampling, in the order in which it applies": SamplingOptions,
}
COLUMNS = ("parameter", "range", "default", *ENGINES, "capability", "meaning")


def text() -> str:
    """The text of docs/parameters.md."""
    parts = [HEAD]
    for title, struct in SECTIONS.items():
        params = parameters(struct)
        parts.append(section(title, (row(name, params[name]) for name in struct.__annotations__ if name in params)))
    refused = ([f"`{name}`", param.description] for name, param in requests.UNSUPPORTED.items())
    parts.append(section("Refused", refused, ("parameter", "meaning")))
    return "\n".join(parts)


def section(title: str, rows: Iterable[list[str]], columns: tuple[str, ...] = COLUMNS) -> str:
    """A heading and a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return f"## {title}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def row(name: str, param: Param) -> list[str]:
    """The cells of a parameter that is not always refused."""
    return [
        f"`{name}`",
        limits(param),
        default(name),
        *(support(name, param, samplers) for samplers in ENGINES.values()),
        f"`{param.capability}`" if param.capability else "",
        param.description.replace("|", "\\|"),
    ]


def limits(param: Param) -> str:
    """The range of a parameter's numbers, or its choices."""
    if param.ge is None:
        return ", ".join(f"`{choice}`" for choice in param.choices)
    limits = f"at least {param.ge:g}" if param.le in (None, INT32) else f"{param.ge:g} to {param.le:g}"
    return f"{limits}, or {NO_LIMIT}" if param.unlimited else limits


def default(name: str) -> str:
    """What a sampling parameter is where nothing sets it."""
    value = getattr(NEUTRAL, name, None) if name in SPEC else None
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return "" if value is None else f"{value:g}"


def support(name: str, param: Param, samplers: frozenset[str]) -> str:
    """Whether an engine with these samplers has the parameter."""
    if param.capability not in SAMPLERS or param.capability in samplers:
        return "yes"
    return "refused" if param.capability == name else "–"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text())
