"""What a chat template tells of its model's family: how it calls tools, and how it reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nitro.errors import TemplateError
from nitro.text import reasoning, tool_formats
from nitro.text.output_parser import ChannelParser, Parser, Plain
from nitro.text.reasoning import Markers
from nitro.text.tool_formats import fallback, history
from nitro.text.tool_formats.format import Format
from nitro.text.tools import Tools

if TYPE_CHECKING:  # the server knows families, and never renders
    from nitro.text.template import ChatTemplate

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """`native`: its template tells the model of tools; else words do, which ask for calls in the format. `writes`: it
    writes calls of the history, too."""

    format: Format
    native: bool
    around: Markers | None  # its reasoning and its answer; None: nothing is
    writes: bool = True

    @classmethod
    def of(cls, template: str, tool_format: str | None = None) -> "Family":
        """`tool_format`: the name of a format that is to be used, whatever the template says."""
        found = tool_formats.known()[tool_format] if tool_format else tool_formats.detect(template)
        native = found is not None and found is not fallback.FORMAT and "tools" in template
        return cls(found or fallback.FORMAT, native, reasoning.detect(template), "tool_calls" in template)

    def prompt(
        self,
        template: "ChatTemplate",
        messages: Sequence[Message],
        tools: Sequence[Message] | None,
        variables: Message | None = None,
        continues: bool = False,
    ) -> str:
        """The prompt's text. Raises TemplateError."""
        given, told = self.told(messages, tools)
        try:
            return template.render(given, told, variables, continues)
        except TemplateError:
            if self.native or not tools:
                raise
            return template.render(fallback.without_system(given), told, variables, continues)

    def told(self, messages: Sequence[Message], tools: Sequence[Message] | None) -> tuple[Sequence[Message], Any]:
        """The messages and tools as the template takes them."""
        if not self.native:
            return fallback.messages(messages, tools, self.format.layout), None
        told = messages if self.writes else history.messages(messages, self.format.layout)
        return self.format.given(told, tools) if self.format.given and tools else told, tools

    @property
    def markers(self) -> Markers | None:
        """Of its reasoning; None: it does none."""
        return self.around if self.around and self.around.opens else None

    def parser(self, tools: Tools | None, live: bool, thinking: bool, begun: bool = False) -> Parser:
        """For one answer. `tools` None: it can call none; `thinking`: its prompt has opened the reasoning; `begun`: it
        goes on with what the prompt says of it."""
        if tools is None and self.around is None:
            return Plain()
        format = self.format if tools is not None else None
        return ChannelParser(format, tools or {}, self.around, thinking, live, begun)

    def spoken(self, with_tools: bool) -> list[str]:
        """The texts of control tokens that a parser must see."""
        marks = {*self.format.marks, *self.format.opens, self.format.closes} - {""} if with_tools else set()
        return sorted(marks | (self.around.spoken if self.around else set()))
