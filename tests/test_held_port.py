"""A port that is held for somebody: who names it listens, and nobody gets it by chance."""

import errno
import socket
import struct
import sys

import pytest

from nitro.system.held_port import held_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ports are held on Linux")
PORT_RANGE = 51  # IP_LOCAL_PORT_RANGE: from which ports a socket gets any
OPTIONS = [(socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)]


def made(options: tuple[int, ...] = (), only: int | None = None) -> socket.socket:
    """`only`: the one port that it may get where it asks for any."""
    sock = socket.socket()
    for option in options:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    if only is not None:
        try:
            sock.setsockopt(socket.IPPROTO_IP, PORT_RANGE, struct.pack("I", only << 16 | only))
        except OSError:
            sock.close()
            pytest.skip("this kernel has no IP_LOCAL_PORT_RANGE")
    return sock


@pytest.mark.parametrize("options", OPTIONS)
def test_who_names_it_listens(options: tuple[int, ...]) -> None:
    """As servers do; and where nobody does, a client is told so."""
    with held_port() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        with made(options) as server:
            server.bind(("127.0.0.1", port))
            server.listen()
            with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0] as served:
                client.sendall(b"a")
                assert served.recv(1) == b"a"
                with pytest.raises(OSError, match="in use"), held_port(port=port):
                    pass


@pytest.mark.parametrize("options", [(), *OPTIONS])
def test_nobody_gets_it_by_chance(options: tuple[int, ...]) -> None:
    with held_port() as port:
        with made(options, port) as other, pytest.raises(OSError) as full:
            other.bind(("127.0.0.1", 0))
        assert full.value.errno == errno.EADDRINUSE
        with socket.create_server(("127.0.0.1", 0)) as server, made(options, port) as client:
            with pytest.raises(OSError) as none:
                client.connect(server.getsockname())
            assert none.value.errno == errno.EADDRNOTAVAIL
    with made(options, port) as other:
        other.bind(("127.0.0.1", 0))
        assert other.getsockname()[1] == port
