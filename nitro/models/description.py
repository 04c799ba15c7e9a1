"""What `nitro list` and `nitro show` say of a model: plain data, as --json prints it."""

from pathlib import Path
from typing import Any

from msgspec import Struct

from nitro.checkpoints import files as texts
from nitro.engines.options import EngineOptions
from nitro.gguf import header
from nitro.gguf.header import UnreadableGGUF
from nitro.models import conversion_report, device_memory, fact_cache, fit, openers
from nitro.models.facts import Facts
from nitro.models.stored_model import StoredModel
from nitro.models.stores import registry
from nitro.text import reasoning, tool_formats
from nitro.text.family import ModelFamily


class Summary(Struct, frozen=True, kw_only=True):
    """A row of `nitro list`. Sizes are bytes, contexts tokens."""

    name: str
    engines: list[str]  # that open it here, the preferred first
    type: str  # its architecture and quantisation
    size: int
    context: int  # of a request, as it fits into the memory that is free now; 0: it does not fit
    trained_context: int
    store: str
    path: str
    embeds: bool = False  # it makes vectors, and no text
    ranks: bool = False  # it scores texts for a query, and makes no text
    problem: str | None = None


class Details(Struct, frozen=True, kw_only=True):
    """What `nitro show` tells. Sizes are bytes, contexts tokens."""

    name: str
    names: list[str]
    title: str  # as the file calls itself
    store: str
    path: str
    format: str
    engines: list[str]
    problem: str | None
    architecture: str
    type: str
    parameters: int
    size: int
    layers: int
    width: int
    vocabulary: int
    trained_context: int
    context: int
    kv_bytes_per_token: int
    memory_at_start: int
    memory_at_most: int
    chat_template: bool
    tool_format: str | None
    reasons: bool
    embeds: bool  # it makes vectors, and no text
    ranks: bool  # it scores texts for a query, and makes no text
    projector: str | None
    proof: dict[str, Any] | None  # what `nitro convert` or `nitro verify` found
    removable: bool


def summaries(models: list[StoredModel]) -> list[Summary]:
    """A row for each."""
    memory: dict[str, int] = {}
    return [_summary(model, memory) for model in models]


def _summary(model: StoredModel, memory: dict[str, int]) -> Summary:
    engines = openers.of(model)
    engine = next(iter(engines), "")
    if engine not in memory:
        memory[engine] = device_memory.free(model)
    context = 0 if model.problem else fit.estimate(model, EngineOptions(), memory[engine]).context
    return Summary(
        name=model.name,
        engines=[*engines],
        type=" ".join(filter(None, (model.architecture, model.quantization))),
        size=model.size,
        context=context,
        trained_context=model.trained_context,
        store=title(model),
        path=model.path,
        embeds=_facts(model).embeds,
        ranks=_facts(model).ranks,
        problem=model.problem,
    )


def _facts(model: StoredModel) -> Facts:
    return fact_cache.shared().get(Path(model.path), model.format)


def details(model: StoredModel) -> Details:
    """All that its files say."""
    about = _facts(model)
    found = fit.estimate(model, EngineOptions(), device_memory.free(model))
    found_template = template(Path(model.path))
    family = ModelFamily.of(found_template) if found_template else None
    return Details(
        name=model.name,
        names=[*model.names],
        title=about.title,
        store=title(model),
        path=model.path,
        format=model.format,
        engines=[*openers.of(model)],
        problem=model.problem,
        architecture=about.architecture,
        type=about.quantization,
        parameters=about.parameters,
        size=about.size,
        layers=about.layers,
        width=about.width,
        vocabulary=about.vocabulary,
        trained_context=about.trained_context,
        context=0 if model.problem else found.context,
        kv_bytes_per_token=found.token_bytes,
        memory_at_start=found.at_start,
        memory_at_most=found.bytes,
        chat_template=about.has_template,
        tool_format=_tool_format(family) if family and family.native_tools else None,
        reasons=bool(found_template and reasoning.detect(found_template)),
        embeds=about.embeds,
        ranks=about.ranks,
        projector=model.projector,
        proof=conversion_report.read(Path(model.path)),
        removable=model.removable,
    )


def title(model: StoredModel) -> str:
    """Where it lies, in words."""
    store = registry.find(model.store)
    return store.title if store else model.store


def template(path: Path) -> str | None:
    """The chat template in a file or folder; None where it has none, or cannot be read."""
    try:
        if path.is_dir():
            return texts.chat_templates(path, texts.read(path / "tokenizer_config.json")).get(texts.DEFAULT)
        found = header.read(path, full=False, mapped=False).get(header.TEMPLATE)
    except (OSError, ValueError, UnreadableGGUF):
        return None
    return found if isinstance(found, str) else None


def _tool_format(family: ModelFamily) -> str | None:
    return next((name for name, format in tool_formats.known().items() if format is family.format), None)
