"""Fetches images and sounds that requests have by their addresses, where the server allows that (--allow-remote-media).

Runs in the server process, which waits for sockets anyway, and opens nothing of what comes. An address may lead nowhere
but into the public internet: every address of its host is looked at, connections go to exactly those, and each redirect
is looked at anew. So no client can have the server ask the network that it stands in. Proxies of the environment are
not used.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore2

from nitro.errors import ApiError
from nitro.service.media.limits import MediaLimits
from nitro.service.media.sources import REMOTE

MAX_REDIRECTS = 5
AT_ONCE = 4  # addresses of a request
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS: list[tuple[bytes | str, bytes | str]] = [
    ("Accept", "image/*, audio/*"),
    ("Accept-Encoding", "identity"),
    ("User-Agent", "nitro"),
]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Unreachable(Exception):
    """A file cannot be had. The message continues "it cannot be fetched: "."""


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet's, whatever other address it stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 2**32 - 1))
        if not all(is_public(each) for each in inner if each is not None):
            return False
    return address.is_global and not address.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


async def fetch(
    urls: dict[str, str], limits: MediaLimits, allowed: Callable[[Address], bool] | None = None
) -> dict[str, bytes]:
    """The files behind these addresses. `urls`: what the request calls each. `allowed`: the addresses to which it may
    connect; None: those that are public. Raises ApiError 400."""
    turns = asyncio.Semaphore(AT_ONCE)
    left = [limits.fetched_bytes]  # of all together

    async def one(pool: httpcore2.AsyncConnectionPool, url: str, param: str) -> bytes:
        async with turns:
            try:
                return await _file(pool, url, limits.bytes, left)
            except (Unreachable, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
                why = str(error) or type(error).__name__
                raise ApiError.invalid(param, f"an address that can be fetched; {why}") from None
            except (httpcore2.UnsupportedProtocol, ValueError) as error:
                raise ApiError.invalid(param, f"an address; {error}") from None

    try:
        async with (
            asyncio.timeout(limits.fetch_seconds),
            httpcore2.AsyncConnectionPool(network_backend=_Public(allowed or is_public)) as pool,
            asyncio.TaskGroup() as group,
        ):
            tasks = {url: group.create_task(one(pool, url, param)) for url, param in urls.items()}
    except TimeoutError:
        param = next(iter(urls.values()))
        most = f"{limits.fetch_seconds} seconds (--remote-media-seconds)"
        raise ApiError.invalid(param, f"an address whose file comes within {most}") from None
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return {url: task.result() for url, task in tasks.items()}


async def _file(pool: httpcore2.AsyncConnectionPool, url: str, most: int, left: list[int]) -> bytes:
    """Raises Unreachable, and what httpcore2 raises."""
    for _ in range(MAX_REDIRECTS + 1):
        parts = _checked(url)
        target = parts._replace(
            netloc=parts.netloc.encode("idna").decode() if not parts.netloc.isascii() else parts.netloc
        )
        async with pool.stream("GET", target._replace(fragment="").geturl(), headers=_HEADERS) as response:
            if response.status in _REDIRECTS:
                url = urljoin(url, _header(response.headers, b"location"))
                continue
            if response.status != 200:
                raise Unreachable(f"its server answers with status {response.status}")
            data = bytearray()
            async for chunk in response.aiter_stream():
                data += chunk
                left[0] -= len(chunk)
                if len(data) > most:
                    raise Unreachable(f"its file is larger than {most} bytes (--max-media-size)")
                if left[0] < 0:
                    raise Unreachable("the files of this request are larger together than a body may be (--max-body)")
            return bytes(data)
    raise Unreachable(f"it redirects more than {MAX_REDIRECTS} times")


def _checked(url: str) -> SplitResult:
    """Raises Unreachable, and ValueError for what is no address."""
    if not url.lower().startswith(REMOTE):
        raise Unreachable(f"it redirects to an address of another kind: {url[:64]}")
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("it names no host")
    if parts.username is not None or parts.password is not None:
        raise Unreachable("it names a user, which is not sent to anybody")
    return parts


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    for key, value in headers:
        if key.lower() == name:
            return value.decode("ascii", "replace")
    raise Unreachable("it redirects to nowhere")


class _Public(httpcore2.AsyncNetworkBackend):
    """Connects to hosts all of whose addresses are allowed."""

    def __init__(self, allowed: Callable[[Address], bool]):
        self._allowed = allowed
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore2.AsyncNetworkStream:
        """Raises Unreachable."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Unreachable(f"there is no host '{host}'") from None
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        if not all(self._allowed(ipaddress.ip_address(address)) for address in addresses):
            raise Unreachable(f"'{host}' is no host of the public internet")
        error: Exception = Unreachable(f"'{host}' has no address")
        for address in dict.fromkeys(addresses):
            try:
                return await self._inner.connect_tcp(address, port, *args, **options)
            except httpcore2.ConnectError as failed:
                error = Unreachable(f"'{host}' does not answer: {failed or type(failed).__name__}")
        raise error
