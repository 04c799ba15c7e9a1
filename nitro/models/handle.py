"""The models this server serves, and which of them a request's name means."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from nitro.engines.client.engine import Engine
from nitro.engines.sampling_defaults import NOTHING, SamplingDefaults
from nitro.engines.types import ModelInfo
from nitro.models import conversion_report
from nitro.models.catalog import ModelSource
from nitro.models.setup import Setup
from nitro.text.family import ModelFamily

log = logging.getLogger("nitro.models")


class ServedModel:
    """A model source and the engine that runs it. `template` overrides the model's own chat template, `tool_format`
    what that tells of tool calls, `defaults` the model's own for sampling."""

    def __init__(
        self,
        source: ModelSource,
        engine: Engine,
        template: str | None = None,
        tool_format: str | None = None,
        defaults: SamplingDefaults = NOTHING,
    ):
        self.source, self.engine = source, engine
        self._defaults = defaults
        self._override, self._tool_format = template, tool_format
        self._setup: Setup | None = None
        self._family: ModelFamily | None = None
        self._fingerprint = ""

    @property
    def names(self) -> tuple[str, str]:
        """What requests may call it: its id, which an alias may be, and what its file is called."""
        return self.source.id, self.source.stem

    def sampling(self, info: ModelInfo) -> SamplingDefaults:
        """For what a request leaves open."""
        return self._defaults.over(self.source.sampling).over(info.sampling)

    def template(self, info: ModelInfo) -> str | None:
        """The chat template's source; None where there is none."""
        return self._override or info.template

    def setup(self, info: ModelInfo) -> Setup:
        """What reading a request needs to know. The same object as long as the model stays loaded."""
        if self._setup is None or self._setup.info is not info:
            template = self.template(info)
            self._setup = Setup(info, list(self.names), template, self._tool_format, self.sampling(info))
            self._family = ModelFamily.of(template or "", self._tool_format)
            parts = (info.fingerprint, info.engine, template or "")
            self._fingerprint = "fp_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
        return self._setup

    def family(self, info: ModelInfo) -> ModelFamily:
        """How this model calls tools and reasons, by its chat template."""
        self.setup(info)
        assert self._family
        return self._family

    def proof(self, info: ModelInfo) -> dict[str, Any] | None:
        """What `nitro convert` or `nitro verify` found, None where nothing is known of these very weights."""
        found = conversion_report.read(Path(self.source.path))
        return found if found and found.get("fingerprint") == info.fingerprint else None

    def fingerprint(self, info: ModelInfo) -> str:
        """Changes when a seed may no longer give the same text: weights, engine version or template are others."""
        self.setup(info)
        return self._fingerprint


class ServedModels:
    """Today one model. Any name gets it, so that clients with a cloud's model name work."""

    def __init__(self, model: ServedModel):
        self.default = model
        self._told: set[str] = set()

    def note(self, name: str) -> None:
        """A request has named a model that is not ours. It is logged once."""
        if name not in self._told and len(self._told) < 100:
            self._told.add(name)
            log.warning("requests for model %r are answered by %s", name, self.default.source.id)
