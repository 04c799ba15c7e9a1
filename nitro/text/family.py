"""What a chat template tells about its model's family: how it calls tools, and how it reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from nitro.errors import TemplateError
from nitro.text import MAX_TEMPLATE_CHARACTERS, call_arguments, reasoning, tool_formats
from nitro.text.deltas import Parser, PlainParser
from nitro.text.message_mends import results_in_order
from nitro.text.message_parser import MessageParser
from nitro.text.output_parser import ChannelParser
from nitro.text.reasoning import Markers
from nitro.text.tool_formats import fallback, history
from nitro.text.tool_formats.format import ToolFormat
from nitro.text.tools import ChatMessage, ToolsByName

if TYPE_CHECKING:  # the server knows families, and never renders
    from nitro.text.template import Renders


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """How a model calls tools and reasons. A value: the same for the same template."""

    format: ToolFormat
    native_tools: bool  # its template describes tools; else a system message does, and asks for calls in the format
    output_markers: Markers | None  # around its reasoning and its answer; None: it writes none
    writes_calls: bool = True  # its template writes the calls of the history, too

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, template: str, tool_format: str | None = None) -> "ModelFamily":
        """The family by its template, or the one of `tool_format`, a format's name, whatever the template says.

        Takes 0.1 to 0.3 ms for real templates, once: the last ones are remembered. A template that is too long to be
        compiled counts as an empty one, so that none holds an event loop.
        """
        if len(template) > MAX_TEMPLATE_CHARACTERS:
            template = ""
        found = tool_formats.known()[tool_format] if tool_format else tool_formats.detect(template)
        native = found is not None and found is not fallback.FORMAT and "tools" in template
        return cls(found or fallback.FORMAT, native, reasoning.detect(template), "tool_calls" in template)

    def prompt(
        self,
        template: "Renders",
        messages: Sequence[ChatMessage],
        tools: Sequence[ChatMessage] | None,
        variables: Mapping[str, Any] | None = None,
        continues: bool = False,
    ) -> str:
        """The prompt's text, with the tools described. `continues`: it ends within the last message. Raises
        TemplateError, which names the message that the template refuses.

        Messages that the template does not take are said in a form that it takes: see message_normalizer.py.
        """
        from nitro.text import template_refusal
        from nitro.text.message_normalizer import Normalizer, does_too_much

        messages = call_arguments.with_objects(messages)
        normalizer = Normalizer(template, bool(self.native_tools and tools))
        in_text = next(call_arguments.texts(messages), None) if self.native_tools and self.writes_calls else None
        if in_text and not normalizer.takes_text_arguments():
            expected = "a JSON object in a text; this model's chat template takes nothing else"
            raise TemplateError(f"Invalid value for '{in_text}': expected {expected}.", in_text)

        def render(some: Sequence[ChatMessage]) -> str:
            inputs, described = self.template_inputs(results_in_order(some), tools)
            return normalizer.render(inputs, described, variables, continues and some is messages)

        try:
            return render(messages)
        except TemplateError as error:
            if does_too_much(error):
                raise
            raise template_refusal.told(error, messages, render) from error.__cause__

    def template_inputs(
        self, messages: Sequence[ChatMessage], tools: Sequence[ChatMessage] | None
    ) -> tuple[Sequence[ChatMessage], Sequence[ChatMessage] | None]:
        """The messages and tools in the form that the template takes."""
        if not self.native_tools:
            return fallback.describe_tools(messages, tools, self.format.layout), None
        if not self.writes_calls:
            messages = history.with_calls_as_text(messages, self.format.layout)
        if self.format.inject_tools and tools:
            messages = self.format.inject_tools(messages, tools)
        return messages, tools

    @property
    def reasoning_markers(self) -> Markers | None:
        """The markers of its reasoning; None: it does none."""
        return self.output_markers if self.output_markers and self.output_markers.open_tag else None

    def parser(
        self, tools: ToolsByName | None, stream_calls: bool, in_reasoning: bool, continues: bool = False
    ) -> Parser:
        """A parser for one answer.

        `tools` None: it can call none. `stream_calls`: a grammar makes calls certain, so they are passed on as they
        come. `in_reasoning`: its prompt has opened the reasoning. `continues`: it goes on with what the prompt has of
        it.
        """
        if tools is None and self.output_markers is None:
            return PlainParser()
        messages = self.format.messages
        if messages and self.output_markers and self.output_markers.open_tag == messages.reasoning:
            return MessageParser(messages, tools or {}, in_reasoning, stream_calls, continues)
        format = self.format if tools is not None else None
        return ChannelParser(format, tools or {}, self.output_markers, in_reasoning, stream_calls, continues)

    def visible_special_tokens(self, with_tools: bool) -> list[str]:
        """The control tokens whose text a parser must see."""
        tokens = self.output_markers.visible_special_tokens if self.output_markers else set()
        if with_tools:
            tokens = tokens | {*self.format.special_tokens, *self.format.open_tags, self.format.close_tag} - {""}
        return sorted(tokens)
