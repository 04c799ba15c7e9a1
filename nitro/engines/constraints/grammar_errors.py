"""Why a constraint cannot be compiled, in words for the client."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

MAX_PROBLEM_CHARS = 300
TOO_MANY_STATES = "It takes too many states to follow."
_DUMP = re.compile(r"<(?:state|grammar|non-verbose)\b.*", re.DOTALL)  # of llguidance's state, behind what it says
_BASE = "json-schema:///"  # llguidance's address of a schema without one
# What llguidance says, and how it is told: without advice on options that no client has.
_TOLD = [
    (r"regex parse error:.*error: (.*)", r"\1"),
    (r".*?Resource '(.*?)' is not present in a registry.*", r"'\1' is not in the schema, and nothing is fetched."),
    (r".*?lexer error: .*|.*lexer precomputation failed.*|.*initial_lexer_fuel.*", TOO_MANY_STATES),
    (r".*?Unable to determine if regex is empty.*|.*?fuel exhausted.*", TOO_MANY_STATES),
    (r".*?Too many items \(limit (\d+).*", r"It can go on in too many ways at once: more than \1 items."),
    (r".*?Current row has (\d+) items; max is (\d+).*", r"It can go on in too many ways at once: \1 items, of \2."),
    (r"NoExtension\w*", "Nothing can be said that keeps it."),
    (r"(.*?) while processing json-schema:.*", r"\1"),
    (r"(oneOf constraints are not supported).*", r"\1."),
    (r".*recursion (?:depth|limit) exceeded.*", "It is nested too deeply."),
]


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
    except (GrammarError, CompileCancelled, KeyboardInterrupt, MemoryError, SystemExit):
        raise
    except BaseException as error:  # a panic in llguidance is no Exception
        raise GrammarError(sentence(str(error)) or repr(error), param) from error


def sentence(problem: str) -> str:
    """What llguidance says of a problem, in one sentence: without the state that it may write behind it, and cut to
    MAX_PROBLEM_CHARS."""
    text = " ".join(_DUMP.sub("", problem).replace(_BASE, "").split())
    for said, told in _TOLD:
        if match := re.fullmatch(said, text):
            text = match.expand(told)
            break
    return text if len(text) <= MAX_PROBLEM_CHARS else text[:MAX_PROBLEM_CHARS] + "…"
