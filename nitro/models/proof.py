"""The proof that lies beside a converted model: nitro-proof.json in a folder, MODEL.gguf.proof.json beside a file."""

import json
from pathlib import Path
from typing import Any

IN_FOLDER, SUFFIX = "nitro-proof.json", ".proof.json"


def beside(model: Path) -> Path:
    """Where a model's proof lies."""
    return model / IN_FOLDER if model.is_dir() else model.with_name(model.name + SUFFIX)


def read(model: Path) -> dict[str, Any] | None:
    """None where there is none that can be read."""
    try:
        content = json.loads(beside(model).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
