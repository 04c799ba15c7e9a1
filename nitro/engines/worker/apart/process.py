"""The process apart: answers one question after the other, with limits on the time and the memory of each.

The kernel ends it by SIGPROF when a question has had its processor time, whatever library it is in. More memory than a
question may take is not to be had (Linux; macOS keeps to no such limit): then the question is answered so, or the
library ends the process. It ends when its socket closes.
"""

import array
import contextlib
import importlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from nitro.engines.constraints.grammar import GrammarCompiler
from nitro.engines.constraints.grammar_errors import GrammarError
from nitro.engines.runner import Tokenizer, TokenizerRecipe
from nitro.engines.worker.apart import questions
from nitro.engines.worker.apart.questions import (
    Answer,
    Approve,
    Approved,
    Begin,
    Begun,
    Encode,
    Encoded,
    Limits,
    NoMemory,
    NotEnforceable,
)
from nitro.engines.worker.jobs import brief
from nitro.system import frames, gc_tuning

# It needs no GPU: a library that finds none takes none of its memory, and begins sooner.
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}

log = logging.getLogger("nitro.engine")


def serve(sock: socket.socket) -> None:
    """Answer until the socket closes."""
    payloads = frames.payloads(sock)
    begin = questions.decode_question(next(payloads))
    assert isinstance(begin, Begin)
    tokenizer = _made(begin.recipe)
    compiler = GrammarCompiler(tokenizer, begin.info) if begin.compiles else None
    gc_tuning.freeze_startup_objects()
    sock.sendall(frames.frame(Begun()))
    for payload in payloads:
        question = questions.decode_question(payload)
        assert not isinstance(question, Begin)
        if isinstance(question, Approve) and compiler is None:
            compiler = GrammarCompiler(tokenizer, begin.info)
        try:
            with _limited(question.limits):
                answer = _answer(question, tokenizer, compiler)
        except MemoryError:
            answer = NoMemory()
        sock.sendall(frames.frame(answer))


def _answer(question: Approve | Encode, tokenizer: Tokenizer, compiler: GrammarCompiler | None) -> Answer:
    """Raises MemoryError."""
    if isinstance(question, Encode):
        encode = tokenizer.encode_plain if question.plain else tokenizer.encode
        return Encoded(array.array("i", encode(question.text.decode())).tobytes())
    assert compiler
    try:
        return Approved(compiler.approve(question.constraint))
    except GrammarError as error:
        return NotEnforceable(str(error), error.param)
    except MemoryError:
        raise
    except BaseException as error:  # a panic in llguidance is no Exception
        log.exception("a constraint could not be compiled")
        return NotEnforceable(brief(error), None)


def _made(recipe: TokenizerRecipe) -> Tokenizer:
    module, _, function = recipe.place.partition(":")
    tokenizer: Tokenizer = getattr(importlib.import_module(module), function)(recipe.state)
    return tokenizer


@contextlib.contextmanager
def _limited(limits: Limits) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if mapped := _address_space():
        room = mapped + limits.memory * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (room if hard == resource.RLIM_INFINITY else min(room, hard), hard))
    signal.setitimer(signal.ITIMER_PROF, limits.seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int | None:
    """Bytes that this process has mapped; None where the system does not say, nor keep to a limit."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return None


def main() -> None:
    """Serve on the socket whose file descriptor is the first argument."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the server's business
        signal.signal(number, signal.SIG_IGN)
    os.environ.update(ENVIRONMENT)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    try:
        serve(socket.socket(fileno=int(sys.argv[1])))
    except (ConnectionError, StopIteration):  # the engine is gone
        pass
