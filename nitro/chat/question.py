"""`nitro run`: one question and its answer, for pipes."""

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from nitro.chat.client import AnswerStream, End, Piece
from nitro.chat.connection import Wanted, connect
from nitro.chat.conversation import Conversation
from nitro.chat.printable import printable
from nitro.errors import ChatError

MAX_SCHEMA_BYTES = 2**24


@dataclass(frozen=True)
class Question:
    """What is asked, and how the answer is to come."""

    prompt: str
    system: str | None
    parameters: dict[str, Any]
    streams: bool = True


def ask(wanted: Wanted, question: Question, out: TextIO = sys.stdout) -> str:
    """Write the answer to `out`, as it comes. Returns how it ended, as OpenAI calls it. Raises ChatError."""
    with connect(wanted) as found:
        conversation = Conversation(found.model, question.system, question.parameters)
        stream = found.client.ask(conversation.body(question.prompt))
        try:
            _write(stream, question.streams, out)
        finally:
            stream.stop()
        return stream.answer.finish or ""


def _write(stream: AnswerStream, at_once: bool, out: TextIO) -> None:
    """A pipe gets every byte, a terminal no control characters."""
    shown = printable if out.isatty() else str
    last = ""
    while not isinstance(came := stream.next(), End):
        if isinstance(came, Piece) and came.content:
            last = came.content
            if at_once:
                _put(shown(came.content), out)
    whole = shown(stream.answer.content) if came.error is None and not at_once else ""
    _put(whole + ("\n" if last and not last.endswith("\n") else ""), out)
    if came.error:
        raise came.error


def _put(text: str, out: TextIO) -> None:
    """Write it now. What the encoding of `out` does not have becomes "?". Raises BrokenPipeError, ChatError."""
    known = text.encode(out.encoding or "utf-8", "replace").decode(out.encoding or "utf-8")
    try:
        out.write(known)
        out.flush()
    except BrokenPipeError:  # nobody reads on, which is no fault
        raise
    except OSError as error:
        with contextlib.suppress(OSError):
            out.close()  # what is left in it would fail once more at the end of the process
        raise ChatError(f"The answer cannot be written: {error.strerror}.") from None


def prompt(words: tuple[str, ...], stdin: TextIO) -> str:
    """The words, and below them what comes from a pipe. Raises ChatError."""
    try:
        piped = "" if stdin.isatty() else stdin.read()
    except UnicodeDecodeError as error:
        raise ChatError(f"What comes through the pipe is no text: {error}.") from None
    return "\n\n".join(part for part in (" ".join(words), piped.rstrip("\n")) if part.strip())


def schema(file: Path) -> dict[str, Any]:
    """The `response_format` for a JSON schema in a file. Raises ChatError."""
    try:
        with file.open("rb") as stream:
            content = json.loads(stream.read(MAX_SCHEMA_BYTES))
    except OSError as error:
        raise ChatError(f"{file}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ChatError(f"{file} is not JSON: {error}.") from None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": content, "strict": True}}
