"""What the reader of a request needs to know about its model: plain data, which goes to the intake process."""

from msgspec import Struct

from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.types import ModelInfo


class ModelSetup(Struct, frozen=True):
    """A model as it is loaded and served."""

    info: ModelInfo
    names: list[str]  # that requests may use
    template: str | None  # its chat template; None: it has none
    tool_template: str | None  # the one for requests with tools
    tool_format: str | None  # how it calls tools; None: as its template shows
    sampling: SamplingDefaults  # for what a request leaves open
    system: str | None = None  # the system message of a conversation that brings none
    stops: list[str] = []  # that end every answer to a conversation
    grammar: str | None = None  # holds for every answer whose request has no constraint of its own
    many: bool = False  # a request's name may mean the model or an adapter: an unknown one means none of them
