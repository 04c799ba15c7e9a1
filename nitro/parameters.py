"""What a request's parameters mean and which numbers they take: `Param` annotates the fields of request structs.

The bounds that requests are held to, the OpenAPI document and docs/parameters.md are all read from these annotations.
"""

import math
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from msgspec import Struct
from msgspec.structs import fields

from nitro.errors import ApiError

NO_LIMIT = -1  # what clients of llama-server send for "no limit"


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter's description, inclusive bounds and choices: `Annotated[int | None, Param("…", ge=1)]`.

    It takes the place of msgspec.Meta, which checks bounds while it decodes: its errors cannot say what the number was,
    it knows no -1 for "no limit", and its integers end at 64 bits.
    """

    description: str
    ge: float | None = None
    le: float | None = None
    unlimited: bool = False  # takes NO_LIMIT, too
    choices: tuple[str, ...] = ()
    capability: str | None = None  # of GET /v1/models: whether the model has it. None: every model has
    older: bool = False  # another parameter means the same, and is to be used


@cache
def parameters(struct: type[Struct]) -> Mapping[str, Any]:
    """The Param of each annotated field of a struct, in the order of the fields."""
    found = ((field.name, arg) for field in fields(struct) for arg in get_args(field.type))
    return {name: arg for name, arg in found if isinstance(arg, Param)}


@cache
def bounded(struct: type[Struct]) -> Mapping[str, Param]:
    """Those of `parameters` that have a bound."""
    return {name: p for name, p in parameters(struct).items() if p.ge is not None or p.le is not None}


def check_request(request: Struct) -> None:
    """Hold all numbers of a request to their bounds. Raises ApiError 400 for the first that is outside."""
    for name, param in bounded(type(request)).items():
        value = getattr(request, name)
        if value is not None and not (param.unlimited and value == NO_LIMIT):
            check_number(name, value, param)


def check_number(name: str, value: float, param: Param) -> None:
    """Raises ApiError 400, which calls the number `name`, where it is not finite or out of bounds."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ApiError.invalid(name, "a finite number")
    if param.ge is not None and value < param.ge:
        raise ApiError.invalid(name, f"at least {param.ge}, got {value}")
    if param.le is not None and value > param.le:
        raise ApiError.invalid(name, f"at most {param.le}, got {value}")


def check_count(name: str, items: Sized, limit: int, unit: str) -> None:
    """Raises ApiError 400 where there are more items than the limit."""
    if len(items) > limit:
        raise ApiError.invalid(name, f"at most {limit} {unit}, got {len(items)}")
