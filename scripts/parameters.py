"""Writes docs/parameters.md from what the server itself reads: the annotations of the request structs, and the tables
of other servers' names.

Chat and text completions have the tables that all refer to. Every other protocol is a row of `PROTOCOLS`: its requests,
and what it knows of objects that no struct describes. Its section has what differs from chat completions. A test says
whether a request of a route is in none.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import fields

from nitro.api.anthropic import names as anthropic_names
from nitro.api.anthropic import requests as anthropic
from nitro.api.audio import requests as audio
from nitro.api.batches.bodies import BatchBody
from nitro.api.body_rewriting import structs_in
from nitro.api.files.part_bodies import CompleteBody, UploadBody
from nitro.api.files.schema import PartForm, UploadForm
from nitro.api.llama_server import requests as llama_server
from nitro.api.names import Harmless, Known, Mapped, Opened, Refused
from nitro.api.ollama import requests as ollama
from nitro.api.openai import requests
from nitro.api.openai.embedding_requests import EmbeddingsRequest
from nitro.api.openai.names import inside, sources, tables
from nitro.api.rerank.requests import RerankBody, ScoreBody
from nitro.api.responses import names as responses_names
from nitro.api.responses.conversation_bodies import ConversationBody
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


class Protocol(NamedTuple):
    """`requests`: by route. `places`: what is known of objects that no struct describes, by their path. `kinds`: more
    tables, with their heads: of kinds of objects, say."""

    title: str
    requests: Mapping[str, type[Struct]]
    places: Mapping[str, Mapping[str, Known]] = {}
    about: str = ""
    kinds: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {}


PROTOCOLS: list[Protocol] = [
    Protocol(
        "Messages, Anthropic's API",
        {"POST /v1/messages": anthropic.MessagesRequest},
        {"tools[]": anthropic_names.TOOL},
        about="The headers `anthropic-version` and `anthropic-beta` change nothing.",
        kinds={
            "blocks that are refused": (("type", "why, or what to do"), anthropic_names.REFUSED_BLOCKS),
            "tools that are left out, or refused": (("type", "why"), anthropic_names.OTHER_TOOLS),
        },
    ),
    Protocol(
        "Ollama's API",
        {
            "POST /api/chat": ollama.OllamaChatRequest,
            "POST /api/generate": ollama.OllamaGenerateRequest,
            "POST /api/embed": ollama.EmbedRequest,
            "POST /api/embeddings": ollama.OllamaEmbeddingsRequest,
            "POST /api/show": ollama.ShowRequest,
            "POST /api/pull": ollama.PullRequest,
            "DELETE /api/delete": ollama.ModelRequest,
        },
    ),
    Protocol("Embeddings", {"POST /v1/embeddings": EmbeddingsRequest}),
    Protocol(
        "Speech",
        {
            "POST /v1/audio/transcriptions": audio.TranscriptionRequest,
            "POST /v1/audio/translations": audio.TranslationRequest,
        },
        about=(
            "Forms (`multipart/form-data`). Names of lists end with [], as in `include[]`. `temperature` is 0 where a "
            "request does not set it, whatever the model's files recommend."
        ),
    ),
    Protocol(
        "Responses",
        {"POST /v1/responses": ResponsesRequest},
        {
            "input[]": responses_names.ITEM,
            "input[].content[]": responses_names.MEDIA_PART,
            "tools[]": responses_names.TOOL,
        },
    ),
    Protocol("Conversations", {"POST /v1/conversations": ConversationBody}),
    Protocol(
        "Files and batches",
        {
            "POST /v1/files": UploadForm,
            "POST /v1/batches": BatchBody,
            "POST /v1/uploads": UploadBody,
            "POST /v1/uploads/{upload_id}/parts": PartForm,
            "POST /v1/uploads/{upload_id}/complete": CompleteBody,
        },
        about="`POST /v1/files` and `…/parts` are forms (`multipart/form-data`): see [batches](batches.md).",
    ),
    Protocol(
        "llama-server's routes for tokens",
        {"POST /tokenize": llama_server.TokenizeRequest, "POST /detokenize": llama_server.DetokenizeRequest},
    ),
    Protocol("Reranking", {"POST /v1/rerank": RerankBody, "POST /v1/score": ScoreBody}),
    Protocol(
        "Loading models",
        {"POST /v1/models/load": requests.LoadRequest, "POST /v1/models/unload": requests.UnloadRequest},
    ),
    Protocol(
        "Loading adapters",
        {
            "POST /v1/load_lora_adapter": requests.LoadAdapterRequest,
            "POST /v1/unload_lora_adapter": requests.UnloadAdapterRequest,
        },
    ),
]
OTHERS = """## Other protocols

