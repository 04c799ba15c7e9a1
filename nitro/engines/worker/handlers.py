"""The verbs of the wire: what the engine process does with each message of `messages.Request`.

A handler runs on the reader thread, so it returns at once. It gives longer work to others:

    preparers.begin(Job(…))    tokenise, check, compile; ends with an answer, and with sequences to compute, if any
    preparers.abort(ids)       forget jobs, and tell the engine thread, which acts between two steps (`commands.py`)
    inbox.put(…)               a command for the engine thread that needs no preparation

A new verb is a message in `messages.py`, a handler here and, where it needs the engine thread, a command in
`commands.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from nitro.engines import messages
from nitro.engines.worker import commands
from nitro.engines.worker.embedding_preparation import EmbeddingPreparation
from nitro.engines.worker.jobs import Job, first_lane
from nitro.engines.worker.loop import Inbox
from nitro.engines.worker.preparation import Preparation
from nitro.engines.worker.preparers import Preparers
from nitro.engines.worker.token_questions import TokenQuestions


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with."""

    preparation: Preparation
    embedding: EmbeddingPreparation
    preparers: Preparers
    tokens: TokenQuestions
    inbox: Inbox


def handle(services: Services, message: messages.Request) -> None:
    """Begin what a message asks for."""
    HANDLERS[type(message)](services, message)


def _generate(services: Services, message: messages.Generate) -> None:
    preparers = services.preparers
    is_wanted = partial(preparers.is_wanted, message.ids[0])
    slices = services.preparation.slices(message.ids, message.work, is_wanted, message.share)
    preparers.begin(Job(message.ids, first_lane(message.work), slices))


def _embed(services: Services, message: messages.Embed) -> None:
    slices = services.embedding.slices(message.id, message.work, message.overflow, message.user)
    services.preparers.begin(Job([message.id], first_lane(message.work), slices))


def _tokenize(services: Services, message: messages.Tokenize) -> None:
    services.preparers.begin(Job([message.id], first_lane(message.work), services.tokens.tokenize(message)))


def _detokenize(services: Services, message: messages.Detokenize) -> None:
    services.preparers.begin(Job([message.id], first_lane(message.work), services.tokens.detokenize(message)))


def _abort(services: Services, message: messages.Abort) -> None:
    services.preparers.abort(message.ids)


def _watch(services: Services, message: messages.Watch) -> None:
    services.inbox.put(commands.Watch(message.active))


def _load_adapter(services: Services, message: messages.LoadAdapter) -> None:
    services.inbox.put(commands.LoadAdapter(message))


def _drop_adapter(services: Services, message: messages.DropAdapter) -> None:
    services.inbox.put(commands.DropAdapter(message))


def _save(services: Services, message: messages.Save) -> None:
    services.inbox.put(commands.Save(message.seconds))


def _forget(services: Services, message: messages.Forget) -> None:
    services.inbox.put(commands.Forget(message.id))


HANDLERS: dict[type[messages.Request], Callable[[Services, Any], None]] = {
    messages.Generate: _generate,
    messages.Embed: _embed,
    messages.Tokenize: _tokenize,
    messages.Detokenize: _detokenize,
    messages.LoadAdapter: _load_adapter,
    messages.DropAdapter: _drop_adapter,
    messages.Abort: _abort,
    messages.Watch: _watch,
    messages.Save: _save,
    messages.Forget: _forget,
}
