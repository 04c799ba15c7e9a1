"""The models this server serves, and which of them a request's name means."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from nitro.engines.client import Engine
from nitro.engines.defaults import NOTHING, SamplingDefaults
from nitro.engines.types import ModelInfo
from nitro.errors import TemplateError
from nitro.models import proof
from nitro.models.source import ModelSource
from nitro.text.family import Family
from nitro.text.template import ChatTemplate

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
        self._compiled: ChatTemplate | None = None

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

    def chat_template(self, info: ModelInfo) -> ChatTemplate:
        """Raises TemplateError where the model has none, or one that is not valid."""
        source = self.template(info)
        if source is None:
            raise TemplateError("The model has no chat template; start the server with --chat-template FILE.")
        if self._compiled is None or self._compiled.source != source:
            self._compiled = ChatTemplate(source, info.bos, info.eos)
        return self._compiled

    def family(self, info: ModelInfo) -> Family:
        """How this model calls tools and reasons, by its chat template."""
        return Family.of(self.template(info) or "", self._tool_format)

    def proof(self, info: ModelInfo) -> dict[str, Any] | None:
        """What `nitro convert` or `nitro verify` found, None where nothing is known of these very weights."""
        found = proof.read(Path(self.source.path))
        return found if found and found.get("fingerprint") == info.fingerprint else None

    def fingerprint(self, info: ModelInfo) -> str:
        """Changes when a seed may no longer give the same text: weights, engine version or template are others."""
        parts = (info.fingerprint, info.engine, self.template(info) or "")
        return "fp_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


class ServedModels:
    """Today one model. Any name gets it, so that clients with a cloud's model name work."""

    def __init__(self, model: ServedModel):
        self.default = model
        self._told: set[str] = set()

    def find(self, name: str | None) -> tuple[ServedModel, bool]:
        """The model, and whether `name` is known: one of the model's, or none at all."""
        known = name in (None, "", *self.default.names)
        if name and not known and name not in self._told and len(self._told) < 100:
            self._told.add(name)
            log.warning("requests for model %r are answered by %s", name, self.default.source.id)
        return self.default, known
