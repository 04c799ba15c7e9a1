"""EXAONE 4: norms after attention and after feed-forward. Only the 32B, which llama.cpp knows by its 64 layers, has
windows; there, only layers with a window are rotated."""

from nitro.gguf.families.family import ArchitectureFamily, layer_count, windowed
from nitro.gguf.families.llama import CONFIG, DENSE
from nitro.gguf.families.olmo2 import NAMES
from nitro.gguf.header import Header, UnreadableGGUF

LAYERS_OF_32B = 64  # load_arch_hparams in llama.cpp's src/models/exaone4.cpp
WINDOW_OF_32B = 4096


def pattern(header: Header) -> str | None:
    """A letter for every layer: L for one with a window, G for one without; None where none has one. Raises
    UnreadableGGUF where llama.cpp does not follow the file."""
    if layer_count(header) == LAYERS_OF_32B:
        return "".join("L" if flag else "G" for flag in windowed(header, 4))
    if header.get("{arch}.attention.sliding_window"):
        raise UnreadableGGUF(f"{header.path} has windows, which llama.cpp uses only with {LAYERS_OF_32B} layers.")
    return None


EXAONE4 = ArchitectureFamily(
    "exaone4",
    "Exaone4ForCausalLM",
    NAMES,
    {
        **CONFIG,
        "sliding_window_pattern": pattern,
        "sliding_window": lambda header: (
            header.get("{arch}.attention.sliding_window", WINDOW_OF_32B) if pattern(header) else None
        ),
    },
    supported=DENSE,
)
