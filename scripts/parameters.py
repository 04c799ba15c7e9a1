"""Writes docs/parameters.md from what the server itself reads: the annotations of the request structs, and the tables
of other servers' names."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from nitro.api.names import Harmless, Known, Mapped, Opened, Refused
from nitro.api.openai import requests
from nitro.api.openai.names import inside, sources, tables
from nitro.api.responses import names as of_responses
from nitro.api.responses.requests import ResponsesRequest
from nitro.engines.backends import registry
from nitro.engines.sampling_params import INT32, NEUTRAL, SAMPLERS, SPEC, SamplingOptions
from nitro.parameters import NO_LIMIT, Param, parameters

FILE = Path(__file__).parents[1] / "docs" / "parameters.md"
ENGINES = {engine.library: engine.samplers for engine in (registry.LLAMA, registry.MLX)}
HEAD = """# Parameters of requests

`make docs` writes this file.

A parameter works, or the server refuses the request and names the parameter: 400 `unsupported_parameter`.
Every parameter takes null, which means that it is not set.
`GET /v1/models` says which capabilities the served model has, by the names in the column "capability".
–: the parameter tunes a sampler that this engine does not have.
A default counts where neither the request, nor `--defaults`, nor the model's files set the parameter.
"""
SECTIONS: dict[str, type[Struct]] = {
    "Chat and text completions": requests.CommonRequest,
    "Chat completions only": requests.ChatRequest,
    "Text completions only": requests.CompletionRequest,
    "Responses": ResponsesRequest,
    "How an answer is drawn and where it ends": requests.SamplingRequest,
    "Sampling, in the order in which it applies": SamplingOptions,
}
NAMES = """## Names of other servers

Programs send what other servers and SDKs know. Each name that this server knows, at any depth, is one of these:

- **mapped**: another name for a parameter above, with its bounds and its meaning. An error has the name that was
  sent. Two names of one parameter with different values are a 400 that has both.
- **harmless**: it never changes an answer. It is accepted in silence, with `--strict` too.
- **refused**: it would change the answer or the reply. It is a 400 with its name, unless its value asks for nothing:
  null always does, and so do the values in the column "accepted".

Any other name has no effect. The reply lists it with its path (`messages[3].foo`) in the header `x-nitro-ignored`, and
so does the line of the log. With `--strict` it is a 400.

"""
COLUMNS = ("parameter", "range", "default", *ENGINES, "capability", "meaning")


def text() -> str:
    """The text of docs/parameters.md."""
    parts = [HEAD]
    for title, struct in SECTIONS.items():
        params = parameters(struct)
        parts.append(section(title, (row(name, params[name]) for name in struct.__annotations__ if name in params)))
    parts.append(NAMES + "#" + section("Sources", sources.WHERE.items(), ("server", "where its names were read")))
    kinds: dict[str, type[Known]] = {"Mapped": Mapped, "Harmless": Harmless, "Refused": Refused}
    for title, kind in kinds.items():
        found = [(place, name, row) for place, name, row in known_names() if isinstance(row, kind)]
        parts.append("#" + section(title, map(CELLS[kind], *zip(*found, strict=True)), HEADS[kind]))
    return "\n".join(parts)


def known_names() -> Iterator[tuple[str, str, Known]]:
    """Every row of the tables: where its name stands, the name, and the row."""
    routes = {"chat": tables.CHAT, "text": tables.COMPLETION}
    for name in sorted({**tables.CHAT, **tables.COMPLETION}):
        rows = {route: table[name] for route, table in routes.items() if name in table}
        if len({id(row) for row in rows.values()}) == 1 and len(rows) == 2:
            rows = {"": rows["chat"]}
        for route, row in rows.items():
            yield from within(route, name, row)
    for route, places in (("", PLACES), ("responses", PLACES_OF_RESPONSES)):
        for place, table in places.items():
            for name, row in table.items():
                yield from within(route, f"{place}.{name}", row)
    for name, row in sorted(of_responses.RESPONSE.items()):
        if not same(row, tables.CHAT.get(name)):
            yield from within("responses", name, row)


def same(row: Known, chats: Known | None) -> bool:
    """Whether a name is what it is in chat, which says it."""
    if isinstance(row, Opened) and isinstance(chats, Opened):
        return all(same(each, chats.inside.get(name)) for name, each in row.inside.items())
    return row == chats or (isinstance(row, Mapped) and isinstance(chats, Mapped) and row.to == chats.to)


def within(place: str, name: str, row: Known) -> Iterator[tuple[str, str, Known]]:
    """A row, or those of the object that it opens."""
    if not isinstance(row, Opened):
        yield place, name, row
        return
    if row.to or row.note:
        yield place, name, row
    for inner, each in row.inside.items():
        if not (isinstance(each, Mapped) and each.to == inner and row.note):  # the note says it
            yield from within(place, f"{name}.{inner}", each)


PLACES: dict[str, Mapping[str, Known]] = {
    "messages[]": inside.MESSAGE,
    "messages[].content[]": inside.PART,
    "messages[].tool_calls[]": inside.TOOL_CALL.known,
    "messages[].tool_calls[].function": inside.CALLED_FUNCTION.known,
    "stream_options": inside.STREAM_OPTIONS,
    "tools[]": inside.TOOL.known,
    "tools[].function": inside.FUNCTION.known,
    "tool_choice": inside.TOOL_CHOICE.known,
}
PLACES_OF_RESPONSES: dict[str, Mapping[str, Known]] = {
    "reasoning": of_responses.REASONING,
    "stream_options": of_responses.STREAM_OPTIONS,
    "input[]": of_responses.ITEM,
    "input[].content[]": of_responses.PART,
    "tools[]": of_responses.TOOL,
}
HEADS: dict[type[Known], tuple[str, ...]] = {
    Mapped: ("name", "route", "is", "accepted without effect", "from"),
    Harmless: ("name", "route", "why", "from"),
    Refused: ("name", "route", "accepted", "instead", "from"),
}


def mapped(place: str, name: str, row: Known) -> list[str]:
    """The cells of a name for a parameter of ours."""
    assert isinstance(row, Mapped)
    meaning = " ".join(filter(None, [f"`{row.to}`." if row.to else "", row.note]))
    return [f"`{name}`", place, meaning, values(row.neutral), ", ".join(row.sources)]


def harmless(place: str, name: str, row: Known) -> list[str]:
    """The cells of a name that changes nothing."""
    return [f"`{name}`", place, row.note, ", ".join(row.sources)]


def refused(place: str, name: str, row: Known) -> list[str]:
    """The cells of a name that is refused."""
    return [f"`{name}`", place, values(row.neutral), row.note, ", ".join(row.sources)]


CELLS = {Mapped: mapped, Harmless: harmless, Refused: refused}


def values(neutral: tuple[object, ...]) -> str:
    """Values in JSON."""
    return ", ".join(f"`{json.dumps(value)}`" for value in neutral)


def section(title: str, rows: Iterable[Iterable[str]], columns: tuple[str, ...] = COLUMNS) -> str:
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
