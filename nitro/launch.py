"""What a server begins with: its model is found, its socket bound, its processes started.

Imports little, so that the engine loads while the server's process imports what it serves with.
"""

import contextlib
import socket
from typing import TYPE_CHECKING, Self

from nitro.api.readers import READERS
from nitro.config import ServeConfig
from nitro.engines.client import spawn
from nitro.engines.client.spawn import SpawnedEngine
from nitro.engines.types import EngineSpec
from nitro.errors import StartError
from nitro.models import model_source
from nitro.models.model_source import ModelSource
from nitro.system import file_descriptors, packages
from nitro.system.spawn import Spawned
from nitro.system.unix_socket import UnixListener

if TYPE_CHECKING:
    from nitro.api.transport.certificates import Certificates

# Of Uvicorn only its server is used, not its command line; YAML is for pages of Litestar's that Nitro has no use for.
for name in ("uvicorn", "yaml"):
    packages.defer(name)


class Launch:
    """The beginning of one server. As a context it ends what it has started, at the latest."""

    def __init__(self, config: ServeConfig):
        """Raises StartError: no such model, no certificate, a port in use."""
        self.source: ModelSource | None = None
        self.spec: EngineSpec | None = None
        if not config.no_model:
            self.source = _source(config)
            self.spec = config.engine_spec(self.source.path, self.source.projector)
        elif config.model is not None:
            raise StartError(f"--no-model and a model to load, {config.model}, do not go together.")
        self.max_connections, self.backlog = file_descriptors.connection_limits(file_descriptors.raise_limit())
        if config.tls_cert and config.uds:
            raise StartError("--tls-cert and --uds do not go together: a Unix socket does not leave this machine.")
        self.certificates = _certificates(config)
        self.unix = UnixListener(config.uds, int(config.uds_mode, 8), self.backlog) if config.uds else None
        self.socket = self.unix.socket if self.unix else _bind(config.host, config.port, self.backlog)
        self.engine: SpawnedEngine | None = None
        self.intake: Spawned | None = None

    @property
    def port(self) -> int:
        """That it listens on; 0: none, but a Unix socket."""
        return 0 if self.unix else int(self.socket.getsockname()[1])

    def start(self) -> None:
        """Start the processes of the engine and of the intake now. Where none can be had the server tries again."""
        with contextlib.suppress(OSError):
            if self.spec:
                self.engine = spawn.load(self.spec)
            from nitro.service.intake import spawn as intake  # while the engine starts

            self.intake = intake.start(READERS)

    def end(self) -> None:
        """Close the socket and end the processes. It may be called again, and when they are closed already."""
        self.socket.close()
        if self.unix:
            self.unix.remove()
        for child in (self.engine and self.engine.child, self.intake):
            if child:
                child.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def _source(config: ServeConfig) -> ModelSource:
    """The model to start with. Raises StartError."""
    name, own = config.own_settings()
    alias = config.alias or own.alias or (name if own.path else None)
    engine = str(own.options.get("engine", config.engine))
    place = str(own.path) if own.path else name if config.model else None
    return model_source.find(place, alias, engine, config.models)


def _certificates(config: ServeConfig) -> "Certificates | None":
    """None: no TLS. Raises StartError."""
    if config.tls_cert:
        from nitro.api.transport.certificates import Certificates

        return Certificates(config.tls_cert, config.tls_key)
    if config.tls_key:
        raise StartError("--tls-key needs the certificate that belongs to it: --tls-cert.")
    return None


def _bind(host: str, port: int, backlog: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.create_server(address[:2], family=family, backlog=backlog)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise StartError(f"Cannot listen on {host}:{port}: {why}. Choose another with --host or --port.") from None
    return sock
