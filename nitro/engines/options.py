"""The options that an engine is started with, each in one place: a field with its bounds and its help text. The command
line makes the flags of `nitro serve` from these fields.

An option that not every engine has is named by those that have it (`options` in backends/registry.py). Where another
engine is chosen, any value but the default is refused (backends/loading.py).
"""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, fields

LogLevel = Literal["debug", "info", "warning", "error"]
Switch = Literal["on", "off"]


class EngineOptions(Struct, frozen=True, kw_only=True):
    """What can be set for any engine, whatever its model. None: the engine decides.

    Meta's `extra` may hold a `flag` that is not named after its field, and a `form`: what a `pattern` means in words.
    """

    engine: Annotated[str, Meta(description="Inference engine")] = "auto"  # the command line adds which there are
    context: (
        Annotated[
            int,
            Meta(
                ge=16,
                description="Tokens that one request can use, prompt and answer together. "
                "Default: what the model was trained for, or what fits into memory.",
                extra={"flag": "--ctx"},
            ),
        ]
        | None
    ) = None
    parallel: Annotated[int, Meta(ge=1, le=128, description="Requests that run at the same time.")] = 8
    draft: Annotated[
        str | None,
        Meta(
            description="A smaller model with the same vocabulary, which guesses what MODEL says next. It changes the "
            "speed only."
        ),
    ] = None
    threads: Annotated[int, Meta(ge=1, description="CPU threads. Default: one per physical core.")] | None = None
    gpu_layers: (
        Annotated[int, Meta(ge=0, description="Layers to put on the GPU; 0 computes on the CPU. Default: all.")] | None
    ) = None
    require_gpu: Annotated[bool, Meta(description="Fail instead of computing on the CPU.")] = False
    deterministic: Annotated[
        bool,
        Meta(
            description="Give the same request with the same seed bitwise the same tokens and logprobs, whatever runs "
            "beside it and whatever is cached. On the CPU only, and slower."
        ),
    ] = False
    lookup: Annotated[
        Switch,
        Meta(
            description="Guess tokens from what the sequence has said before, and check several in one step where that "
            "pays. No answer changes."
        ),
    ] = "on"
    wired_limit: Annotated[
        str,
        Meta(
            pattern=r"^(off|recommended|0*[1-9][0-9]*)$",
            description="Memory of a Mac to keep wired, so that it is never swapped: off, recommended, or MiB.",
            extra={"form": "off, recommended, or a number of MiB"},
        ),
    ] = "off"
    log_level: Annotated[LogLevel, Meta(description="How much to log.")] = "info"


class Option(Struct, frozen=True):
    """A field of EngineOptions or of a struct made from it, as the command line needs it."""

    field: str
    flag: str  # "--gpu-layers"
    kind: Any  # its type without None: int, Literal["debug", …], tuple[str, ...]
    default: Any
    meta: Meta  # bounds, description, form


def options_of(struct: type[Struct]) -> list[Option]:
    """All fields of the struct that have a Meta with a description, in order."""
    options = [_option(field) for field in fields(struct)]
    return [option for option in options if option.meta.description]


def _option(field: FieldInfo) -> Option:
    kind = field.type
    meta = Meta()
    while get_origin(kind) in (Annotated, Union, UnionType):
        if get_origin(kind) is Annotated:
            kind, meta = get_args(kind)
        else:
            (kind,) = [part for part in get_args(kind) if part is not NoneType]
    named = (meta.extra or {}).get("flag") or "--" + field.name.replace("_", "-")
    return Option(field=field.name, flag=named, kind=kind, default=field.default, meta=meta)
