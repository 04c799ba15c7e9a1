"""Tools that a model may call, and the calls it makes, whatever its family writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Malformed(Exception):
    """What stands where calls should be is none."""


class Unfinished(Malformed):
    """It is none yet; more text could make it one."""


class Followed(Malformed):
    """There are calls, and behind them something else."""

    def __init__(self, calls: "list[Call]", rest: str):
        super().__init__("something follows the calls")
        self.calls, self.rest = calls, rest


@dataclass(frozen=True, slots=True)
class Tool:
    """A function. `strict`: its calls keep the schema of its parameters, for certain."""

    name: str
    parameters: dict[str, Any]  # a JSON schema of an object
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: str  # JSON, an object


Tools = Mapping[str, Tool]  # by name
