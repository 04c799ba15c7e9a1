"""What is to be converted into what, and the types there are."""

import re
from dataclasses import dataclass
from pathlib import Path

from nitro.convert.checkpoint import Checkpoint
from nitro.gguf import split_files

GROUP_SIZE = 64

NEED_IMATRIX = ("IQ3_XS", "IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ1_S", "IQ1_M", "Q2_K_S")
PLAIN = {"F32": 32.0, "F16": 16.0, "BF16": 16.0}  # bits of a weight


@dataclass(frozen=True, slots=True)
class Plan:
    """`type`: of a GGUF; `bits`, `group_size`, `recipe`, `dtype`: of MLX. None: as the source has it."""

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
    positions: int = 1000  # to prove it on

    @property
    def quantizes(self) -> bool:
        return self.to == "mlx" and (self.bits is not None or self.recipe is not None)

    @property
    def plain(self) -> str:
        """The type of the weights before they are quantised: the source's, or float16 of a quantised one."""
        return self.source.type if self.source.type in PLAIN else "F16"

    @property
    def bytes(self) -> int:
        """About what the target will take."""
        return int(self.source.parameters * self._bits() / 8)

    @property
    def scratch_bytes(self) -> int:
        """About what lies beside it meanwhile."""
        steps = (
            self.source.kind == "mlx" and self.to == "gguf",
            self.source.kind == "gguf" and self.to == "hf",
            self.source.kind != "gguf" and self.to == "gguf" and self.type not in (None, *PLAIN),
        )
        return self.between_bytes * sum(steps)

    @property
    def between_bytes(self) -> int:
        """About what one step takes that is not the last."""
        return int(self.source.parameters * PLAIN[self.plain] / 8)

    def _bits(self) -> float:
        if self.to == "gguf":
            name = self.type or self.plain
            return PLAIN.get(name) or float(re.sub(r"\D*(\d).*", r"\1", name)) + 1
        if self.quantizes:
            return (self.bits or 6) + 32 / (self.group_size or GROUP_SIZE)
        if self.to == "mlx" and self.source.kind == "gguf":
            return 8.5 if self.source.type == "Q8_0" else PLAIN.get(self.source.type, 5.0)
        return 32.0 if self.dtype == "float32" else PLAIN[self.plain]


def default_target(source: Path, to: str, type: str | None, bits: int | None) -> Path:
    """Beside the source: a folder NAME-MLX-4bit or NAME-HF, or a file NAME-Q8_0.gguf."""
    name = split_files.model_name(source.resolve().name)
    ends = {"mlx": "-MLX" + (f"-{bits}bit" if bits else ""), "hf": "-HF", "gguf": f"{f'-{type}' if type else ''}.gguf"}
    return source.resolve().parent / (name + ends[to])
