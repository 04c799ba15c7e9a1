"""What an engine process has apart: its processes, and the limits of what they do."""

from dataclasses import dataclass
from typing import Self

from nitro.engines.options import EngineOptions
from nitro.engines.runner import Tokenizer
from nitro.engines.types import ModelInfo
from nitro.engines.worker.apart.processes import Processes
from nitro.engines.worker.apart.questions import Limits


@dataclass(frozen=True, slots=True)
class Apart:
    """For one model."""

    processes: Processes
    compiling: Limits
    tokenizing: Limits

    @classmethod
    def of(cls, tokenizer: Tokenizer, info: ModelInfo, options: EngineOptions) -> Self | None:
        """None where the tokenizer has no recipe: then all is done in the engine process, without limits."""
        recipe = getattr(tokenizer, "recipe", None)
        if recipe is None:
            return None
        compiling = Limits("compile", options.compile_seconds, options.compile_memory)
        return cls(
            Processes(recipe, info), compiling, Limits("tokenize", options.tokenize_seconds, options.tokenize_memory)
        )
