"""Names of models as Ollama's clients write them: each has a tag, which is `latest` where it says nothing."""

from nitro.models.names import HUB_HOSTS, LATEST


def listed(id: str) -> str:
    """A model's id with a tag. Clients look for "NAME:latest" in lists where a user has written "NAME"."""
    return id if ":" in id.rpartition("/")[2] else id + LATEST


def of_hub(name: str) -> str:
    """The name of a model of the hub, as `nitro pull` takes it."""
    host = next((host for host in HUB_HOSTS if name.casefold().startswith(host)), "")
    return name[len(host) :].removesuffix(LATEST)
