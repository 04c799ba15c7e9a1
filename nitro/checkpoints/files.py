"""The text files of a model's folder, as on the Hugging Face Hub. Knows no library."""

import json
from pathlib import Path
from typing import Any

DEFAULT, TOOL_USE = "default", "tool_use"  # names of chat templates: for all requests, and for those with tools
DEFAULT_FILE = "chat_template.jinja"
OTHERS_FOLDER = "additional_chat_templates"  # each named after its template


def chat_templates(folder: Path, tokenizer_config: dict[str, Any]) -> dict[str, str]:
    """The chat templates by name: those of tokenizer_config.json, which has one or a list, and over them those that
    have files. Raises OSError, ValueError."""
    listed = tokenizer_config.get("chat_template")
    entries = listed if isinstance(listed, list) else [{"name": DEFAULT, "template": listed}]
    found = {entry.get("name"): entry.get("template") for entry in entries if isinstance(entry, dict)}
    files = {DEFAULT: folder / DEFAULT_FILE} | {file.stem: file for file in (folder / OTHERS_FOLDER).glob("*.jinja")}
    found |= {name: _text(file) for name, file in files.items() if file.is_file()}
    return {name: text for name, text in found.items() if isinstance(name, str) and isinstance(text, str)}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{file.name} is not UTF-8") from None


def token(value: Any) -> str:
    """The text of a token in tokenizer_config.json, which is a string, an object that contains it, or null."""
    return str((value.get("content") if isinstance(value, dict) else value) or "")


def read(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where the file is missing or has none. Raises OSError, ValueError."""
    content = _json(file)
    return content if isinstance(content, dict) else {}


def read_list(file: Path) -> list[dict[str, Any]]:
    """The objects in a JSON file that is a list; none where it is missing, or no list. Raises OSError, ValueError."""
    content = _json(file)
    return [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
