"""The other ranks, as rank 0 sees them: started, greeted, told what to do, and ended together.

A thread listens to all of them. What happens to one ends this process, with words that name the rank: the server tells
them to the requests, and starts a new engine, which starts new ranks.
"""

from __future__ import annotations

import logging
import os
import secrets
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version

import msgspec

from nitro import __version__
from nitro.engines.backends.mlx.ranks import pulse, starting, wire
from nitro.engines.backends.mlx.ranks.wire import Alive, Arrived, Call, Errand, Failed, Hello, Join, Loaded, Meet, Pulse
from nitro.engines.hostfile import Hostfile
from nitro.engines.last_words import OF_THIS_PROCESS
from nitro.engines.runner import LoadError
from nitro.engines.silence import LIMIT, Silence
from nitro.errors import reason
from nitro.system import frames, signals
from nitro.system.frames import WireMessage

log = logging.getLogger("nitro.ranks")

START_SECONDS = 60.0  # in which all ranks must have begun: ssh, and Python
GREETING_SECONDS = 2.0  # in which whoever connects must say who it is
MAX_FRAME = 2**16  # bytes of what a rank sends
CONSEQUENCE = 1.0  # seconds in which a rank may be missed, after another lost it
EXITING = 1.0  # seconds in which a process whose connection closed has usually ended
BRIEF = 0.2  # seconds between two looks at those that are to begin
BEAT = 0.5  # seconds between two Alive, at most
LOST = 70  # exit status; sysexits.h: EX_SOFTWARE


