"""A model that lies on this machine, as a store finds it. Nothing of it is loaded."""

from typing import Literal

from msgspec import Struct

Format = Literal["gguf", "mlx", "hf"]  # a file or its parts; a folder for MLX; a folder of the hub in another form


class StoredModel(Struct, frozen=True, kw_only=True):
    """What a store knows of a model without loading it. Sizes are bytes, contexts tokens."""

    name: str  # in the API: "org/name", "org/name:Q4_K_M", "llama3.2:3b", or a file's name without its suffix
    path: str  # the GGUF file (if it is split, its first part), or the folder
    store: str  # the name of the store that found it
    format: Format
    size: int  # of all its files
    created: int  # Unix time
    architecture: str = ""  # as the file calls it
    quantization: str = ""  # "Q4_K_M", "4-bit", "BF16"
    trained_context: int = 0
    projector: str | None = None  # the file that lets it see or hear
    names: tuple[str, ...] = ()  # other names that mean it
    problem: str | None = None  # why it cannot be served, and the cure, as a sentence; None: nothing is known
    removable: bool = False  # whether Nitro may remove it, because Nitro fetched it
