"""What can be set for one model, by nitro.toml or by a request that loads it. The rest is as the server has it."""

from pathlib import Path
from typing import Any

from msgspec import Struct

from nitro.engines.sampling_defaults import NOTHING, SamplingDefaults


class ModelSettings(Struct, frozen=True, kw_only=True):
    """`options`: fields of EngineOptions that are set for this model. Times are seconds.

    `template`: the source of a chat template, in place of a file with one. `stops` end every answer to a conversation.
    `grammar`, in GBNF or Lark, holds for every answer whose request has no constraint of its own.
    """

    path: Path | None = None  # the file or folder that the name means; None: a store finds it
    alias: str | None = None
    options: dict[str, Any] = {}
    defaults: SamplingDefaults = NOTHING
    chat_template: Path | None = None
    template: str | None = None
    tool_format: str | None = None
    stops: tuple[str, ...] = ()
    grammar: str | None = None
    keep_alive: float | None = None  # idle time after which it is unloaded, inf: never; None: the server's
    pin: bool = False  # never unloaded to make room


AS_SERVED = ModelSettings()
