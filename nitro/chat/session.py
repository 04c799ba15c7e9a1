"""`nitro chat`: the loop of a conversation in the terminal."""

import contextlib
import os
import signal
import sys
import termios
from collections.abc import Iterator
from types import FrameType

from rich.console import Console
from rich.text import Text

from nitro.chat import commands
from nitro.chat.answer_view import AnswerView
from nitro.chat.client import Answer, AnswerStream, End, Piece
from nitro.chat.connection import Connection, Wanted, connect
from nitro.chat.conversation import Conversation
from nitro.chat.input_line import InputLine
from nitro.chat.printable import printable
from nitro.errors import ChatError
from nitro.system import folders

HISTORY = "chat-history"
ENDINGS = {"length": "cut: no room for more tokens", "content_filter": "filtered by the server"}
DEADLY = (signal.SIGTERM, signal.SIGHUP)


class ChatSession:
    """A conversation with one server."""

    def __init__(self, connection: Connection, conversation: Conversation, console: Console, fold: bool = False):
        """`fold`: hide the reasoning."""
        self.connection, self.conversation, self.console = connection, conversation, console
        self._fold = fold
        self.names: list[str] = []  # of the server's models, for completion
        self.ended = False

    def run(self, line: InputLine) -> None:
        """Talk until the person ends it. Raises ChatError where the server is gone: any at the start, its own later."""
        self.names = [str(model["id"]) for model in self.connection.client.models()]
        self.tell(f"{self.conversation.model or 'the default model'} at {self.connection.client.url} · /help")
        while not self.ended:
            try:
                text = line.ask()
            except EOFError:
                break
            if text.strip():
                self.take(text)

    def take(self, text: str) -> None:
        """Do what was typed: a command, or something to say. Raises ChatError where its own server has ended."""
        try:
            if text.startswith("/"):
                commands.run(self, text)
            else:
                self.say(text.strip())
        except ChatError as error:
            own = self.connection.own
            if own and own.ended:
                raise ChatError(own.ended) from None
            self.complain(str(error))
        except KeyboardInterrupt:
            self.tell("stopped")

    def say(self, text: str) -> None:
        """Say it, and show the answer, which is kept if there is any, even if it was stopped. Raises ChatError."""
        stream = self.connection.client.ask(self.conversation.body(text))
        error = None
        with _stopped_by_ctrl_c(stream), _without_echo(), AnswerView(self.console, self._fold) as view:
            while True:
                came = stream.next(view.pause)
                if isinstance(came, End):
                    error = came.error
                    break
                if isinstance(came, Piece):
                    view.show(came)
                view.tick()
        if stream.answer.content:
            self.conversation.add(text, stream.answer.content)
        if error:
            raise error
        self.tell(summary(stream.answer))

    def tell(self, line: str) -> None:
        """Print something that no model said."""
        self.console.print(Text(printable(line), style="dim"))

    def complain(self, line: str) -> None:
        """Print what went wrong."""
        self.console.print(Text(printable(line), style="red"))


def summary(answer: Answer) -> str:
    """The line under an answer."""
    tokens = answer.tokens or answer.pieces
    parts = [f"{tokens} token{'' if tokens == 1 else 's'}"]
    if tokens > 1 and answer.duration > answer.ttft:
        parts.append(f"{(tokens - 1) / (answer.duration - answer.ttft):.1f} tokens/s")
    if answer.ttft:
        parts.append(f"first after {answer.ttft:.2f} s")
    if answer.finish is None:
        parts.append("stopped")
    elif answer.finish in ENDINGS:
        parts.append(ENDINGS[answer.finish])
    if answer.ignored:
        parts.append(f"without effect: {', '.join(answer.ignored)}")
    return " · ".join(parts)


@contextlib.contextmanager
def terminal_as_before(terminal: int) -> Iterator[None]:
    """The terminal's modes are at the end what they were. A signal can end the process between prompt_toolkit's change
    of them and its own `finally`."""
    before = termios.tcgetattr(terminal)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSANOW, before)


@contextlib.contextmanager
def _stopped_by_ctrl_c(stream: AnswerStream) -> Iterator[None]:
    """Ctrl-C stops the answer, and nothing else."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        stream.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        stream.stop()


@contextlib.contextmanager
def _without_echo() -> Iterator[None]:
    """Keys that are typed meanwhile are for the next line, and do not stand in the answer."""
    if not sys.stdin.isatty():
        yield
        return
    with terminal_as_before(sys.stdin.fileno()):
        before = termios.tcgetattr(sys.stdin)
        quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
        yield


def chat(wanted: Wanted, system: str | None, fold: bool) -> None:
    """Talk in this terminal. Raises ChatError."""
    console = Console(highlight=False)
    for number in DEADLY:  # so that the terminal is left as it was
        signal.signal(number, _leave)
    starting = Text(f"Starting {wanted.name or 'a server'} …", style="dim")
    with terminal_as_before(sys.stdin.fileno()), connect(wanted, lambda: console.print(starting)) as found:
        session = ChatSession(found, Conversation(found.model, system), console, fold)
        session.run(InputLine(lambda typed: commands.suggest(session, typed), folders.data() / HISTORY))


def _leave(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGHUP:  # the terminal is gone: whatever is written to it fails
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
    sys.exit(128 + number)
