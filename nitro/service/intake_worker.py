"""A process that reads requests, one at a time, over a socket pair: see intake.

The kernel ends it where a request takes more than its share of the processor: a template may be deep in one call of a
library, where nothing in Python would be heard. Which timer has run out tells what took so long. What breaks is told to
the server.
"""

import resource
import signal
import socket
import sys
import traceback

from nitro.service import prepared
from nitro.service.prepare import Preparer
from nitro.service.prepared import READS, RENDERS, Check, Compiling, FromIntake, Read, Sound, Use
from nitro.system import frames, gc_tuning
from nitro.text.template import ChatTemplate

MEMORY = 4 * 2**30  # bytes of address space; macOS does not keep to it, and has the bounds of text/sandbox


def serve(sock: socket.socket) -> None:
    """Answer until the socket closes."""
    preparer: Preparer | None = None

    def compiling(done: bool) -> None:
        sock.sendall(frames.frame(Compiling(done)))

    payloads = frames.payloads(sock)
    for payload in payloads:
        match prepared.decode_to_intake(payload):
            case Use(setup):
                preparer = Preparer(setup, compiling, _template_works)
            case Read() | Check() as message:
                body = next(payloads, b"") if isinstance(message, Read) else b""
                signal.setitimer(signal.ITIMER_PROF, message.seconds)
                answer = frames.frame(_answer(preparer, message, body))
                for timer in (signal.ITIMER_PROF, signal.ITIMER_VIRTUAL):
                    signal.setitimer(timer, 0)
                sock.sendall(answer)


def _template_works() -> None:
    """What is left of the request's time is the template's."""
    left, _ = signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_VIRTUAL, max(left, 0.001))


def _answer(preparer: Preparer | None, message: Read | Check, body: bytes) -> FromIntake:
    try:
        if isinstance(message, Check):
            _template_works()
            ChatTemplate(message.template)
            return Sound()
        assert preparer
        read = preparer.chat if message.route == "chat" else preparer.completions
        return read(body, message.strict)
    except Exception as error:
        return prepared.refusal(error, traceback.format_exc())


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the server's business
        signal.signal(number, signal.SIG_IGN)
    for number in (READS, RENDERS):
        signal.signal(number, signal.SIG_DFL)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most), most))
    gc_tuning.freeze_startup_objects()
    try:
        serve(socket.socket(fileno=int(sys.argv[1])))
    except ConnectionError:  # the server is gone
        pass


if __name__ == "__main__":
    main()
