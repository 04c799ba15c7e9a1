"""Where a chat template puts images and sounds: a conversation's text, cut into pieces at them.

A message's content is a text in which a mark stands for each medium, so that nothing else has to know of media (see
message_mends.py). Right before a template renders, a content with marks becomes a list of parts, if this template takes
parts of that kind in messages of that role; the template then writes a placeholder of its own, `<|image_pad|>` say,
where it wants the medium. In other messages the mark itself passes through the template. What a template takes, and
what it writes, is found by trying it, and kept in its `findings`.

What stands around a placeholder and is written by whoever encodes the medium (`<|vision_start|>`) goes with it; what
only transformers' processors write is added: rows of PLACEHOLDERS.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from nitro.errors import TemplateError
from nitro.text.template import ChatTemplate
from nitro.text.tools import ChatMessage

Kind = str  # "image" or "audio"
Piece = str | int  # a text, or the number of a medium

# The parts of a content, as templates know them; the first that a template takes
FORMS: dict[Kind, tuple[dict[str, Any], ...]] = {
    "image": ({"type": "image"}, {"type": "image_url", "image_url": ""}),
    "audio": ({"type": "audio"}, {"type": "audio_url", "audio_url": ""}, {"type": "input_audio", "input_audio": ""}),
}
_GUARD = "\ue0c7\uf4a3\ue0c7"  # breaks what a client writes as a template writes placeholders; taken out again
_A, _B = "zqbeforeqz", "zqbehindqz"  # texts that no template has
_NO_KIND = {"type": "zqkindqz"}  # a part that no template knows: what is written for it is no placeholder


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What templates write for a medium, as a regular expression. `before`, `after`: what belongs around it and neither
    the template nor the encoder writes."""

    pattern: str
    before: str = ""
    after: str = ""


def _literal(text: str, before: str = "", after: str = "") -> Placeholder:
    return Placeholder(re.escape(text), before, after)


