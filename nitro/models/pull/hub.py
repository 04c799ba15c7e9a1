"""The hub, through huggingface_hub: a repository's list of files, their bytes, and the cache that they go into.

Its own downloads (2.4.0) are not used for the bytes of large files: they do not go on where another run was ended, do
not compare hashes, and lose up to 10 MB with each cut of the connection (findings/huggingface_hub_resume.sh). Its
session, headers, names, locks and cache are.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status
from msgspec.structs import replace

from nitro import __version__
from nitro.errors import PullError
from nitro.models.repository import Repository, RepositoryFile
from nitro.system import named_faults

TIMEOUT = 30.0  # seconds of silence
MAX_TEXT = 2**22  # bytes of config.json
LIBRARY = "nitro"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Hub:
    """A hub and a cache of it. Everything raises what huggingface_hub, httpx2 and the system raise.

    `endpoint`, `token`, `cache`: huggingface_hub's own, from HF_ENDPOINT, HF_TOKEN, HF_HOME, where they are None.
    """

    def __init__(self, endpoint: str | None = None, token: str | None = None, cache: Path | None = None):
        self._endpoint, self._token = endpoint, token
        self.cache = cache or Path(constants.HF_HUB_CACHE)
        self._api = HfApi(endpoint=endpoint, token=token, library_name=LIBRARY, library_version=__version__)

    def repository(self, name: str, revision: str | None) -> Repository:
        """A repository and its files. With config.json's content, where there are weights that it describes."""
        info = self._api.model_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT)
        files = tuple(
            RepositoryFile(
                file.rfilename,
                (file.lfs.size if file.lfs else file.size) or 0,
                file.lfs.sha256 if file.lfs else None,
                file.blob_id or "",
            )
            for file in info.siblings or []
            if _is_plain(file.rfilename)
        )
        commit = info.sha or ""
        if not _COMMIT.fullmatch(commit):  # it names a folder in the cache
            raise PullError("hub", f"The hub says no commit of {name}. Check HF_ENDPOINT.")
        tags = frozenset(info.tags or ())
        found = Repository(name=name, files=files, commit=commit, tags=tags, gated=bool(info.gated))
        config = next((file for file in files if file.path == "config.json" and 0 < file.size <= MAX_TEXT), None)
        if config is None or not any(file.name.endswith(".safetensors") for file in files):
            return found
        return replace(found, config=self._read_json(found, config))

    def _read_json(self, repository: Repository, file: RepositoryFile) -> dict[str, Any]:
        with self.open(repository, file, 0, file.size) as response:
            content = response.read()
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @contextmanager
    def open(self, repository: Repository, file: RepositoryFile, start: int, stop: int) -> Iterator[httpx2.Response]:
        """The answer that brings the bytes [start, stop) of a file. The session takes the token away where the hub
        sends it on to another host."""
        url = hf_hub_url(repository.name, file.path, revision=repository.commit, endpoint=self._endpoint)
        headers = build_hf_headers(token=self._token, library_name=LIBRARY, library_version=__version__)
        headers |= {"Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
            if response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                hf_raise_for_status(response)
            yield response

    # The cache: CACHE/models--ORG--NAME/{blobs/HASH, snapshots/COMMIT/FILE, refs/REVISION}

    def folder(self, repository: Repository) -> Path:
        """A repository's folder in the cache."""
        return self.cache / repo_folder_name(repo_id=repository.name, repo_type="model")

    def blob(self, repository: Repository, key: str) -> Path:
        """Where a content with this hash lies in the cache."""
        return self.folder(repository) / "blobs" / key

    def pointer(self, repository: Repository, file: RepositoryFile) -> Path:
        """The file in the snapshot of its commit: a link to the blob, or the content itself where the file system has
        no links."""
        return self.folder(repository) / "snapshots" / repository.commit / file.path

    def lock(self, repository: Repository, key: str) -> Path:
        """The file that huggingface_hub locks while it fetches a blob."""
        return self.cache / ".locks" / self.folder(repository).name / f"{key}.lock"

    def place(self, repository: Repository, file: RepositoryFile) -> Path:
        """The file in the snapshot of its commit, once its blob is there. The library makes it, as the file system
        allows."""
        return Path(
            hf_hub_download(
                repository.name,
                file.path,
                revision=repository.commit,
                cache_dir=self.cache,
                endpoint=self._endpoint,
                token=self._token,
                library_name=LIBRARY,
                library_version=__version__,
            )
        )

    def note_revision(self, repository: Repository, revision: str) -> None:
        """Make a branch mean this commit in the cache, for those who look up files there without a network."""
        if revision == repository.commit:
            return
        ref = self.folder(repository) / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        new = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
        with named_faults.on(ref):
            new.write_text(repository.commit)
        new.replace(ref)


def _is_plain(path: str) -> bool:
    """Whether a path of a repository is one below its folder, as Git's are, and can be shown in a terminal; anybody may
    name files, and a hub may say anything."""
    return not {"", ".", ".."} & set(path.split("/")) and "\\" not in path and path.isprintable()
