"""Who answers: the server that runs here, if it has the model, or one that is started for it."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nitro.chat.client import Client, Refused
from nitro.chat.own_server import OwnServer
from nitro.errors import ChatError
from nitro.system.http_clients import SYSTEM, Trust

LOCKED = (401, 403)
MAX_NAMES = 12  # that a message lists


@dataclass(frozen=True)
class Wanted:
    """What somebody asked for. `url`: a server that must be used; None: the one at `usual_url`, or one of our own."""

    name: str | None
    url: str | None
    usual_url: str
    api_key: str | None = None
    config: Path | None = None  # file with settings for a server of our own
    trust: Trust = SYSTEM  # whom to believe that it is the server


@dataclass
class Connection:
    """A client, and the name of the model that it asks for; "": the server's default."""

    client: Client
    model: str
    own: OwnServer | None = None  # that was started for this chat

    @property
    def is_own(self) -> bool:
        """Whether the server ends with this chat."""
        return self.own is not None


@contextlib.contextmanager
def connect(wanted: Wanted, starting: Callable[[], None] = lambda: None) -> Iterator[Connection]:
    """A connection as wanted. `starting` is called before a server is started, which takes long. Raises ChatError."""
    with ExitStack() as stack:
        if wanted.url is not None:
            yield at_url(Client(wanted.url, wanted.api_key, wanted.trust), wanted.name)
        elif running := _running(Client(wanted.usual_url, wanted.api_key, wanted.trust), wanted.name):
            yield running
        else:
            starting()
            own = stack.enter_context(OwnServer(wanted.name, wanted.config))
            client = own.client()
            yield Connection(client, only_model(client), own)


def at_url(client: Client, name: str | None) -> Connection:
    """The model of the server that must be used. Raises ChatError."""
    if not name:
        return Connection(client, only_model(client))
    if (found := client.model(name)) is None:
        raise no_model(client, name)
    return Connection(client, found)


def only_model(client: Client) -> str:
    """The id of the server's model, where it has one; else "", the default."""
    listed = client.models()
    return str(listed[0]["id"]) if len(listed) == 1 else ""


def no_model(client: Client, name: str) -> ChatError:
    """The server has no such model; it has others."""
    names = [str(model["id"]) for model in client.models()]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ChatError(f"{client.url} has no model {name}; it has {', '.join(names[:MAX_NAMES]) or 'none'}{more}.")


def _running(client: Client, name: str | None) -> Connection | None:
    """The server that runs here, if it has the model. Raises ChatError where it wants a key."""
    try:
        found = client.model(name) if name else only_model(client)
    except Refused as refused:
        if refused.status in LOCKED:
            raise ChatError(f"{client.url}: {refused} Give it with --api-key-file or NITRO_API_KEY.") from None
        return None
    except ChatError:
        return None  # nothing runs there, or something else
    return None if found is None else Connection(client, found)
