"""What stands in the text files of a model's folder, as the Hugging Face hub keeps them. Knows no library."""

import json
from pathlib import Path
from typing import Any


def chat_template(folder: Path, about: dict[str, Any]) -> str | None:
    """In a file of its own, or in tokenizer_config.json (`about`), alone or as one of several. Raises
    OSError, ValueError."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{file.name} is not UTF-8") from None
    template = about.get("chat_template")
    if isinstance(template, list):
        template = {entry.get("name"): entry.get("template") for entry in template}.get("default")
    return template if isinstance(template, str) else None


def token(value: Any) -> str:
    """A token of tokenizer_config.json: a string, an object that holds it, or null."""
    return str((value.get("content") if isinstance(value, dict) else value) or "")


def read(file: Path) -> dict[str, Any]:
    """An optional JSON file's object; empty where it holds none. Raises OSError, ValueError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    return content if isinstance(content, dict) else {}
