"""What a model that hears is told to do with speech: an instruction beside the sound, in the user's message.

Models that answer conversations have no other way to be asked for a transcript. The few that were trained on words of
their own have a row.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Task = Literal["transcribe", "translate"]
ENGLISH = "English"


class Hints(NamedTuple):
    """What a request tells about its sound. `languages`: by name, one of which it is in. `into`: the language that is
    wanted. `context`: a text that came before it or is written in the same way."""

    languages: Sequence[str] = ()
    into: str = ENGLISH
    context: str = ""
    words: Sequence[str] = ()


class Wording(NamedTuple):
    """`system`: the system message, if there is one. `user`: what follows the sound."""

    system: str
    user: str


class _Trained(NamedTuple):
    """A family that was trained on words of its own. `markers`: texts, all of which its chat template has."""

    task: Task
    markers: tuple[str, ...]
    system: str


# LFM2-Audio: its model card; its template is that of all LFM2
_TRAINED = (_Trained("transcribe", ("keep_past_thinking", "<|im_start|>"), "Perform ASR."),)


def wording(task: Task, hints: Hints, template: str) -> Wording:
    """The instruction for a model with this chat template."""
    told = _told(hints)
    for trained in _TRAINED:
        if trained.task == task and all(marker in template for marker in trained.markers):
            return Wording(trained.system, told)
    asked = (
        "Transcribe the speech in this recording, word for word, in the language that is spoken. "
        "Write the transcript and nothing else."
        if task == "transcribe"
        else f"Translate the speech in this recording into {hints.into}. Write the translation and nothing else."
    )
    return Wording("", " ".join(filter(None, (asked, told))))


def _told(hints: Hints) -> str:
    said = []
    if len(hints.languages) == 1:
        said.append(f"The language that is spoken is {hints.languages[0]}.")
    elif hints.languages:
        said.append(f"The language that is spoken is one of these: {', '.join(hints.languages)}.")
    if hints.words:
        said.append(f"These words may occur: {', '.join(hints.words)}.")
    if hints.context:
        said.append(f"Keep to the style and the spelling of this text, which may come before it: {hints.context}")
    return " ".join(said)
