"""A model that is served: its engine, while it has one, and what is made of its template."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nitro.engines.adapters import AdapterSet
from nitro.engines.client.engine import Engine
from nitro.engines.sampling_defaults import NOTHING, SamplingDefaults
from nitro.engines.shares import FLEX, Tier
from nitro.engines.types import ModelInfo
from nitro.models import conversion_report
from nitro.models.model_source import ModelSource
from nitro.models.setup import ModelSetup
from nitro.text.family import ModelFamily


class ServedModel:
    """A model and the engine that runs it, or that ran it last: each load brings another engine.

    `template` replaces the model's own chat template, `tool_format` the format of tool calls that the template shows,
    `defaults` the model's own sampling defaults. `stops`, `grammar`: see ModelSettings.
    """

    def __init__(
        self,
        source: ModelSource,
        engine: Engine,
        template: str | None = None,
        tool_format: str | None = None,
        defaults: SamplingDefaults = NOTHING,
        stops: Sequence[str] = (),
        grammar: str | None = None,
    ):
        self.source, self.engine = source, engine
        self.leases = 0  # how many generations need it now
        self._flex_leases = 0  # of these, of the tier flex
        self._defaults = defaults
        self._stops, self._grammar = list(stops), grammar
        self._override, self._tool_format = template, tool_format
        self._info: ModelInfo | None = None  # that was seen last
        self._setup: ModelSetup | None = None
        self._families: tuple[ModelFamily, ModelFamily] | None = None  # without tools, with tools
        self._fingerprint = ""
        self._adapted = False  # whether it has, or has had, adapters

    def lend(self, tier: Tier) -> None:
        """One lease more."""
        self.leases += 1
        self._flex_leases += tier == FLEX

    def take_back(self, tier: Tier) -> None:
        """One lease less."""
        self.leases -= 1
        self._flex_leases -= tier == FLEX

    @property
    def in_use(self) -> bool:
        """Whether somebody above the tier flex has it."""
        return self.leases > self._flex_leases

    def same(self, other: "ServedModel") -> bool:
        """Whether both are served alike, by whatever engine."""
        return self.source == other.source and self._made_with == other._made_with

    @property
    def _made_with(self) -> tuple[Any, ...]:
        return self._override, self._tool_format, self._defaults, self._stops, self._grammar

    @property
    def names(self) -> tuple[str, str]:
        """The names that requests may use: its id, which may be an alias, and its file's name."""
        return self.source.id, self.source.stem

    def sampling(self, info: ModelInfo) -> SamplingDefaults:
        """Sampling defaults for what a request leaves open."""
        return self._defaults.over(self.source.sampling).over(info.sampling)

    @property
    def system(self) -> str | None:
        """The system message of a conversation that brings none; None: as the chat template has it. It stands in for
        the model's own template's, so that another template goes without."""
        return None if self._override else self.source.system

    def template(self, info: ModelInfo, with_tools: bool = False) -> str | None:
        """The source of the chat template, for requests with tools or without; None if there is none."""
        of_tools = info.tool_template if with_tools or info.template is None else None
        return self._override or of_tools or info.template

    def setup(self, info: ModelInfo) -> ModelSetup:
        """What the reader of a request needs to know. The same object as long as the model stays the same, whatever
        engine has loaded it."""
        if self._info is not info:
            if self._info != info:
                self._setup = None
            self._info = info
            self._adapted = self._adapted or bool(info.adapters)
        if self._setup is None:
            templates = self.template(info), self.template(info, with_tools=True)
            self._setup = ModelSetup(
                info,
                list(self.names),
                *templates,
                self._tool_format,
                self.sampling(info),
                self.system,
                self._stops,
                self._grammar,
                self._adapted,
            )
            plain, with_tools = (ModelFamily.of(template or "", self._tool_format) for template in templates)
            self._families = plain, with_tools
            sources = [template or "" for template in dict.fromkeys(templates)]
            parts = [info.fingerprint, info.engine, *sources, *([self.system] if self.system else [])]
            self._fingerprint = _hash(parts)
        return self._setup

    def family(self, info: ModelInfo, with_tools: bool) -> ModelFamily:
        """How this model calls tools and reasons, according to its chat template for requests with tools or without."""
        self.setup(info)
        assert self._families
        return self._families[with_tools]

    def proof(self, info: ModelInfo) -> dict[str, Any] | None:
        """What `nitro convert` or `nitro verify` found; None if nothing is known about exactly these weights."""
        found = conversion_report.read(Path(self.source.path))
        return found if found and found.get("fingerprint") == info.fingerprint else None

    def fingerprint(self, info: ModelInfo, adapters: AdapterSet = ()) -> str:
        """Changes with the weights, those of the adapters that are applied too, the engine's version, the template and
        the default system message: then a seed may give another text."""
        self.setup(info)
        if not adapters:
            return self._fingerprint
        weights = {each.id: each.fingerprint for each in info.adapters}
        parts = [self._fingerprint, *(f"{weights.get(id)}*{scale}" for id, scale in adapters)]
        return _hash(parts)


def _hash(parts: list[str]) -> str:
    return "fp_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
