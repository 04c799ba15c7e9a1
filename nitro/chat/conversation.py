"""A conversation as it is sent, and as it is kept in a file."""

import json
from dataclasses import dataclass, field
from typing import Any

from nitro.errors import ChatError

RESERVED = ("messages", "model", "stream", "stream_options", "n")  # what a conversation sets itself


@dataclass
class Conversation:
    """Messages as OpenAI has them, without the system message, which is kept beside them."""

    model: str = ""
    system: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)

    def body(self, text: str) -> dict[str, Any]:
        """A request that says this next."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        said = {"role": "user", "content": text}
        return {"model": self.model, "messages": [*system, *self.messages, said], **self.parameters}

    def add(self, text: str, answer: str) -> None:
        """Keep what was said, and what was answered."""
        self.messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]

    def to_json(self) -> str:
        """As a file."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        content = {"model": self.model, "messages": [*system, *self.messages], **self.parameters}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Conversation:
    """A conversation from a file: the body of a chat request, or its messages alone. Raises ChatError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ChatError(f"it is not JSON: {error}.") from None
    content = {"messages": content} if isinstance(content, list) else content
    messages = content.pop("messages", None) if isinstance(content, dict) else None
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise ChatError('it is no conversation: {"messages": [{"role": "user", "content": "…"}, …]}.')
    model = content.pop("model", "")
    parameters = {name: value for name, value in content.items() if name not in RESERVED}
    has_system = bool(messages) and messages[0]["role"] == "system" and isinstance(messages[0]["content"], str)
    system = messages.pop(0)["content"] if has_system else None
    return Conversation(model if isinstance(model, str) else "", system, parameters, messages)


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and isinstance(message.get("role"), str) and "content" in message


def parameter(text: str) -> Any:
    """The value that somebody typed: JSON, or else a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
