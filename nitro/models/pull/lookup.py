"""The hub's answer to a name, and what is noted once its files are here."""

from collections.abc import Sequence
from pathlib import Path

from nitro.models import fetched
from nitro.models.pull import refusals
from nitro.models.pull.hub import Hub
from nitro.models.repository import Repository

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
    """Write down that these files are this revision, and that Nitro has fetched them. Raises PullError."""
    try:
        hub.note_revision(repository, revision or NEWEST)
        fetched.add(repository.name, repository.commit, paths)
    except OSError as error:
        raise refusals.of_disk(error) from error
