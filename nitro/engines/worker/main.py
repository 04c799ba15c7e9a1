"""The engine process: threads around one scheduler.

    socket → reader → handlers ─┬─ Generate → preparers (tokenise, compile, accept or reject) ─┬─► inbox → engine thread
                                └─ Abort ─────────┊──────────────────────────────────────────┘       (loads, steps)
                                          processes apart: long texts, constraints (apart/)
    socket ← writer (encodes) ← outbox ◄─── answers of the preparers, and of every step ◄─────────────────┘

What a step tells is sent by the engine thread itself where the socket takes it at once (writer.py).

The process ends when its socket closes, whatever the engine thread is doing: the server that held the other end is gone
or wants it gone. SIGINT and SIGTERM are the server's business.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
from functools import partial

from nitro.engines import last_words, messages
from nitro.engines.backends import loading
from nitro.engines.crash_marks import CrashMarks
from nitro.engines.runner import LoadError
from nitro.engines.worker import handlers
from nitro.engines.worker.apart.apart import Apart
from nitro.engines.worker.apart.tokenizer import GuardedTokenizer
from nitro.engines.worker.apart.warming import Warming
from nitro.engines.worker.commands import PrefixFetched
from nitro.engines.worker.embedding_preparation import EmbeddingPreparation
from nitro.engines.worker.load_reports import LoadReports
from nitro.engines.worker.loop import EngineLoop, Inbox
from nitro.engines.worker.outbox import Outbox
from nitro.engines.worker.preparation import Preparation
from nitro.engines.worker.preparers import Preparers
from nitro.engines.worker.reader import Reader
from nitro.engines.worker.stored_prefixes import Prospect
from nitro.engines.worker.token_questions import TokenQuestions
from nitro.engines.worker.writer import Writer
from nitro.system import frames, gc_tuning, heap


def serve(sock: socket.socket, marks: CrashMarks) -> None:
    """Load the model that is named, then step until the socket closes. Returns only if loading fails."""
    reader = Reader(sock)
    reader.start()
    spec = reader.wait_for_load(loading.prepare).spec
    logging.basicConfig(level=spec.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    prospect = Prospect(spec)
    try:
        with LoadReports(sock):
            runner = loading.load(spec)
    except LoadError as error:
        sock.sendall(frames.frame(messages.LoadFailed(str(error))))
        return
    inbox = Inbox()
    outbox = Outbox()
    apart = Apart.of(runner.tokenizer, runner.info, spec)
    if apart:
        runner.tokenizer = GuardedTokenizer(runner.tokenizer, apart)
    preparation = Preparation(runner, spec.lookup == "on", apart)
    stored = prospect.loaded(runner, outbox)
    stored.fetched = lambda name, state: inbox.put(PrefixFetched(name, state))
    services = handlers.Services(
        preparation,
        EmbeddingPreparation(runner),
        Preparers(inbox, outbox, marks),
        TokenQuestions(runner.tokenizer, runner.info, preparation.media),
        inbox,
    )
    reader.handle_with(partial(handlers.handle, services))
    outbox.put(messages.Ready(runner.info))
    Writer(sock, inbox, outbox).start()
    gc.collect()  # what loading has left may be weights
    heap.give_back()
    gc_tuning.freeze_startup_objects()
    loop = EngineLoop(runner, inbox, outbox, marks, stored)
    if apart:
        Warming(apart.processes, lambda: loop.busy or services.preparers.busy).start()
    loop.run()


def main() -> None:
    """Arguments: the file descriptors of the socket and of the crash marks' memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection, memory = map(int, sys.argv[1:3])
    marks = CrashMarks(memory)
    last_words.OF_THIS_PROCESS.write_to(marks)
    serve(socket.socket(fileno=connection), marks)
