"""Says a conversation as a chat template takes it. Where a template takes it as it is, it stays as it is.

What a template takes is found by trying it (see template_traits.py): at the first conversation that has the trait, with
small conversations under the template's own budget of work. It is remembered with the template.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from nitro.errors import TemplateError
from nitro.text import conversation_shape
from nitro.text.message_mends import Messages
from nitro.text.sandbox import TooMuch
from nitro.text.template import ChatTemplate
from nitro.text.template_traits import TOOLS, TRAITS, Probe, Trait, text_arguments, words
from nitro.text.tools import ChatMessage

AS_IS = 0
MAX_BLAMED = 1000  # messages of a conversation in which the one at fault is looked for
_HELLO: Messages = [{"role": "user", "content": "Hello"}]
_REFUSED = 1000  # counts as so many lost words


class Normalizer:
    """Normalises messages for one template, with tools or without."""

    def __init__(self, template: ChatTemplate, with_tools: bool):
        self._template = template
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
            if _does_too_much(error):
                raise
            forced = self.normalized(given, force=True)
            try:
                return self._template.render(forced, tools, variables, continues)
            except TemplateError:
                raise error from None

    def normalized(self, messages: Messages, force: bool = False, start: int = 0) -> Messages:
        """The messages with each kind of thing mended that the template does not take, from the row of TRAITS `start`
        on. `force`: with each kind mended that a row knows a mend for."""
        shape = conversation_shape.of(messages)
        for row, trait in enumerate(TRAITS[start:], start):
            for kind in trait.kinds(shape):
                choice = self._choice(row, kind) or (1 if force else AS_IS)
                if choice != AS_IS:
                    messages = trait.mends[choice - 1](messages, kind)
                    shape = conversation_shape.of(messages)
        return messages

    def takes_text_arguments(self) -> bool:
        """Whether it takes the arguments of a call as a text that is no JSON."""
        key = (self._with_tools, "text arguments")
        if key not in self._template.findings:
            self._template.findings[key] = int(self._cost(text_arguments(), len(TRAITS)) > 0)
        return self._template.findings[key] == 0

    def _choice(self, row: int, kind: Hashable) -> int:
        """Which mend of a row helps, from 1 on; AS_IS: none is needed, or none helps."""
        key = (self._with_tools, TRAITS[row].name, kind)
        found = self._template.findings.get(key)
        if found is None:
            found = self._template.findings[key] = self._try(TRAITS[row], row, kind)
        return found

    def _try(self, trait: Trait, row: int, kind: Hashable) -> int:
        try:
            best, least = AS_IS, self._costs(trait.probes(kind), row)
            for number, mend in enumerate(trait.mends, 1):
                if least == 0:
                    break
                mended = [Probe(mend(probe.messages, kind), probe.unlike) for probe in trait.probes(kind)]
                cost = self._costs(mended, row, trait.probes(kind))
                if cost < least:
                    best, least = number, cost
        except TooMuch:  # it is a hostile one; it gets what it is given
            return AS_IS
        return best

    def _costs(self, probes: list[Probe], row: int, originals: list[Probe] | None = None) -> int:
        return sum(
            self._cost(probe, row + 1, original) for probe, original in zip(probes, originals or probes, strict=True)
        )

    def _cost(self, probe: Probe, start: int, original: Probe | None = None) -> int:
        """How many words of the original the template loses. Raises TooMuch."""
        text = self._tried(probe.messages, start)
        if text is None:
            return _REFUSED
        lost = sum(word not in text for word in words((original or probe).messages))
        same = probe.unlike is not None and self._tried(probe.unlike, start) == text
        other = probe.like is not None and self._tried(probe.like, start) != text
        return lost + same + other

    def _tried(self, messages: Messages, start: int) -> str | None:
        """The prompt, with the rows from `start` on applied; None: refused. Raises TooMuch."""
        try:
            return self._template.render(self.normalized(messages, start=start), self._tools)
        except TemplateError as error:
            if isinstance(error.__cause__, TooMuch):
                raise error.__cause__ from None
            return None


def _does_too_much(error: TemplateError) -> bool:
    return isinstance(error.__cause__, TooMuch)
