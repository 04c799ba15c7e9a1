"""Jan's models, as Jan 0.6 and later store them (extensions/llamacpp-extension, src-tauri/src/core/app/commands.rs),
and as cortex.cpp and Jan until 0.5 did.

    $JAN_DATA_FOLDER, or `data_folder` of Jan/settings.json in the system's data folder, or Jan/data there
        llamacpp/models/ID/model.yml    `model_path` and `mmproj_path`, absolute or from the data folder on; ID may have
                                        folders, as in "org/name"
        models/…/NAME.yml               until 0.5: `files`, absolute or from the data folder on; `model` is the name
    ~/cortexcpp                         cortex.cpp itself: as until 0.5

Of YAML only what stands there is read: keys with a text or a list of texts.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from nitro.gguf import split_files
from nitro.models.stored_model import StoredModel
from nitro.models.stores import walking
from nitro.models.stores.store import Found, Store

MAX_BYTES = 2**16  # of one YAML file
SETTINGS = "settings.json"
NEW, OLD = "llamacpp/models", "models"
ANY = "model"  # what Jan calls the file of every model


def _roots() -> list[Path]:
    return [_data_folder(), Path.home() / "cortexcpp"]


def _data_folder() -> Path:
    if chosen := os.environ.get("JAN_DATA_FOLDER"):
        return Path(chosen)
    mac = sys.platform == "darwin"
    usual = Path.home() / ("Library/Application Support" if mac else ".local/share")
    home = Path(("" if mac else os.environ.get("XDG_DATA_HOME")) or usual) / "Jan"
    try:
        content = msgspec.json.decode(walking.text(home / SETTINGS, MAX_BYTES))
        folder = content.get("data_folder") if isinstance(content, dict) else None
    except (ValueError, RecursionError):
        folder = None
    return Path(folder) if isinstance(folder, str) and folder and "\0" not in folder else home / "data"


def _find(root: Path) -> Iterator[Found]:
    for folder, names in walking.folders(root / NEW):
        if "model.yml" in names:
            yield from _model(root, folder / "model.yml", folder.relative_to(root / NEW).as_posix())
    for folder, names in walking.folders(root / OLD):
        for name in names:
            if name.endswith((".yml", ".yaml")):
                yield from _model(root, folder / name, "")


def _model(root: Path, file: Path, id: str) -> Iterator[Found]:
    content = read_yaml(walking.text(file, MAX_BYTES))
    weights = content.get("model_path") or content.get("files") or []
    first = min(weights, default="")  # of a split model the first part
    if not first or "\0" in first:
        return
    path = _absolute(root, first)
    name = id or next(iter(content.get("model", [])), "") or split_files.model_name(path.name)
    projector = next(iter(content.get("mmproj_path", [])), "")
    stem = split_files.model_name(path.name)
    titles = [*content.get("name", []), *content.get("model", []), *([stem] if stem != ANY else [])]
    missing = f"{path} is missing, which {file} names; fetch it again in Jan."
    yield Found(
        name=name,
        names=tuple(title for title in dict.fromkeys(titles) if title != name),
        path=path,
        projector=_absolute(root, projector) if projector else None,
        problem=None if os.path.exists(path) else missing,
    )


def read_yaml(text: str) -> dict[str, list[str]]:
    """The texts of each key on the first level: one, or those of a list."""
    found: dict[str, list[str]] = {}
    key = ""
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith("- ") and key:
            found[key].append(_scalar(bare[2:]))
        elif line[:1] not in ("", " ", "\t", "#", "-") and ":" in line:
            key, _, value = line.partition(":")
            found[key] = [_scalar(value)] if _scalar(value) else []
    return found


def _scalar(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return f" {text}".partition(" #")[0].strip()


def _absolute(root: Path, path: str) -> Path:
    return root / path  # an absolute one stays


def _removal(_model: StoredModel) -> str:
    return "Settings, Model Providers, Llama.cpp in Jan"


JAN = Store(name="jan", title="Jan", roots=_roots, find=_find, removal=_removal)
