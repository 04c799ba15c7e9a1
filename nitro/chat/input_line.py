"""The line that a person types: history, completion, several lines. The only place that knows prompt_toolkit."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output

PROMPT = "> "
CONTINUED = "… "

Suggest = Callable[[str], Sequence[str]]  # what a line may be completed to, if it begins a command


class InputLine:
    """Asks for one text after another."""

    def __init__(
        self,
        suggest: Suggest,
        history: Path | None = None,
        input: Input | None = None,
        output: Output | None = None,
    ):
        """`history`: the file that keeps what was typed; None: nothing is kept. `input` and `output`: a terminal for
        tests."""
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=True,
            prompt_continuation=CONTINUED,
            history=_history(history),
            completer=_Commands(suggest),
            key_bindings=_keys(),
            input=input,
            output=output,
        )

    def ask(self) -> str:
        """The next text. Raises EOFError at Ctrl-D, and at Ctrl-C where nothing has been typed."""
        try:
            return self._session.prompt()
        except KeyboardInterrupt:  # a signal from elsewhere
            raise EOFError from None


def _history(file: Path | None) -> History:
    """Kept in a file that nobody else can read, if there can be one."""
    if file is None:
        return InMemoryHistory()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        return FileHistory(str(file))
    except OSError:
        return InMemoryHistory()


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=EOFError)

    return keys


class _Commands(Completer):
    """Completes commands, and what stands behind them."""

    def __init__(self, suggest: Suggest):
        self._suggest = suggest

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """See prompt_toolkit."""
        typed = document.text_before_cursor
        if typed.startswith("/") and "\n" not in typed:
            word = typed.rpartition(" ")[2]
            for line in self._suggest(typed):
                yield Completion(line[len(typed) - len(word) :], start_position=-len(word))
