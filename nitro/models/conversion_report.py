"""The proof of a conversion, stored with the converted model: nitro-proof.json in its folder, MODEL.gguf.proof.json
beside its file."""

from pathlib import Path
from typing import Any

import msgspec

MAX_BYTES = 2**20
IN_FOLDER, SUFFIX = "nitro-proof.json", ".proof.json"


def path_for(model: Path) -> Path:
    """Where a model's proof is stored."""
    return model / IN_FOLDER if model.is_dir() else model.with_name(model.name + SUFFIX)


def read(model: Path) -> dict[str, Any] | None:
    """The proof of a model; None if there is none that can be read."""
    file = path_for(model)
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            return None
        content = msgspec.json.decode(file.read_bytes())
    except (OSError, ValueError, RecursionError):  # a DecodeError is a ValueError
        return None
    return content if isinstance(content, dict) else None
