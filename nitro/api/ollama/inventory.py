"""What there is, as Ollama's API tells it: `GET /api/tags`, `GET /api/ps`, and one model for `POST /api/show`.

All of it is read from the models' own files, which may block: call it in a thread.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from nitro.api.ollama import schema
from nitro.api.ollama.model_names import listed
from nitro.engines.types import ModelInfo
from nitro.gguf import header
from nitro.models import description, digests, fact_cache
from nitro.models.facts import Facts
from nitro.models.handle import ServedModel
from nitro.models.pool_entry import PoolEntry
from nitro.text.family import ModelFamily

NEVER = timedelta(days=292 * 365)  # Go's longest duration, by which Ollama says that a model stays for ever
FORMATS = {"gguf": "gguf"}  # by ours; the others are safetensors
UNITS = (("B", 10**9, 1), ("M", 10**6, 2), ("K", 10**3, 0))
NOT_TOLD = (
    "general.name",
    header.TEMPLATE,
)  # of a file's metadata: the first Ollama leaves out, the second is `template`
OLLAMA_NAMES = {"repetition_penalty": "repeat_penalty"}

_ON_GPU = re.compile(r"(?:(\d+) of|all) (\d+) on the GPU")


def tags(entries: Iterable[PoolEntry]) -> schema.Tags:
    """The models that can be served, their adapters too, those used last first. Broken ones are not listed: clients
    offer what is."""
    found = [model for entry in entries if entry.state != "broken" for model in _listed(entry)]
    return schema.Tags(sorted(found, key=lambda model: model.modified_at, reverse=True))


def _listed(entry: PoolEntry) -> list[schema.ListedModel]:
    """A model, and what its adapters make of it."""
    source, facts = entry.wanted.source, facts_of(entry)
    model = schema.ListedModel(
        name=listed(entry.id),
        model=listed(entry.id),
        modified_at=datetime.fromtimestamp(source.created, UTC),
        size=facts.size,
        digest=digests.of(source.path),
        details=_details(facts),
    )
    details = replace(model.details, parent_model=entry.id)
    names = [(listed(adapter.name), digests.of(adapter.path)) for adapter in entry.adapters]
    adapted = [replace(model, name=name, model=name, digest=digest, details=details) for name, digest in names]
    return [model, *adapted]


def processes(entries: Iterable[PoolEntry]) -> schema.Processes:
    """The models that are loaded, those that stay longest first."""
    found = [_loaded(entry, info) for entry in entries if (info := _info(entry))]
    return schema.Processes(sorted(found, key=lambda model: model.expires_at, reverse=True))


def _loaded(entry: PoolEntry, info: ModelInfo) -> schema.LoadedModel:
    return schema.LoadedModel(
        name=listed(entry.id),
        model=listed(entry.id),
        size=entry.bytes,
        digest=digests.of(entry.wanted.source.path),
        details=_details(facts_of(entry)),
        expires_at=datetime.now(UTC) + _stays(entry),
        size_vram=on_gpu(entry.bytes, info.layers),
        context_length=info.context,
    )


def _stays(entry: PoolEntry) -> timedelta:
    """How long, if no request comes."""
    if entry.keep_alive is None or entry.keep_alive > NEVER.total_seconds():
        return NEVER
    return timedelta(seconds=max(entry.keep_alive - (entry.idle or 0.0), 0.0))


def on_gpu(size: int, layers: str) -> int:
    """How many of a model's bytes lie on a GPU. `layers`: see ModelInfo."""
    found = _ON_GPU.match(layers)
    if not found:
        return 0
    return size if found[1] is None else size * int(found[1]) // max(int(found[2]), 1)


def show(entry: PoolEntry, verbose: bool) -> schema.Shown:
    """One model. `verbose`: with long lists, and the tensors."""
    facts, info = facts_of(entry), _info(entry)
    template = _template(entry, info)
    parameters = _parameters(entry, info)
    shown = schema.Shown(
        modelfile=_modelfile(entry, parameters),
        parameters="\n".join(f"{name:<30} {value}" for name, value in parameters),
        template=template or "",
        details=_details(facts),
        model_info=_of_facts(facts),
        capabilities=_capabilities(template, entry, info),
        modified_at=datetime.fromtimestamp(entry.wanted.source.created, UTC),
    )
    if entry.wanted.source.system:
        shown.system = entry.wanted.source.system
    if facts.format == "gguf" and not facts.problem and entry.wanted.source.path:
        _add_header(shown, Path(entry.wanted.source.path), verbose)
    return shown


