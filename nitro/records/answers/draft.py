"""An Answer while it is put together."""

from dataclasses import dataclass, field
from typing import Any

from nitro.records.form import Answer, AnswerCall, AnswerChoice

Json = dict[str, Any]


@dataclass
class CallDraft:
    """A call whose arguments are coming."""

    name: str = ""
    arguments: str = ""


@dataclass
class ChoiceDraft:
    """A choice whose text is coming. `calls` by their number, or whatever tells them apart."""

    text: str = ""
    reasoning: str = ""
    calls: dict[Any, CallDraft] = field(default_factory=dict)
    finish: str | None = None

    def call(self, key: Any) -> CallDraft:
        """The call of this key, which may be new."""
        return self.calls.setdefault(key, CallDraft())

    def made(self) -> AnswerChoice:
        """As it is now."""
        calls = [AnswerCall(call.name, call.arguments) for call in self.calls.values()]
        return AnswerChoice(self.text, self.reasoning, calls, self.finish)


@dataclass
class Draft:
    """A reply that is coming."""

    choices: dict[int, ChoiceDraft] = field(default_factory=dict)
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    fingerprint: str | None = None
    error: str | None = None
    vectors: list[list[float]] = field(default_factory=list)

    def choice(self, index: int = 0) -> ChoiceDraft:
        """The choice of this number, which may be new."""
        return self.choices.setdefault(index, ChoiceDraft())

    def made(self) -> Answer:
        """As it is now."""
        return Answer(
            [choice.made() for _, choice in sorted(self.choices.items())],
            self.prompt_tokens,
            self.cached_tokens,
            self.completion_tokens,
            self.fingerprint,
            self.error,
            self.vectors,
        )


def text(value: Any) -> str:
    """A text, if it is one."""
    return value if isinstance(value, str) else ""


def table(value: Any) -> Json:
    """An object, if it is one."""
    return value if isinstance(value, dict) else {}


def tables(value: Any) -> list[Json]:
    """The objects of a list, if it is one."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def count(value: Any, before: int | None = None) -> int | None:
    """A number of tokens, or what was known before."""
    return value if isinstance(value, int) and not isinstance(value, bool) else before


def error_of(reply: Json) -> str | None:
    """The message of an error's body, in whatever form."""
    error = reply.get("error")
    if isinstance(error, dict):
        return text(error.get("message")) or "an error"
    if isinstance(error, str):
        return error
    if isinstance(reply.get("message"), str):  # the first Nitro's
        return text(reply["message"])
    return None
