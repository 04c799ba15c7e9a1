"""What reading a request needs to know of its model: plain data, which goes to another process."""

from msgspec import Struct

from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.types import ModelInfo


class ModelSetup(Struct, frozen=True):
    """A model as it is loaded and served."""

    info: ModelInfo
    names: list[str]  # by which requests may call it
    template: str | None  # its chat template; None: it has none
    tool_format: str | None  # how it calls tools; None: its template tells
    sampling: SamplingDefaults  # for what a request leaves open
