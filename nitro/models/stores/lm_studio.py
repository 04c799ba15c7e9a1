"""LM Studio's models, as LM Studio 0.3 and 0.4 store them (its documentation, "Import Models"; lmstudio.js).

    the folder that ~/.lmstudio-home-pointer names, ~/.cache/lm-studio or ~/.lmstudio
        models/PUBLISHER/REPOSITORY/…    GGUF files, with their mmproj-*.gguf, or the files of a model for MLX
        settings.json                    `downloadsFolder` may name another folder instead of models/

Older versions have settings.json in their folder of the system's settings.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from nitro.models.stored_model import StoredModel
from nitro.models.stores import repositories, walking
from nitro.models.stores.store import Found, Store

MAX_BYTES = 2**20  # of its settings


def _homes() -> list[Path]:
    home = Path.home()
    return [*_pointed(home / ".lmstudio-home-pointer"), home / ".lmstudio", home / ".cache/lm-studio"]


def _roots() -> list[Path]:
    homes = _homes()
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    places = [*homes, Path(config) / "LM Studio", Path.home() / "Library/Application Support/LM Studio"]
    chosen = [folder for place in places if (folder := _downloads(place / "settings.json"))]
    return [*dict.fromkeys([*chosen, *(home / "models" for home in homes)])]


def _find(root: Path) -> Iterator[Found]:
    for folder, _ in walking.folders(root, depth=2):
        parts = folder.relative_to(root).parts
        if len(parts) == 2:
            yield from repositories.models("/".join(parts), folder)


def _pointed(file: Path) -> list[Path]:
    text = walking.text(file, MAX_BYTES).strip()
    return [Path(text)] if text and "\0" not in text else []


def _downloads(settings: Path) -> Path | None:
    try:
        content = msgspec.json.decode(walking.text(settings, MAX_BYTES))
    except (ValueError, RecursionError):
        return None
    folder = content.get("downloadsFolder") if isinstance(content, dict) else None
    return Path(folder) if isinstance(folder, str) and folder and "\0" not in folder else None


def _removal(_model: StoredModel) -> str:
    return "lms rm, or My Models in LM Studio"


LM_STUDIO = Store(name="lm_studio", title="LM Studio", roots=_roots, find=_find, removal=_removal)
