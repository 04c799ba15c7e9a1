"""A port for another program, or for a library, to listen on, which nobody else gets before that.

On Linux two sockets may be bound to one port if both say SO_REUSEADDR and neither of them listens, or one alone; and a
port to which a socket is bound is given to nobody who asks for any, neither to listen on nor for an outgoing connection
(net/ipv4/inet_connection_sock.c, inet_csk_find_open_port; inet_hashtables.c, __inet_hash_connect). So a socket that is
bound and does not listen holds the port for whoever names it, and says SO_REUSEADDR or, as the same user, SO_REUSEPORT,
as servers do. Elsewhere nobody could listen beside it: there the port was free a moment ago.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

HOLDS = sys.platform == "linux"


@contextmanager
def held_port(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """This port, or a free one for 0, on an IPv4 address. Raises OSError where nobody can listen there."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if HOLDS and not port:  # one that somebody has chosen may be another server's
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        found = int(sock.getsockname()[1])
        if not HOLDS:
            sock.listen(1)
            sock.close()
        yield found