class Member:
    """One of the other ranks."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]):
        self.name, self.process = name, process
        self.sock: socket.socket | None = None  # once it has said Hello
        self.hello: Hello | None = None
        self.pulse: socket.socket | None = None
        self.silence = Silence(pulse.PAUSE)
        self.received = b""
        self.arrived = False
        self.loaded = threading.Event()
        self.problem = ""  # what it said of its failure
        self.heard = 0.0  # time.monotonic()
        self.free = 0  # bytes

    def how_it_ended(self) -> str:
        """What became of its process, in words."""
        try:
            status = self.process.wait(EXITING)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        return f"was killed by {signals.name_of(-status)}" if status < 0 else f"ended with status {status}"

    def lives(self) -> bool:
        """Whether it gave a sign of life since the last call or, before it can, is not stopped."""
        return pulse.heard(self.pulse) if self.pulse else not pulse.is_stopped(self.process)

    def take(self) -> list[WireMessage] | None:
        """What it sent; None: its connection is closed, or says what no rank says."""
        assert self.sock
        try:
            data = self.sock.recv(MAX_FRAME)
        except OSError:
            data = b""
        self.received += data
        found: list[WireMessage] = []
        while len(self.received) >= frames.HEADER:
            end = frames.HEADER + frames.size(self.received[: frames.HEADER])
            if end > MAX_FRAME:
                return None
            if len(self.received) < end:
                break
            try:
                found.append(wire.decode_at_zero(self.received[frames.HEADER : end]))
            except msgspec.MsgspecError:
                return None
            self.arrived |= isinstance(found[-1], Arrived)
            self.received = self.received[end:]
        return found if data else None


class Team:
    """All other ranks of one model. `tell` and `together` belong to the engine thread."""

    def __init__(self, hosts: Hostfile, stall_timeout: float | None):
        """`stall_timeout`: seconds that a rank may be silent once the model is loaded, twice; None: it may for ever."""
        self.names = [hosts.name(rank) for rank in range(len(hosts.hosts))]
        self._hosts = hosts
        self._silence = stall_timeout and stall_timeout / 2  # of threads of a process that lives
        self._timeout = stall_timeout
        self._members: list[Member] = []
        self._ready = self._closing = False
        self._closed = threading.Event()
        self._changed = threading.Condition()

    @property
    def free(self) -> list[int]:
        """Bytes of memory, as the ranks have told."""
        return [member.free for member in self._members]

    @property
    def beat(self) -> float:
        """Seconds between two Alive."""
        return min(BEAT, (self._silence or BEAT) / 5)

    def start(self) -> list[list[int]]:
        """Start all processes, and wait for their Hello. Returns their ports. Raises LoadError."""
        hosts = self._hosts.hosts
        with _listener(hosts[0].ips[0]) as listener:
            address, port = listener.getsockname()
            secret = secrets.token_hex()
            for rank, host in enumerate(hosts[1:], 1):
                errand = Errand(rank, host.ips, address, port, secret)
                try:
                    process = starting.start(host, errand, self._hosts.environment)
                except OSError as error:
                    self.close()
                    raise LoadError(f"--hosts: {self.names[rank]} cannot be started: {error.strerror}.") from None
                self._members.append(Member(self.names[rank], process))
            threading.Thread(target=self._watch_lives, name="signs of life", daemon=True).start()
            try:
                self._gather(listener, secret)
            except BaseException:
                self.close()
                raise
        threading.Thread(target=self._watch, name="ranks", daemon=True).start()
        return [member.hello.ports for member in self._members if member.hello]

    def join(self, how: list[Join]) -> None:
        """Tell each how to join. Raises LoadError."""
        for member, message in zip(self._members, how, strict=True):
            self._send(member, frames.frame(message))

    def meet(self) -> None:
        """Have all look for each other, as soon as all can. Raises LoadError for one that cannot."""
        self._wait_until(lambda member: member.arrived)
        for member in self._members:
            self._send(member, frames.frame(Meet()))

    def wait_loaded(self) -> None:
        """Until all have their part of the weights. Raises LoadError for one that cannot have it."""
        self._wait_until(lambda member: member.loaded.is_set())

    def _wait_until(self, is_so_far: Callable[[Member], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._problem() or all(map(is_so_far, self._members)))
            if problem := self._problem():
                raise LoadError(problem)

    def ready(self) -> None:
        """The model is loaded: from now on a rank whose threads are silent is stalled."""
        now = time.monotonic()
        for member in self._members:
            member.heard = now
        self._ready = True

    def tell(self, call: Call) -> None:
        """All of them make this call."""
        data = frames.frame(call)
        for member in self._members:
            self._send(member, data)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What all ranks do at the same time. A fault in it ends them all."""
        try:
            yield
        except LoadError:
            raise
        except Exception as error:
            self._fail(error)

    def name_the_lost(self) -> None:
        """A load failed here: the process ends, with the rank's name, if that is because one was lost."""
        time.sleep(CONSEQUENCE)

    def close(self) -> None:
        """End them all."""
        self._closing = True
        self._closed.set()
        for member in self._members:
            member.process.kill()
            for sock in filter(None, (member.sock, member.pulse)):
                sock.close()
        for member in self._members:
            member.process.wait()
            assert member.process.stdin
            member.process.stdin.close()

    # Starting

    def _gather(self, listener: socket.socket, secret: str) -> None:
        until = time.monotonic() + START_SECONDS
        while missing := [member for member in self._members if not (member.hello and member.pulse)]:
            for member in missing:
                if member.process.poll() is not None:
                    raise LoadError(f"--hosts: {member.name} {member.how_it_ended()} before it had begun.")
            if time.monotonic() > until:
                names = " and ".join(member.name for member in missing)
                raise LoadError(f"--hosts: {names} did not begin within {START_SECONDS:g} seconds.")
            listener.settimeout(BRIEF)
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            self._greet(sock, secret)
        for member in self._members:
            assert member.hello
            if member.hello.versions != versions():
                raise LoadError(
                    f"--hosts: {member.name} has {member.hello.versions}, and this machine {versions()}: all need the "
                    "same."
                )

    def _greet(self, sock: socket.socket, secret: str) -> None:
        """Take a connection for a rank's, if it knows the secret."""
        sock.settimeout(GREETING_SECONDS)
        try:
            size = frames.size(_exactly(sock, frames.HEADER))
            hello = wire.decode_at_zero(_exactly(sock, min(size, MAX_FRAME)))
        except (OSError, EOFError, msgspec.MsgspecError):
            sock.close()
            return
        if not isinstance(hello, Hello | Pulse) or not secrets.compare_digest(hello.secret.encode(), secret.encode()):
            sock.close()
            return
        sock.settimeout(None)
        wire.keep(sock)
        member = self._members[hello.rank - 1]
        if isinstance(hello, Pulse):
            member.pulse = sock
            return
        member.sock, member.hello, member.free, member.heard = sock, hello, hello.free, time.monotonic()

    # Watching

    def _watch_lives(self) -> None:
        """From the start, until one is silent. Where this process itself does not get to it, that is no silence."""
        while not self._closed.wait(pulse.PAUSE):
            for member in self._members:
                seconds = member.silence.look(member.lives())
                if seconds > LIMIT and not self._closing:
                    self._end(f"{member.name} has given no sign of life for {seconds:.1f} seconds")

    def _watch(self) -> None:
        """Listen to all, until one is lost or silent."""
        selector = selectors.DefaultSelector()
        for member in self._members:
            assert member.sock
            selector.register(member.sock, selectors.EVENT_READ, member)
        while not self._closing:
            for key, _ in selector.select(self.beat):
                self._listen(key.data)
            self._look_for_silence()

    def _listen(self, member: Member) -> None:
        sent = member.take()
        if self._closing:
            return
        if sent is None:
            # At once: what this process computes without it is nothing, and may end it before more is known.
            OF_THIS_PROCESS.note(_sentence(f"{member.name} closed its connection"))
            self._end(f"{member.name} {member.how_it_ended()}")
            return
        member.heard = time.monotonic()
        for message in sent:
            match message:
                case Alive(free):
                    member.free = free
                case Loaded():
                    member.loaded.set()
                case Failed(problem):
                    member.problem = problem
        with self._changed:
            self._changed.notify_all()
        if member.problem and member.loaded.is_set():
            self._fail_for(member)

    def _fail_for(self, member: Member) -> None:
        """A rank that lost another says so, maybe before that one is missed here."""
        time.sleep(CONSEQUENCE)
        for other in self._members:
            if other.process.poll() is not None:
                self._end(f"{other.name} {other.how_it_ended()}")
        self._end(f"{member.name} failed: {member.problem}")

    def _look_for_silence(self) -> None:
        now = time.monotonic()
        for member in self._members:
            if self._ready and self._silence and not member.problem and now - member.heard > self._silence:
                seconds = f"{now - member.heard:.1f} seconds, as --stall-timeout {self._timeout:g} says"
                self._end(f"{member.name} has given no sign of life for {seconds}")

    def _problem(self) -> str:
        for member in self._members:
            if member.problem:
                return f"--hosts: {member.name} cannot load the model. {member.problem}"
        return ""

    # The end

    def _send(self, member: Member, data: bytes) -> None:
        assert member.sock
        try:
            member.sock.sendall(data)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """On the engine thread: the other one knows soon which rank it is, unless it is this one."""
        log.debug("rank 0 cannot go on", exc_info=error)
        time.sleep(3 * CONSEQUENCE)
        self._end(f"{self.names[0]} failed: {reason(error)}")

    def _end(self, sentence: str) -> None:
        sentence = _sentence(sentence)
        OF_THIS_PROCESS.replace(sentence)
        log.error("%s; all ranks end", sentence.rstrip("."))
        for member in self._members:
            member.process.kill()
        os._exit(LOST)


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def _listener(address: str) -> socket.socket:
    """Raises LoadError."""
    try:
        return socket.create_server((address, 0))
    except OSError as error:
        raise LoadError(f"--hosts: this machine cannot listen on {address}: {error.strerror}.") from None


def versions() -> str:
    """Of what must be the same on all machines."""
    return f"Nitro {__version__}, MLX {version('mlx')}, mlx-lm {version('mlx-lm')}"


def _exactly(sock: socket.socket, count: int) -> bytes:
    """Raises EOFError, OSError."""
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
