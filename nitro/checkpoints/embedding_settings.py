"""What sentence-transformers' files in a model's folder say of its embeddings.

`config_sentence_transformers.json`: {"prompts": {"query": "query: ", …}, "default_prompt_name": null | "query"}
`config.json`: {"is_matryoshka": true, "matryoshka_dimensions": [64, 128]}, as vLLM reads them, the latter Jina's
"""

import logging
from pathlib import Path
from typing import Any

from msgspec import Struct

from nitro.checkpoints import files

log = logging.getLogger("nitro.engine")

FILE = "config_sentence_transformers.json"


class EmbeddingSettings(Struct, frozen=True):
    """Fields: see EmbeddingInfo."""

    prefixes: dict[str, str] = {}
    default_prefix: str = ""
    dimensions: list[int] | None = None


NOTHING = EmbeddingSettings()


def beside(file: Path) -> EmbeddingSettings:
    """For a file of weights that lies in a folder with sentence-transformers' configuration. What is not there, or
    cannot be read, says nothing."""
    try:
        return read(file.parent) if (file.parent / FILE).is_file() else NOTHING
    except (OSError, ValueError) as error:
        log.warning("%s is left out: %s", file.parent / FILE, error)
        return NOTHING


def read(folder: Path) -> EmbeddingSettings:
    """What is not there, or has another form, says nothing. Raises OSError, ValueError."""
    return of(files.read(folder / FILE), files.read(folder / "config.json"))


def of(sentences: dict[str, Any], config: dict[str, Any]) -> EmbeddingSettings:
    """From the contents of both files."""
    given = sentences.get("prompts")
    prompts = given if isinstance(given, dict) else {}
    prefixes = {str(name): text for name, text in prompts.items() if isinstance(text, str)}
    if not any(prefixes.values()):  # sentence-transformers writes empty ones for a model that needs none
        prefixes = {}
    default = sentences.get("default_prompt_name")
    return EmbeddingSettings(prefixes, prefixes.get(default, "") if isinstance(default, str) else "", _lengths(config))


def _lengths(config: dict[str, Any]) -> list[int] | None:
    given = config.get("matryoshka_dimensions")
    if isinstance(given, list) and given:
        return sorted({length for length in given if isinstance(length, int) and length > 0})
    return [] if config.get("is_matryoshka") is True else None
