"""A group of commands as a person meets it in a shell: Ctrl-C ends a command quietly, messages fit the terminal, and
there are no colours where they are not wanted."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from nitro.system import terminal

INTERRUPTED = 130  # exit status, as shells have it


class ShellGroup(click.Group):
    """See above."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """See click.Command."""
        if terminal.is_plain():
            extra.setdefault("color", False)
        with _shell():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """See click.Command."""
        with _shell():
            return super().invoke(ctx)


@contextmanager
def _shell() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    except click.UsageError as error:
        width = terminal.columns(sys.stderr)
        if width is None:
            raise
        message = terminal.wrapped(f"Error: {error.format_message()}", width).removeprefix("Error: ")
        raise click.UsageError(message, error.ctx) from error
