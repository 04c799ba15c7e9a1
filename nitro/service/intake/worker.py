"""The intake process: reads requests, one at a time, over a socket pair. `lanes` starts it.

The kernel ends the process when a request exceeds its processor time: a template may be deep in one call of a library,
where no Python code gets a turn. Which of two timers ran out shows whether it was while reading, or from the template
on. All errors go to the server as messages.
"""

import importlib
import resource
import signal
import socket
import sys
import traceback
from functools import cache, partial
from typing import Any

from nitro.models.setup import ModelSetup
from nitro.service.intake import messages
from nitro.service.intake.messages import (
    READ_TIMEOUT,
    RENDER_TIMEOUT,
    Check,
    Compiling,
    FromIntake,
    Import,
    Name,
    Named,
    Prepared,
    Read,
    Rendered,
    Use,
    Valid,
    Wants,
)
from nitro.service.intake.prepare import Preparer
from nitro.service.media.checks import MediaWanted
from nitro.service.media.kept import KeptFiles
from nitro.service.requests import GenerationRequest, RememberingReader
from nitro.system import frames, gc_tuning
from nitro.text import tool_formats
from nitro.text.template import ChatTemplate


def serve(sock: socket.socket) -> None:
    """Answer until the socket closes."""
    preparers: dict[int, Preparer] = {}  # by the place of their model
    kept = KeptFiles()

    def compiling(done: bool) -> None:
        sock.sendall(frames.frame(Compiling(done)))

    payloads = frames.payloads(sock)
    for payload in payloads:
        match messages.decode_to_intake(payload):
            case Import(readers, memory):
                _limit_memory(memory * 2**20)
                for name in readers:
                    _reader(name)
                tool_formats.known()  # imports them
                gc_tuning.freeze_startup_objects()
            case Use(place, setup, limits):
                preparers[place] = Preparer(setup, compiling, _start_render_timer, limits, kept)
            case Read() | Name() | Check() as message:
                body = b"" if isinstance(message, Check) else next(payloads, b"")
                signal.setitimer(signal.ITIMER_PROF, message.seconds)
                answer = frames.frame(_answer(preparers, message, body))
                for timer in (signal.ITIMER_PROF, signal.ITIMER_VIRTUAL):
                    signal.setitimer(timer, 0)
                sock.sendall(answer)


def _start_render_timer() -> None:
    """The template gets what is left of the request's time."""
    left, _ = signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_VIRTUAL, max(left, 0.001))


@cache
def _reader(name: str) -> Any:
    """A Reader or a Namer."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _remembering(reader: RememberingReader, history: bytes, body: bytes, setup: ModelSetup) -> GenerationRequest:
    return reader(body, setup, history)


def _answer(preparers: dict[int, Preparer], message: Read | Name | Check, body: bytes) -> FromIntake:
    try:
        if isinstance(message, Check):
            _start_render_timer()
            ChatTemplate(message.template)
            return Valid()
        if isinstance(message, Name):
            return Named(_reader(message.namer)(body))
        reader = _reader(message.reader)
        if message.history is not None:
            history, body = body[: message.history], body[message.history :]
            reader = partial(_remembering, reader, history)
        fetched: dict[str, bytes] = {}
        for url, size in message.fetched:
            fetched[url], body = body[:size], body[size:]
        preparer = preparers[message.place]
        prepared = preparer.prepare(body, reader, message.strict, message.found, message.share, fetched)
        return Rendered.of(prepared) if message.only_prompt and isinstance(prepared, Prepared) else prepared
    except MediaWanted as wanted:
        return Wants(wanted.urls)
    except Exception as error:
        return messages.refusal(error, traceback.format_exc())


def _limit_memory(memory: int) -> None:
    """Bytes of address space; macOS does not keep to it, and has the bounds of text/sandbox."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
    most = memory if hard_limit == resource.RLIM_INFINITY else min(memory, hard_limit)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard_limit))


def main() -> None:
    """Serve on the socket whose file descriptor is the first argument."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the server's business
        signal.signal(number, signal.SIG_IGN)
    for number in (READ_TIMEOUT, RENDER_TIMEOUT):
        signal.signal(number, signal.SIG_DFL)
    try:
        serve(socket.socket(fileno=int(sys.argv[1])))
    except ConnectionError:  # the server is gone
        pass
