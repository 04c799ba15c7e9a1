"""The proof that lies beside a converted model: nitro-proof.json in a folder, MODEL.gguf.proof.json beside a file."""

from pathlib import Path
from typing import Any

import msgspec

MAX_BYTES = 2**20
IN_FOLDER, SUFFIX = "nitro-proof.json", ".proof.json"


def beside(model: Path) -> Path:
    """Where a model's proof lies."""
    return model / IN_FOLDER if model.is_dir() else model.with_name(model.name + SUFFIX)


def read(model: Path) -> dict[str, Any] | None:
    """The proof of a model; None if there is none that can be read."""
    file = beside(model)
    try:
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            return None
        content = msgspec.json.decode(file.read_bytes())
    except (OSError, ValueError, RecursionError):  # a DecodeError is a ValueError
        return None
    return content if isinstance(content, dict) else None
