"""What is to be converted into what, and how large it will be."""

import re
from dataclasses import dataclass
from pathlib import Path

from nitro.convert.checkpoint import Checkpoint
from nitro.gguf import split_files

GROUP_SIZE = 64  # weights that share a scale, unless --group-size says otherwise

NEED_IMATRIX = ("IQ3_XS", "IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ1_S", "IQ1_M", "Q2_K_S")
UNQUANTIZED_BITS = {"F32": 32.0, "F16": 16.0, "BF16": 16.0}


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """One conversion. `to`: "gguf", "hf" or "mlx". `type` and `imatrix` are for a GGUF, or for an MLX folder in its
    blocks; `bits`, `group_size`, `recipe` and `dtype` for MLX's own layouts. None: as in the source."""

    source: Checkpoint
    to: str
    target: Path
    type: str | None = None
    bits: int | None = None
    group_size: int | None = None
    recipe: str | None = None
    dtype: str | None = None
    imatrix: Path | None = None
    force: bool = False
    positions: int = 1000  # of texts, compared in the proof

    @property
    def quantizes(self) -> bool:
        """Does mlx-lm quantise the weights?"""
        return self.to == "mlx" and (self.bits is not None or self.recipe is not None)

    @property
    def in_blocks(self) -> bool:
        """Do the weights of an MLX folder stay in a GGUF's blocks?"""
        return self.to == "mlx" and self.type is not None

    @property
    def unquantized_type(self) -> str:
        """The type of the weights before they are quantised: the source's, or F16 where the source is quantised."""
        return self.source.type if self.source.type in UNQUANTIZED_BITS else "F16"

    @property
    def bytes(self) -> int:
        """The approximate size of the target."""
        return int(self.source.parameters * self._bits() / 8)

    @property
    def scratch_bytes(self) -> int:
        """The approximate size of temporary files beside the target."""
        steps = (
            self.source.kind == "mlx" and self.to == "gguf",
            self.source.kind == "gguf" and self.to == "hf",
            self.source.kind != "gguf" and self.type not in (None, *UNQUANTIZED_BITS),
            self.in_blocks and self.source.type in UNQUANTIZED_BITS,
        )
        return self.intermediate_bytes * sum(steps)

    @property
    def intermediate_bytes(self) -> int:
        """The approximate size of the result of a step that is not the last."""
        return int(self.source.parameters * UNQUANTIZED_BITS[self.unquantized_type] / 8)

    def _bits(self) -> float:
        if self.to == "gguf" or self.in_blocks:
            name = self.type or self.unquantized_type
            return UNQUANTIZED_BITS.get(name) or float(re.sub(r"\D*(\d).*", r"\1", name)) + 1
        if self.quantizes:
            return (self.bits or 6) + 32 / (self.group_size or GROUP_SIZE)
        if self.to == "mlx" and self.source.kind == "gguf":
            return 8.5 if self.source.type == "Q8_0" else UNQUANTIZED_BITS.get(self.source.type, 5.0)
        return 32.0 if self.dtype == "float32" else UNQUANTIZED_BITS[self.unquantized_type]


def default_target(source: Path, to: str, type: str | None, bits: int | None) -> Path:
    """The target beside the source: a folder NAME-MLX-4bit or NAME-HF, or a file NAME-Q8_0.gguf."""
    name = split_files.model_name(source.resolve().name)
    endings = {
        "mlx": "-MLX" + (f"-{bits}bit" if bits else "") + (f"-{type}" if type else ""),
        "hf": "-HF",
        "gguf": f"{f'-{type}' if type else ''}.gguf",
    }
    return source.resolve().parent / (name + endings[to])
