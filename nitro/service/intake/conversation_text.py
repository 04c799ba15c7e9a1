"""A conversation as its model's chat template writes it: a text or, with images and sounds, pieces of one."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from nitro.engines.media import Media
from nitro.engines.work import Keep, MediaPrompt, Prompt
from nitro.service.requests import Conversation, text_part
from nitro.text.family import ModelFamily
from nitro.text.media_places import MediaTemplate
from nitro.text.template import ChatTemplate

SYSTEM_ROLES = ("system", "developer")
Messages = list[dict[str, Any]]


class ConversationText:
    """Writes one conversation."""

    def __init__(
        self, prompt: Conversation, media: list[Media], template: ChatTemplate, family: ModelFamily, system: str | None
    ):
        """`media`: the conversation's, checked. `system`: the text of a system message for one that brings none."""
        self._prompt = prompt
        self._media = media
        self._family = family
        self._system = system
        self._separator = template.part_separator
        self._with_media = (
            MediaTemplate(template, [medium.kind for medium in media], [medium.param for medium in media])
            if media
            else None
        )
        self._template = self._with_media or template

    def messages(self, messages: Messages) -> Messages:
        """Messages as templates want them: the content of each is one text."""
        mark = self._with_media.mark if self._with_media else None
        return [with_text(message, self._separator, mark) for message in self._with_system(messages)]

    def render(self, messages: Messages, offered: Messages | None) -> str:
        """The prompt; an image or a sound is a mark in it. Raises TemplateError."""
        prompt = self._prompt
        return self._family.prompt(self._template, self.messages(messages), offered, prompt.variables, prompt.continues)

    def prompt(self, text: str, messages: Messages) -> tuple[Prompt, list[Media]]:
        """A text that was rendered of these messages, for the engine, and the media in it. Raises TemplateError where
        the template has left one out."""
        if self._with_media is None:
            return text, []
        numbers = [part["medium"] for message in messages for part in message["content"] if "medium" in part]
        pieces = self._with_media.pieces(text, numbers)
        used = list(dict.fromkeys(piece for piece in pieces if isinstance(piece, int)))
        if not used:
            return text, []
        places = {number: place for place, number in enumerate(used)}
        numbered = [places[piece] if isinstance(piece, int) else piece for piece in pieces]
        return MediaPrompt(numbered), [self._media[number] for number in used]

    def keeps(self, text: str, keeps: list[Keep]) -> list[Keep]:
        """What is to be kept of this text, in characters of the prompt, in which media have none."""
        if self._with_media is None:
            return keeps
        plain = self._with_media.plain
        return [keep if keep.end is None else replace(keep, end=len(plain(text[: keep.end]))) for keep in keeps]

    def _with_system(self, messages: Messages) -> Messages:
        """The messages, with the model's default system message where they bring none."""
        if self._system is None or any(message["role"] in SYSTEM_ROLES for message in messages):
            return messages
        return [{"role": "system", "content": [text_part(self._system)]}, *messages]


def with_text(message: dict[str, Any], between: str, mark: Callable[[int], str] | None = None) -> dict[str, Any]:
    """A message as chat templates want it: its parts are one text. `mark`: what stands in it for a medium."""
    parts = message["content"]
    if mark is None:
        return {**message, "content": between.join(part["text"] for part in parts)}
    return {**message, "content": _joined(parts, between, mark)}


def _joined(parts: Sequence[dict[str, Any]], between: str, mark: Callable[[int], str]) -> str:
    text = ""
    after_text = False
    for part in parts:
        is_text = "text" in part
        text += (between if is_text and after_text else "") + (part["text"] if is_text else mark(part["medium"]))
        after_text = is_text
    return text
