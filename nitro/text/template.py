"""Messages → prompt text, by the model's own chat template in sandboxed Jinja.

The environment is the one chat templates are written for: that of `apply_chat_template` in Hugging Face transformers
(trimmed blocks, loop controls, `raise_exception`, `strftime_now`, `tojson` without HTML escapes, `{% generation %}`).
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from nitro.errors import TemplateError
from nitro.text.sandbox import Sandbox, TooMuch, counted_work


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's words for training; here it is its content."""

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
    return json.dumps(value, ensure_ascii=ensure_ascii, default=_listed, **options)


def _listed(value: Any) -> list[Any]:
    """What filters such as `map` give. Python's Jinja cannot write it, others can, and templates rely on that."""
    if not isinstance(value, Iterator):
        raise TypeError(f"{type(value).__name__} is not JSON serializable")
    return list(value)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


class _Given(list[Any]):
    """A list of the client's."""


def _given(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return _Given(map(_given, value))
    return {key: _given(part) for key, part in value.items()} if isinstance(value, Mapping) else value


def _environment() -> Sandbox:
    environment = Sandbox([loopcontrols, _Generation], {"tojson": _tojson})
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


_ENVIRONMENT = _environment()
_END = "\ue0c5\uf4a2\ue0c5"  # of a message that goes on; private characters, which no text has
LINE_BREAK = "\n"
LONGEST = 2**18  # characters of a template; Python's compiler takes seconds for more, and the longest known are 2**15


class ChatTemplate:
    """A compiled template. Raises TemplateError where `source` is no template."""

    def __init__(self, source: str, bos: str = "", eos: str = ""):
        self.source = source
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self.variables: frozenset[str] = frozenset()  # what the template asks for, besides what it sets itself
        if len(source) > LONGEST:
            raise TemplateError(f"The chat template has {len(source)} characters; at most {LONGEST} are taken.")
        self._knows_developer = re.search("""['"]developer['"]""", source) is not None
        try:
            self._template = _ENVIRONMENT.from_string(source)
            self.variables = frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(source)))
        except Exception as error:  # not only Jinja's: Python compiles what Jinja makes of it
            line = getattr(error, "lineno", None)
            where = f" (line {line})" if line else ""
            raise TemplateError(f"The chat template is not valid: {error}{where}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        continues: bool = False,
    ) -> str:
        """The prompt up to where the assistant's answer begins or, where it `continues` the last message, up to that
        one's end. Raises TemplateError with the template's own words.

        A `developer` message is a system message for templates that do not know that role.
        """
        if not self._knows_developer:
            messages = [{**m, "role": "system"} if m["role"] == "developer" else m for m in messages]
        if continues:
            messages = [*messages[:-1], {**messages[-1], "content": messages[-1]["content"] + _END}]
        given: dict[str, Any] = {"tools": tools, "documents": None, "add_generation_prompt": not continues}
        text = self._rendered(messages, {**given, **self._tokens, **self._known(tools), **(variables or {})})
        if continues:
            text, end, _ = text.rpartition(_END)
            if not end:
                raise TemplateError("The chat template leaves the last message out, so it cannot be continued.")
        return text.encode("utf-8", "replace").decode()  # no lone surrogate leaves here

    @cached_property
    def between(self) -> str:
        """What it writes between two texts of one content. Many take a text only: these get them with a line break."""
        parts = [{"type": "text", "text": _END}] * 2
        try:
            pieces = self.render([{"role": "user", "content": parts}]).split(_END)
        except TemplateError:
            return LINE_BREAK
        took = len(pieces) == 3 and not pieces[1].strip()  # else the list itself was written, or nothing
        return pieces[1] if took else LINE_BREAK

    def _known(self, tools: Sequence[Any] | None) -> dict[str, str]:
        """What some templates ask for by names of their own."""
        known = {"datetime": _now("%Y-%m-%d")}
        if "functions" in self.variables:
            known["functions"] = json.dumps(tools or [])
        return known

    def _rendered(self, messages: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> str:
        try:
            return self._made({**given, "messages": messages})
        except TooMuch as error:
            raise TemplateError(f"The chat template cannot be used for the messages: {error}.") from error
        except Exception as error:  # anything: it is the model's code, fed with the client's data
            for rather in ({"messages": _with_texts(messages)}, {"messages": messages, "tools": given["tools"] or []}):
                with contextlib.suppress(Exception):
                    return self._made({**given, **rather})
            raise TemplateError(f"The chat template refused the messages: {error}") from error

    def _made(self, given: Mapping[str, Any]) -> str:
        with counted_work(given):
            return self._template.render(_given(given))


def _with_texts(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Arguments of calls as JSON in texts, for templates that only put them together."""

    def written(call: Any) -> Any:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(arguments := function.get("arguments"), dict):
            return call
        return {**call, "function": {**function, "arguments": json.dumps(arguments, ensure_ascii=False)}}

    return [{**m, "tool_calls": [*map(written, m["tool_calls"])]} if m.get("tool_calls") else m for m in messages]
