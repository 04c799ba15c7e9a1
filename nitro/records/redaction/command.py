"""A file of records → the same without its texts."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from nitro.errors import RecordError
from nitro.records import form, protocols
from nitro.records.answers.draft import table
from nitro.records.form import Answer, AnswerCall, AnswerChoice, Exchange, Head
from nitro.records.redaction import schemas
from nitro.records.redaction.bodies import Bodies
from nitro.records.redaction.words import Words


class Redaction:
    """Redacts the lines of a file."""

    def __init__(self, words: Words):
        self._words = words
        self._bodies = Bodies(words)

    def line(self, line: form.Line) -> form.Line:
        """Templates stay: they are the model's, and its file has them, too. Raises RecordError."""
        if isinstance(line, Head):
            return replace(line, redacted=True)
        return self.exchange(line) if isinstance(line, Exchange) else line

    def exchange(self, exchange: Exchange) -> Exchange:
        """A request without its texts, and what its reply said, likewise: how much it was, and when it came. Raises
        RecordError."""
        served = exchange.served
        streamed = exchange.stream is not None
        return replace(
            exchange,
            request=form.raw(self._bodies.body(form.value(exchange.request))),
            request_text=None if exchange.request_text is None else self._words.text(exchange.request_text),
            history=form.raw(self._history(form.value(exchange.history))) if exchange.remembers else form.NONE,
            reply=form.NONE,
            reply_text=None,
            stream=[(at, "") for at, _ in exchange.stream or []] if streamed else None,
            answer=self._answer(protocols.answer_of(exchange)) if exchange.path in protocols.PATHS else None,
            served=replace(served, error=served.error and self._words.text(served.error)),
            redacted=True,
        )

    def _answer(self, answer: Answer) -> Answer:
        """Vectors go: a text can be guessed from them."""
        choices = [self._choice(choice) for choice in answer.choices]
        return replace(answer, choices=choices, error=answer.error and self._words.text(answer.error), vectors=[])

    def _choice(self, choice: AnswerChoice) -> AnswerChoice:
        words = self._words
        calls = [AnswerCall(words.name(call.name), schemas.arguments(call.arguments, words)) for call in choice.calls]
        return AnswerChoice(words.text(choice.text), words.text(choice.reasoning), calls, choice.finish)

    def _history(self, history: Any) -> Any:
        """The ids of items that are referenced are made by chance."""
        found = table(history)
        items = self._bodies.body(found.get("items", []))
        return {
            "items": items,
            "referenced": {id: self._bodies.body(each) for id, each in table(found.get("referenced")).items()},
        }


def redact(lines: Iterable[form.Line], words: Words, out: Path, done: Callable[[], None] = lambda: None) -> None:
    """Write the redacted lines into a new file, which only its owner can read. `done` is called for each. Raises
    RecordError; then there is no file."""
    redaction = Redaction(words)
    try:
        descriptor = os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RecordError(f"{out} cannot be made: {error.strerror or error}.") from None
    try:
        with open(descriptor, "wb") as file:
            for line in lines:
                file.write(form.encode(redaction.line(line)))
                done()
    except BaseException as error:
        out.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RecordError(f"{out} cannot be written: {error.strerror or error}.") from None
        raise
