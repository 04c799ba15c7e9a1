"""Why a constraint cannot be compiled, in words for the client."""

from collections.abc import Iterator
from contextlib import contextmanager

MAX_PROBLEM_CHARS = 300


class GrammarError(Exception):
    """The constraint cannot be enforced. The message is for the client; `param` is the schema that is at fault."""

    def __init__(self, message: str, param: str | None = None):
        super().__init__(message)
        self.param = param


class CompileCancelled(Exception):
    """The client has left: nobody waits for the constraint."""


@contextmanager
def as_grammar_errors(param: str | None = None) -> Iterator[None]:
    """Whatever a library raises over a constraint becomes a GrammarError: it is the constraint's fault."""
    try:
        yield
    except (GrammarError, CompileCancelled, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in llguidance is no Exception
        raise GrammarError(sentence(str(error)) or repr(error), param) from error


def sentence(problem: str) -> str:
    """What llguidance says of a problem, without the state that it writes behind it, cut to MAX_PROBLEM_CHARS."""
    text = " ".join(problem.partition("<state>")[0].partition("<grammar>")[0].split())
    return text if len(text) <= MAX_PROBLEM_CHARS else text[:MAX_PROBLEM_CHARS] + "…"
