"""What two engines have in common, of which one may use what the other has computed."""

import hashlib
from typing import Any

from nitro import __version__
from nitro.engines.options import EngineOptions, options_of

FORM = "1"  # changes with the form of files, and with the way in which what slots hold is computed
# Options that change nothing of what a slot holds. Any other one, a new one too, makes it another engine's.
HARMLESS = frozenset(
    {
        "engine",  # its name and version are among the runner's own parts
        "context",
        "parallel",
        "draft",
        "lora",
        "mmproj",
        "image_max_tokens",
        "threads",
        "require_gpu",
        "insecure_network",
        "rpc_insecure_network",
        "lookup",
        "wired_limit",
        "mlock",
        "engine_memory",  # how much there may be, as of context and parallel
        "compile_seconds",
        "compile_memory",
        "tokenize_seconds",
        "tokenize_memory",
        "log_level",
    }
)


def of(options: EngineOptions, parts: list[str], weights: str) -> str:
    """64 hexadecimal digits. `parts`: the runner's own (`Saving.parts`). `weights`: their digest."""
    settings = [_setting(option.field, options) for option in options_of(EngineOptions) if option.field not in HARMLESS]
    lines = [FORM, __version__, weights, *settings, *parts]
    return hashlib.sha256("\n".join(map(repr, lines)).encode()).hexdigest()


def _setting(name: str, options: EngineOptions) -> str:
    value: Any = getattr(options, name)
    return f"{name}={value!r}"
