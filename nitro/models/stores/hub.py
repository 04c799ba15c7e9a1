"""The cache of the Hugging Face hub, which Nitro fetches into and many programs share, as huggingface_hub 0.20 to 2
keep it; llama.cpp does since 2026 (common/hf-cache.cpp).

    $HF_HUB_CACHE, or $HUGGINGFACE_HUB_CACHE, or $HF_HOME/hub, or huggingface/hub in $XDG_CACHE_HOME or ~/.cache
        models--ORG--NAME/refs/main                  the commit
        models--ORG--NAME/snapshots/COMMIT/…         the repository's files, links to blobs (or files, without links)
        models--ORG--NAME/blobs/ETAG                 and ETAG.….incomplete while one is fetched
"""

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from nitro.models import fetched
from nitro.models.stored_model import StoredModel
from nitro.models.stores import repositories
from nitro.models.stores.folder import is_weights
from nitro.models.stores.model_files import UNFINISHED
from nitro.models.stores.store import Found, Store

PREFIX, SEPARATOR = "models--", "--"
MAX_COMMIT = 200  # bytes of refs/main


def cache() -> Path:
    """The folder of the cache, which need not exist."""
    for variable, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if value := os.environ.get(variable):
            return Path(value).expanduser().absolute() / below
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "huggingface/hub"


def find(root: Path) -> Iterator[Found]:
    """The models of every repository in a cache, at its newest commit. Half-fetched ones have a problem."""
    records, begun = fetched.read(), fetched.begun()
    for folder in sorted(root.glob(f"{PREFIX}*")):
        repository = repository_in(folder)
        ours = records.get(repository, frozenset())
        command = _command(begun.get(repository, repository))
        snapshot = _snapshot(folder)
        unfinished = _unfinished(folder)
        any_whole = False
        for found in repositories.models(repository, snapshot) if snapshot else ():
            any_whole = True
            problem = found.problem or _missing(command, found, unfinished)
            yield replace(found, problem=problem, removable=_is_ours(found.path, ours))
        if unfinished and not any_whole:
            partial = any(name.endswith(fetched.PARTIAL) for name in unfinished)
            problem = f"It is half fetched; `{command}` fetches the rest" + (
                f", and `nitro rm {repository}` removes what is here." if partial else "."
            )
            yield Found(name=repository, path=snapshot or folder, problem=problem, removable=partial)


def _command(name: str) -> str:
    """That fetches a repository, or a model in it. `nitro pull` wants an owner, which old repositories have not."""
    return f"nitro pull {name}" if "/" in name else f"hf download {name}"


def repository_in(folder: Path) -> str:
    """The repository that a folder of the cache is of: "org/name" of models--org--name."""
    return folder.name.removeprefix(PREFIX).replace(SEPARATOR, "/", 1)


def _is_ours(path: Path, fetched: frozenset[str]) -> bool:
    """Whether Nitro has fetched a model: its file, or all weights in its folder."""
    if str(path) in fetched or not os.path.isdir(path):
        return str(path) in fetched
    try:
        return all(str(file) in fetched for file in path.iterdir() if is_weights(file.name))
    except OSError:
        return False


def _missing(command: str, found: Found, unfinished: list[str]) -> str | None:
    """A link whose blob is gone."""
    if os.path.exists(found.path):
        return None
    how = "is half fetched" if unfinished else "has lost its blob"
    return f"{found.path.name} {how}; `{command}` fetches it."


def _unfinished(folder: Path) -> list[str]:
    try:
        return [blob.name for blob in (folder / "blobs").iterdir() if blob.name.endswith(UNFINISHED)]
    except OSError:
        return []


def _snapshot(folder: Path) -> Path | None:
    """That of the main branch, else the newest."""
    snapshots = folder / "snapshots"
    try:
        ref = folder / "refs/main"
        commit = ref.read_text().strip() if ref.is_file() and ref.stat().st_size <= MAX_COMMIT else ""
        if commit and Path(commit).name == commit and os.path.isdir(snapshots / commit):
            return snapshots / commit
        found = [snapshot for snapshot in snapshots.iterdir() if os.path.isdir(snapshot)]
        return max(found, key=lambda snapshot: snapshot.stat().st_mtime, default=None)
    except (OSError, ValueError):
        return None


def _removal(model: StoredModel) -> str:
    return f"hf cache rm model/{model.name.partition(':')[0]}"


HUB = Store(name="hub", title="the Hugging Face cache", roots=lambda: [cache()], find=find, removal=_removal)