def facts_of(entry: PoolEntry) -> Facts:
    """What a model's files say; next to nothing where it has none, as a runner of somebody's own may have."""
    source, stored = entry.wanted.source, entry.wanted.stored
    if not source.path:
        return Facts(format="gguf")
    path = Path(source.path)
    return fact_cache.shared().get(path, stored.format if stored else "mlx" if path.is_dir() else "gguf")


def _details(facts: Facts) -> schema.Details:
    details = schema.Details(
        parent_model="",
        format=FORMATS.get(facts.format, "safetensors"),
        family=facts.architecture,
        families=[facts.architecture] if facts.architecture else [],
        parameter_size=human(facts.parameters) if facts.parameters else "",
        quantization_level=facts.quantization,
    )
    if facts.trained_context:
        details.context_length = facts.trained_context
    if facts.width:
        details.embedding_length = facts.width
    return details


def human(count: int) -> str:
    """A number of weights as Ollama writes it (format/format.go): "134.52M", "8.0B", whole ones without a fraction."""
    for unit, size, digits in UNITS:
        if count >= size:
            whole = unit != "K" and count % size == 0
            return f"{count / size:.{0 if whole else digits}f}{unit}"
    return str(count)


def _info(entry: PoolEntry) -> ModelInfo | None:
    """What the model reports, as long as it is loaded."""
    return entry.served.engine.info if entry.served and entry.state not in ("unloaded", "failed", "unloading") else None


def _template(entry: PoolEntry, info: ModelInfo | None) -> str | None:
    """The chat template that requests get: as it is served or, before it was loaded, as the file has it."""
    if entry.served and info:
        return entry.served.template(info)
    settings = entry.wanted.settings
    if settings.template is not None:
        return settings.template
    return description.template(Path(entry.wanted.source.path)) if entry.wanted.source.path else None


def _capabilities(template: str | None, entry: PoolEntry, info: ModelInfo | None) -> list[str]:
    """In Ollama's words, which has none for rerankers. Tools work with every template: a model that was not trained for
    them is told in words."""
    facts = facts_of(entry)
    if facts.embeds or (info and info.embedding and info.embedding.encoder_only):
        return ["embedding"]
    if facts.ranks or (info and not info.generates):
        return []
    found = ["completion"]
    if template is not None:
        found.append("tools")
        if ModelFamily.of(template, entry.wanted.settings.tool_format).reasoning_markers:
            found.append("thinking")
    if info and info.infill:
        found.append("insert")
    if info and info.media:
        found += [name for name, takes in (("vision", info.media.image), ("audio", info.media.audio)) if takes]
    return found


def _parameters(entry: PoolEntry, info: ModelInfo | None) -> list[tuple[str, str]]:
    """What requests get that do not say otherwise, by Ollama's names; and while it is loaded, the context."""
    served: ServedModel | None = entry.served
    source, settings = entry.wanted.source, entry.wanted.settings
    defaults = served.sampling(info) if served and info else settings.defaults.over(source.sampling)
    found = [(OLLAMA_NAMES.get(name, name), f"{value:g}") for name, value in defaults.values.items()]
    found += [("num_ctx", str(info.context))] if info else []
    return found + [("stop", f'"{stop}"') for stop in settings.stops]


def _modelfile(entry: PoolEntry, parameters: Iterable[tuple[str, str]]) -> str:
    lines = [f"FROM {listed(entry.id)}", *(f"PARAMETER {name} {value}" for name, value in parameters)]
    return "# How Nitro serves it, in the words of a Modelfile\n" + "\n".join(lines) + "\n"


def _of_facts(facts: Facts) -> dict[str, Any]:
    """What is known of every kind of file, in GGUF's names."""
    name = facts.architecture
    found = {
        "general.architecture": name,
        "general.parameter_count": facts.parameters,
        f"{name}.context_length": facts.trained_context,
        f"{name}.embedding_length": facts.width,
        f"{name}.block_count": facts.layers,
    }
    return {key: value for key, value in found.items() if value and not key.startswith(".")}


def _add_header(shown: schema.Shown, path: Path, verbose: bool) -> None:
    """Add what a GGUF's header says."""
    try:
        head = header.read_all(path, full=verbose, mapped=False)
    except (OSError, header.UnreadableGGUF):
        return
    for key, value in head.metadata.items():
        if not key.startswith(NOT_TOLD):
            shown.model_info[_text(key)] = _plain(value)
    if license := head.get("general.license"):
        shown.license = _text(str(license))
    if verbose:
        shown.tensors = [schema.Tensor(_text(n), t.type, [*reversed(t.shape)]) for n, t in head.tensors.items()]


def _plain(value: Any) -> Any:
    """A value of a file's metadata as JSON can have it: anybody may have written the file."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()
