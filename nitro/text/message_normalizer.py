"""Says a conversation as a chat template takes it. Where a template takes it as it is, it stays as it is.

What a template takes is found by trying it (see template_traits.py): at the first conversation that has the trait, with
small conversations under the template's own budget of work. It is remembered with the template.
"""

import contextlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from nitro.errors import TemplateError
from nitro.text import conversation_shape
from nitro.text.message_mends import Messages
from nitro.text.sandbox import TooMuch
from nitro.text.template import Renders
from nitro.text.template_traits import HOLE, TOOLS, TRAITS, Probe, text_arguments, words
from nitro.text.tools import ChatMessage

AS_IS = 0
HOSTILE = "hostile"  # found where a template does too much with a probe: it gets what it is given
NOTHINGS = ("", "None")  # what templates write for a value that is not there
_REFUSED = 1000  # counts as so many lost words


class Normalizer:
    """Normalises messages for one template, with tools or without."""

    def __init__(self, template: Renders, with_tools: bool):
        self._template = template
        self._found = template.findings
        self._tools = TOOLS if with_tools else None
        self._with_tools = with_tools

    def render(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any] | None = None,
        continues: bool = False,
    ) -> str:
        """The prompt. Raises TemplateError where the template takes the messages in no form."""
        given = list(messages)
        try:
            return self._template.render(self.normalized(given), tools, variables, continues)
        except TemplateError as error:
            if does_too_much(error):
                raise
            with contextlib.suppress(TemplateError):
                return self._template.render(self.normalized(given, force=True), tools, variables, continues)
            raise

    def normalized(self, messages: Messages, start: int = 0, force: bool = False) -> Messages:
        """The messages with each kind of thing mended that the template does not take, by the rows of TRAITS from
        `start` on. `force`: each kind is mended for which there is a mend that it takes."""
        shape = conversation_shape.of(messages)
        for row, trait in enumerate(TRAITS[start:], start):
            for kind in trait.kinds(shape):
                choice = self._choice(row, kind, force)
                if choice != AS_IS:
                    messages = trait.mends[choice - 1](messages, kind)
                    shape = conversation_shape.of(messages)
        return messages

    def takes_text_arguments(self) -> bool:
        """Whether it takes the arguments of a call as a text that is no JSON."""
        key = (self._with_tools, "text arguments")
        if key not in self._found:
            try:
                self._found[key] = self._cost(text_arguments(), len(TRAITS))
            except TooMuch:
                self._found[key] = 0
        return bool(self._found[key] == 0)

    def _choice(self, row: int, kind: Hashable, force: bool) -> int:
        """Which mend of a row helps, from 1 on; AS_IS: none is needed, or none helps."""
        if HOSTILE in self._found:
            return AS_IS
        key = (self._with_tools, force, TRAITS[row].name, kind)
        if key not in self._found:
            try:
                self._found[key] = self._try(row, kind, force)
            except TooMuch:
                self._found[HOSTILE] = 1
                return AS_IS
        return int(self._found[key])

    def _try(self, row: int, kind: Hashable, force: bool) -> int:
        trait = TRAITS[row]
        probes = trait.probes(kind)
        best, least = AS_IS, 1 if force else self._costs(probes, row, probes)
        for number, mend in enumerate(trait.mends, 1):
            if least == 0:
                break
            mended = [Probe(mend(probe.messages, kind), probe.unlike) for probe in probes]
            cost = self._costs(mended, row, probes)
            if cost < least:
                best, least = number, cost
        return best

    def _costs(self, probes: list[Probe], row: int, originals: list[Probe]) -> int:
        """The cost of probes, which are mended forms of the originals, with the rows behind this one applied."""
        pairs = zip(probes, originals, strict=True)
        return sum(self._cost(probe, row + 1, original.messages) for probe, original in pairs)

    def _cost(self, probe: Probe, start: int, said: Messages | None = None) -> int:
        """How many words of what was said the template loses. Raises TooMuch."""
        text = self._tried(probe.messages, start)
        if text is None:
            return _REFUSED
        cost = sum(word not in text for word in words(said or probe.messages))
        if probe.unlike is not None:
            cost += text == self._tried(probe.unlike, start)
        if probe.named is not None:
            named = self._tried(probe.named, start) or ""
            cost += HOLE in named and text in (named.replace(HOLE, nothing) for nothing in NOTHINGS)
        return cost

    def _tried(self, messages: Messages, start: int) -> str | None:
        """The prompt, with the rows from `start` on applied; None: refused. Raises TooMuch."""
        try:
            return self._template.render(self.normalized(messages, start), self._tools)
        except TemplateError as error:
            if does_too_much(error):
                raise TooMuch from None
            return None


def does_too_much(error: TemplateError) -> bool:
    """Whether this is the end of the template's budget, and no refusal."""
    return isinstance(error.__cause__, TooMuch)