# The longest first, where one is part of another. By the models whose templates write them.
PLACEHOLDERS: dict[Kind, tuple[Placeholder, ...]] = {
    "image": (
        _literal("<|vision_start|><|image_pad|><|vision_end|>"),  # Qwen2-VL to Qwen3.5, MiMo-VL
        _literal("<|begin_of_image|><|image|><|end_of_image|>"),  # GLM-4V
        _literal("<|media_start|>image<|media_content|><|media_pad|><|media_end|>"),  # Kimi-VL
        _literal("<|media_begin|>image<|media_content|><|media_pad|><|media_end|>"),  # Kimi K2.5
        _literal("<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"),  # PaddleOCR-VL
        _literal("<|img|><|imgpad|><|endofimg|>"),  # dots.ocr
        _literal("<|image_start|><|image|><|image_end|>"),  # Llama 4
        _literal("(<image>./</image>)"),  # MiniCPM-V
        Placeholder(r"<image>(?:<REKA_IMG_TOKEN>)*</image>"),  # Reka
        _literal("<start_of_image>", "\n\n", "\n\n"),  # Gemma 3: Gemma3Processor puts blank lines around it
        _literal("<|kimi_image_placeholder|>"),  # Kimi K3
        _literal("]<]image[>["),  # MiniMax-M3
        Placeholder(r"<\|image_\d+\|>"),  # Phi-3.5-vision, Phi-4-multimodal
        _literal("<|image|>"),  # Gemma 4, Llama 3.2 Vision
        _literal("<|image_pad|>"),
        _literal("<|IMG_PATCH|>"),  # Command A Vision
        _literal("<IMG_CONTEXT>"),  # InternVL
        _literal("<|patch|>"),  # Muse
        _literal("<im_patch>"),  # Step3
        _literal("[IMG]"),  # Pixtral, Mistral Small 3.1 and on, Apriel
        _literal("<image_soft_token>"),  # Gemma 3n
        _literal("<image>"),  # LLaVA, SmolVLM, LFM2-VL, Granite Vision, Idefics 3
    ),
    "audio": (
        _literal("<|audio_bos|><|AUDIO|><|audio_eos|>"),  # Qwen2-Audio, Qwen2.5-Omni
        _literal("<|audio_start|><|audio_pad|><|audio_end|>"),  # Qwen3-Omni, Qwen3-ASR
        _literal("[BEGIN_AUDIO][AUDIO]"),  # Voxtral
        Placeholder(r"<\|audio_\d+\|>"),  # Phi-4-multimodal
        _literal("<audio_soft_token>", "\n\n", "\n\n"),  # Gemma 3n, as of Gemma 3
        _literal("<|audio|>"),  # Gemma 4, Ultravox, Granite Speech
        _literal("[AUDIO]"),
        _literal("<sound>"),  # Audio Flamingo
        _literal("<audio>"),
    ),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """How a template takes media of a kind in messages of a role: the part that it takes, and what it writes for it."""

    part: Mapping[str, Any]
    placeholder: Placeholder


class MediaTemplate:
    """A chat template for one conversation with media. `kinds`: theirs, in order. `names`: what the request calls
    them."""

    def __init__(self, template: ChatTemplate, kinds: Sequence[Kind], names: Sequence[str]):
        self.findings = template.findings
        self._template = template
        self._kinds = list(kinds)
        self._names = names
        nonce = secrets.token_hex(8)
        self._marks = [f"\ue0c8{nonce}x{number}\ue0c8" for number in range(len(self._kinds))]
        self._mark = re.compile(rf"\ue0c8{nonce}x(\d+)\ue0c8")

    def mark(self, number: int) -> str:
        """What stands for a medium in the text of a message."""
        return self._marks[number]

    def render(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        continues: bool = False,
    ) -> str:
        """As ChatTemplate.render does; in the text each medium is its mark. Raises TemplateError."""
        last = len(messages) - 1 if continues else len(messages)  # what is continued is a text
        for with_parts in (True, False):
            written: list[tuple[Placeholder, int]] = []  # of the media that the template puts: in order
            prepared = [self._prepared(m, written, with_parts and i != last) for i, m in enumerate(messages)]
            text = self._marked(self._template.render(prepared, tools, variables, continues), written)
            if text is not None:
                return text
        raise AssertionError

    def pieces(self, text: str, numbers: Iterable[int]) -> list[Piece]:
        """A rendered text, cut at the media. `numbers`: those of its messages. Raises TemplateError where the template
        has left one out."""
        cut = self._mark.split(text)
        pieces: list[Piece] = [int(part) if i % 2 else part for i, part in enumerate(cut)]
        missing = set(numbers) - {piece for piece in pieces if isinstance(piece, int)}
        if missing:
            name = self._names[min(missing)]
            raise TemplateError(f"The chat template leaves out '{name}'.", name)
        return [piece for piece in pieces if piece != ""]

    def plain(self, text: str) -> str:
        """A rendered text without the media."""
        return self._mark.sub("", text)

    def _prepared(self, message: ChatMessage, written: list[tuple[Placeholder, int]], parts: bool) -> ChatMessage:
        """The message as this template takes it. Adds to `written` what the template writes."""
        content = message.get("content")
        if not isinstance(content, str):
            return message
        cut = self._mark.split(content)
        texts = [self._guarded(text) for text in cut[::2]]
        numbers = [int(number) for number in cut[1::2]]
        if not numbers:
            return {**message, "content": texts[0]}
        taken = [how for n in numbers if parts and (how := self._taken(message["role"], self._kinds[n]))]
        if len(taken) < len(numbers):
            return {**message, "content": "".join(_interleaved(texts, [self._in_text(n) for n in numbers]))}
        written += zip((how.placeholder for how in taken), numbers, strict=True)
        content = [
            {"type": "text", "text": text} if isinstance(text, str) else text
            for text in _interleaved(texts, [how.part for how in taken])
            if text
        ]
        return {**message, "content": content}

    def _in_text(self, number: int) -> str:
        """The mark of a medium in a message whose parts the template does not take."""
        how = self._taken("user", self._kinds[number])
        around = how.placeholder if how else Placeholder("")
        return around.before + self._marks[number] + around.after

    def _marked(self, text: str, written: list[tuple[Placeholder, int]]) -> str | None:
        """The text with marks where the template has put placeholders; None where they are not as many."""
        for placeholder in dict.fromkeys(placeholder for placeholder, _ in written):
            numbers = [number for each, number in written if each == placeholder]
            pattern = _compiled(placeholder.pattern)
            if len(pattern.findall(text)) != len(numbers):
                return None
            left = iter(numbers)
            text = pattern.sub(partial(self._put, placeholder, left), text)
        return text.replace(_GUARD, "")

    def _put(self, placeholder: Placeholder, left: Iterator[int], match: re.Match[str]) -> str:
        return placeholder.before + self._marks[next(left)] + placeholder.after

    def _guarded(self, text: str) -> str:
        """The text, in which nothing looks like a placeholder of this template's."""
        for kind in dict.fromkeys(self._kinds):
            if how := self._taken("user", kind):
                text = _compiled(how.placeholder.pattern).sub(_broken, text)
        return text

    def _taken(self, role: str, kind: Kind) -> Taken | None:
        """How the template takes a medium in a message of this role; None: it does not."""
        key = ("media", role, kind)
        found = self.findings
        if key not in found:
            found[key] = _tried(self._template, role, kind)
        taken: Taken | None = found[key]
        return taken


def _interleaved(texts: Sequence[Any], media: Sequence[Any]) -> Iterator[Any]:
    """The first text, the first medium, and so on. There is one text more."""
    for text, medium in zip(texts, [*media, ""], strict=True):
        yield text
        yield medium


def _broken(match: re.Match[str]) -> str:
    return match[0][:1] + _GUARD + match[0][1:]


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _tried(template: ChatTemplate, role: str, kind: Kind) -> Taken | None:
    """The first form of a part for which the template writes something between, or beside, two texts."""
    without = _rendered(template, role)
    if without is None:
        return None
    for part in FORMS[kind]:
        text = _rendered(template, role, part)
        if text is None:
            continue
        if known := _known(text, without, kind):
            return Taken(part, known)
        added = _added(text, without)
        if added.strip() and "type" not in added and text != _rendered(template, role, _NO_KIND):
            return Taken(part, _literal(added))
    return None


def _rendered(template: ChatTemplate, role: str, *parts: Mapping[str, Any]) -> str | None:
    """A message of this role with two texts and these parts between; None where the template does not write it."""
    content = [{"type": "text", "text": _A}, *parts, {"type": "text", "text": _B}]
    try:
        text = template.render(_CONVERSATIONS.get(role, _as_it_is)({"role": role, "content": content}))
    except TemplateError:
        return None
    return text if text.count(_A) == text.count(_B) == 1 else None


def _known(text: str, without: str, kind: Kind) -> Placeholder | None:
    """The row whose placeholder is in the text and is not without the medium."""
    for placeholder in PLACEHOLDERS[kind]:
        pattern = _compiled(placeholder.pattern)
        if len(pattern.findall(text)) == 1 and not pattern.search(without):
            return placeholder
    return None


def _added(text: str, without: str) -> str:
    """What one text has more than the other, if that is in one place; else ""."""
    start = next((i for i, (a, b) in enumerate(zip(text, without, strict=False)) if a != b), len(without))
    more = len(text) - len(without)
    return text[start : start + more] if more > 0 and text[:start] + text[start + more :] == without else ""


def _as_it_is(message: ChatMessage) -> list[ChatMessage]:
    return [message]


def _answering(message: ChatMessage) -> list[ChatMessage]:
    return [{"role": "user", "content": "zquserqz"}, message]


def _asked(message: ChatMessage) -> list[ChatMessage]:
    return [message, {"role": "user", "content": "zquserqz"}]


def _of_tool(message: ChatMessage) -> list[ChatMessage]:
    call = {"id": "zqcall000", "type": "function", "function": {"name": "zqtoolqz", "arguments": {}}}
    calls: ChatMessage = {"role": "assistant", "content": "", "tool_calls": [call]}
    return [
        {"role": "user", "content": "zquserqz"},
        calls,
        {**message, "tool_call_id": "zqcall000", "name": "zqtoolqz"},
    ]


# Around a message of this role: the shortest conversation in which it may stand
_CONVERSATIONS: dict[str, Callable[[ChatMessage], list[ChatMessage]]] = {
    "assistant": _answering,
    "tool": _of_tool,
    "system": _asked,
    "developer": _asked,
}
