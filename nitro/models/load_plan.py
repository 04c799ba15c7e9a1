"""How a model is to be loaded: what its engine starts with, and the memory that is set aside for it."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from nitro.engines.client.engine import Engine
from nitro.engines.client.spawn import SpawnedEngine
from nitro.engines.sampling_defaults import NOTHING, SamplingDefaults
from nitro.engines.types import EngineSpec
from nitro.models.model_source import ModelSource
from nitro.models.settings import ModelSettings
from nitro.models.stored_model import StoredModel


class LoadPlan(Struct, frozen=True):
    """`bytes`: what the model may take. `template` replaces its own chat template."""

    spec: EngineSpec
    bytes: int
    template: str | None = None
    defaults: SamplingDefaults = NOTHING


class Wanted(Struct, frozen=True):
    """A model that may be loaded. `stored`: as a store found it; None: it is in no store."""

    source: ModelSource
    settings: ModelSettings
    stored: StoredModel | None = None


# Looks at files, and may block. Raises NitroError where the model cannot be loaded. The number: bytes for all models.
MakePlan = Callable[[Wanted, int], LoadPlan]


class MakeEngine(Protocol):
    """An engine that has not been started."""

    def __call__(self, model: str, plan: LoadPlan, first: SpawnedEngine | None = None) -> Engine:
        """`model`: its id. `first`: a process that loads it already."""