What their requests have otherwise than chat completions do, and which names of others they know. What is not listed
here and is a parameter of chat completions has the same name, bounds and meaning, if the text before a table names it.

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
    parts.append(OTHERS + "\n".join(text for protocol in PROTOCOLS for text in protocol_sections(protocol)))
    return "\n".join(parts)


def protocol_sections(protocol: Protocol) -> Iterator[str]:
    """A heading, and a section for each of its requests, and for the names that they know."""
    yield f"### {protocol.title}\n" + (f"\n{protocol.about}\n" if protocol.about else "")
    for route, struct in protocol.requests.items():
        params = dict(params_in(struct))
        alike = [f"`{name}`" for name, param in params.items() if requests.PARAMETERS.get(name) == param]
        rows = [row(name, param) for name, param in params.items() if requests.PARAMETERS.get(name) != param]
        head, table = section(f"{protocol.title}: {route}", rows).split("\n\n", 1)
        texts = [f"As in chat completions: {', '.join(alike)}." if alike else ""]
        yield "##" + "\n\n".join([head, *filter(None, texts), table])
    known = {(place, name): each for place, name, each in names_of(protocol)}
    for kind in (Mapped, Harmless, Refused):
        found = [(*where, each) for where, each in known.items() if isinstance(each, kind)]
        if found:
            title = f"{protocol.title}: {kind.__name__.lower()} names"
            yield "##" + section(title, map(CELLS[kind], *zip(*found, strict=True)), HEADS[kind])
    for title, (columns, kinds) in protocol.kinds.items():
        cells = ((f"`{kind}`", f"{why[:1].upper()}{why[1:].rstrip('.')}.") for kind, why in kinds.items())
        yield "##" + section(f"{protocol.title}: {title}", cells, columns)


def params_in(
    struct: type[Struct], path: str = "", above: tuple[type[Struct], ...] = ()
) -> Iterator[tuple[str, Param]]:
    """The parameters of a struct, each with its path, and those of the structs in it."""
    own = parameters(struct)
    for field in fields(struct):
        name = f"{path}.{field.name}" if path else field.name
        if field.name in own:
            yield name, own[field.name]
        of_list = "[]" if "list[" in str(field.type) else ""
        for inner in dict.fromkeys(structs_in(field.type)):
            if inner not in (struct, *above):
                yield from params_in(inner, name + of_list, (struct, *above))


def names_of(protocol: Protocol) -> Iterator[tuple[str, str, Known]]:
    """The rows of its tables that chat completions do not have, with the route or path where they stand."""
    for route, struct in protocol.requests.items():
        place = route if len(protocol.requests) > 1 else ""
        for path, name, each in names_in(struct):
            if path or tables.CHAT.get(name) != each:
                yield from within(place, f"{path}.{name}" if path else name, each)
    for path, table in protocol.places.items():
        for name, each in table.items():
            yield from within("", f"{path}.{name}", each)


def names_in(
    struct: type[Struct], path: str = "", above: tuple[type[Struct], ...] = ()
) -> Iterator[tuple[str, str, Known]]:
    """The rows of a struct's table and of those of the structs in it: path, name, row."""
    for name, each in getattr(struct, "known", {}).items():
        yield path, name, each
    for field in fields(struct):
        for inner in dict.fromkeys(structs_in(field.type)):
            if inner not in (struct, *above):
                of_list = "[]" if "list[" in str(field.type) else ""
                below = f"{path}.{field.name}{of_list}" if path else f"{field.name}{of_list}"
                yield from names_in(inner, below, (struct, *above))


def known_names() -> Iterator[tuple[str, str, Known]]:
    """Every row of the tables: where its name stands, the name, and the row."""
    routes = {"chat": tables.CHAT, "text": tables.COMPLETION}
    for name in sorted({**tables.CHAT, **tables.COMPLETION}):
        rows = {route: table[name] for route, table in routes.items() if name in table}
        if len({id(row) for row in rows.values()}) == 1 and len(rows) == 2:
            rows = {"": rows["chat"]}
        for route, row in rows.items():
            yield from within(route, name, row)
    for place, table in PLACES.items():
        for name, row in table.items():
            yield from within("", f"{place}.{name}", row)


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
    "messages[].content[].image_url": inside.IMAGE_URL,
    "messages[].tool_calls[]": inside.TOOL_CALL.known,
    "messages[].tool_calls[].function": inside.CALLED_FUNCTION.known,
    "stream_options": inside.STREAM_OPTIONS,
    "tools[]": inside.TOOL.known,
    "tools[].function": inside.FUNCTION.known,
    "tool_choice": inside.TOOL_CHOICE.known,
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
