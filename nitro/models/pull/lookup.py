"""The hub's answer to a name, and what is noted once its files are here."""

from collections.abc import Sequence
from pathlib import Path

from nitro.models import fetched
from nitro.models.pull import refusals
from nitro.models.pull.hub import Hub
from nitro.models.pull.partial import key
from nitro.models.repository import Repository, RepositoryFile

NEWEST = "main"


def repository(hub: Hub, name: str, revision: str | None) -> Repository:
    """A repository at a revision, "main" by default. Raises PullError."""
    try:
        return hub.repository(name, revision)
    except Exception as error:
        if refusal := refusals.of(error, name, revision):
            raise refusal from error
        raise


def note(hub: Hub, repository: Repository, revision: str | None, paths: Sequence[Path]) -> None:
    """Write down that these files are this revision, and that Nitro has fetched them. Files of the repository that
    earlier pulls have fetched and that it still has come along: only the newest commit of a repository is looked at.
    Raises PullError."""
    try:
        kept = [hub.place(repository, file) for file in _kept(hub, repository, set(paths))]
        hub.note_revision(repository, revision or NEWEST)
        fetched.add(repository.name, repository.commit, [*paths, *kept])
    except Exception as error:
        if refusal := refusals.of(error, repository.name, revision):
            raise refusal from error
        raise


def _kept(hub: Hub, repository: Repository, paths: set[Path]) -> list[RepositoryFile]:
    """What Nitro has fetched of other commits, and is the same in this one."""
    snapshots = hub.folder(repository) / "snapshots"
    ours = {_in_repository(Path(file), snapshots) for file in fetched.read().get(repository.name, ())}
    return [
        file
        for file in repository.files
        if file.path in ours and hub.pointer(repository, file) not in paths and hub.blob(repository, key(file)).exists()
    ]


def _in_repository(file: Path, snapshots: Path) -> str:
    """The path of a file in its repository, without the commit; empty where it lies in another cache."""
    if not file.is_relative_to(snapshots):
        return ""
    return "/".join(file.relative_to(snapshots).parts[1:])
