"""The text files of a model's folder, as on the Hugging Face Hub. Knows no library."""

import json
from pathlib import Path
from typing import Any


def chat_template(folder: Path, tokenizer_config: dict[str, Any]) -> str | None:
    """The chat template: from a file of its own, or from tokenizer_config.json, alone or as one of several. None: there
    is none. Raises OSError, ValueError."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{file.name} is not UTF-8") from None
    template = tokenizer_config.get("chat_template")
    if isinstance(template, list):
        template = {entry.get("name"): entry.get("template") for entry in template}.get("default")
    return template if isinstance(template, str) else None


def token(value: Any) -> str:
    """The text of a token in tokenizer_config.json, which is a string, an object that contains it, or null."""
    return str((value.get("content") if isinstance(value, dict) else value) or "")


def read(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where the file is missing or has none. Raises OSError, ValueError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    return content if isinstance(content, dict) else {}
