"""Renders messages to prompt text, by the model's own chat template in sandboxed Jinja. Knows no formats of tool calls.

The environment is the one that chat templates are written for, `apply_chat_template` in Hugging Face transformers:
trimmed blocks, loop controls, `raise_exception`, `strftime_now`, `tojson` without HTML escapes, `{% generation %}`.
"""

import contextlib
import json
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, NoReturn, Protocol

from jinja2 import TemplateError as JinjaError
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from nitro.errors import TemplateError
from nitro.text import MAX_TEMPLATE_CHARACTERS, tool_shapes
from nitro.text.sandbox import Sandbox, TooMuch, counted_work
from nitro.text.template_refusal import is_refusal
from nitro.text.tools import ChatMessage


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's words for training; only its content counts here."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> NoReturn:
    raise JinjaError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    options: dict[str, Any] = {"indent": indent, "separators": separators, "sort_keys": sort_keys}
    return json.dumps(value, ensure_ascii=ensure_ascii, default=_list_of, **options)


def _list_of(value: Any) -> list[Any]:
    """The entries of what filters such as `map` return. Python's Jinja cannot write it to JSON. Others can, and
    templates rely on that."""
    if not isinstance(value, Iterator):
        raise TypeError(f"{type(value).__name__} is not JSON serializable")
    return list(value)


def _now(layout: str) -> str:
    return datetime.now().strftime(layout)


class _InputList(list[Any]):
    """A list of the client's. A template may change its own lists only, and those are plain ones."""


def _protected(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return _InputList(map(_protected, value))
    return {key: _protected(part) for key, part in value.items()} if isinstance(value, Mapping) else value


def _environment() -> Sandbox:
    environment = Sandbox([loopcontrols, _Generation], {"tojson": _tojson})
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


_ENVIRONMENT = _environment()
_END = "\ue0c5\uf4a2\ue0c5"  # marks the end of a message that goes on: private characters, which no text has
_LINE_BREAK = "\n"


class Renders(Protocol):
    """What writes messages: a ChatTemplate, or one for a conversation with media. Members: see ChatTemplate."""

    findings: dict[Hashable, Any]

    def render(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        continues: bool = False,
    ) -> str:
        """See ChatTemplate."""


class ChatTemplate:
    """A compiled template."""

    def __init__(self, source: str, bos: str = "", eos: str = "", adds_bos: bool = False):
        """Raises TemplateError if `source` is no template, or too long. `bos`, `eos`: the texts of these tokens.
        `adds_bos`: a text that no template made begins with `bos`."""
        self.source = source
        self._tokens = {"bos_token": bos, "eos_token": eos, "add_bos_token": adds_bos}
        self.variables: frozenset[str] = frozenset()  # the names that it reads and does not set itself
        self.findings: dict[Hashable, Any] = {}  # what trying it has shown: see message_normalizer.py
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            limit = f"at most {MAX_TEMPLATE_CHARACTERS} are taken"
            raise TemplateError(f"The chat template has {len(source)} characters; {limit}.")
        self._knows_developer = re.search("""['"]developer['"]""", source) is not None
        try:
            self._template = _ENVIRONMENT.from_string(source)
            self.variables = frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(source)))
        except Exception as error:  # not only Jinja's: Python compiles the code that Jinja writes
            line = getattr(error, "lineno", None)
            where = f" (line {line})" if line else ""
            raise TemplateError(f"The chat template is not valid: {error}{where}") from error

    def render(
        self,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        continues: bool = False,
    ) -> str:
        """The prompt up to where the assistant's answer begins or, if it `continues` the last message, up to the end of
        that. Raises TemplateError with the template's own words.

        A `developer` message becomes a system message for templates that do not know that role.
        """
        if not self._knows_developer:
            messages = [{**m, "role": "system"} if m["role"] == "developer" else m for m in messages]
        if continues:
            messages = [*messages[:-1], {**messages[-1], "content": messages[-1]["content"] + _END}]
        inputs: dict[str, Any] = {"tools": tools, "documents": None, "add_generation_prompt": not continues}
        inputs |= {**self._tokens, **self._own_names(tools), **(variables or {})}
        text = self._render_leniently(messages, inputs)
        if continues:
            text, end, _ = text.rpartition(_END)
            if not end:
                raise TemplateError("The chat template leaves the last message out, so it cannot be continued.")
        return text.encode("utf-8", "replace").decode()  # no lone surrogate leaves here

    @cached_property
    def part_separator(self) -> str:
        """What it writes between two text parts of one content; a line break if it takes no parts, as many do not."""
        parts = [{"type": "text", "text": _END}] * 2
        try:
            pieces = self.render([{"role": "user", "content": parts}]).split(_END)
        except TemplateError:
            return _LINE_BREAK
        takes_parts = len(pieces) == 3 and not pieces[1].strip()  # else it writes the list itself, or nothing
        return pieces[1] if takes_parts else _LINE_BREAK

    def _own_names(self, tools: Sequence[Any] | None) -> dict[str, Any]:
        """The variables that single templates ask for."""
        variables: dict[str, Any] = {"datetime": _now("%Y-%m-%d")}
        if "xml_tools" in self.variables and "tools" not in self.variables:  # SmolLM3's first one
            variables["xml_tools"] = tools
        if "functions" in self.variables:
            variables["functions"] = json.dumps(tools or [])
        return variables

    def _render_leniently(self, messages: Sequence[ChatMessage], inputs: Mapping[str, Any]) -> str:
        """A template that fails gets more chances: calls as texts, an empty list of tools, tools in other shapes."""
        try:
            return self._render({**inputs, "messages": messages})
        except TemplateError:
            raise
        except Exception as error:  # anything: it is the model's code, fed with the client's data
            as_text = _with_arguments_as_text(messages)
            others: list[dict[str, Any]] = [
                {"messages": as_text},
                {"messages": messages, "tools": inputs["tools"] or []},
            ]
            with contextlib.suppress(RecursionError):
                for tools in tool_shapes.for_templates(inputs["tools"]):
                    others += [{"messages": messages, "tools": tools}, {"messages": as_text, "tools": tools}]
            told: Exception = error
            for other in others:
                try:
                    return self._render({**inputs, **other})
                except TemplateError:
                    raise
                except Exception as another:
                    if is_refusal(another) and not is_refusal(told):
                        told = another  # what its author says, and not what it stumbles over
            raise TemplateError(f"The chat template refused the messages: {told}") from told

    def _render(self, inputs: Mapping[str, Any]) -> str:
        """Raises TemplateError where the template does too much, and whatever the template raises."""
        try:
            with counted_work(inputs):
                return self._template.render(_protected(inputs))
        except TooMuch as error:
            raise TemplateError(f"The chat template cannot be used for the messages: {error}.") from error


def _with_arguments_as_text(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages with the arguments of calls as texts of JSON, for templates that only add them to other texts."""
    return [
        {**m, "tool_calls": [*map(_with_text_arguments, m["tool_calls"])]} if m.get("tool_calls") else m
        for m in messages
    ]


def _with_text_arguments(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), dict):
        return call
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return {**call, "function": {**function, "arguments": arguments}}
