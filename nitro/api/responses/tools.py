"""The tools of a request for a response: functions, custom tools, namespaces of both; and those that run elsewhere.

A custom tool is shown to the model as a function with one argument, `input`. A tool in a namespace has its own name or,
where another one is called so, the namespace's before it. Hosted tools, which no local server can run, are left out
where the model may do without them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nitro.api.names import Refused, asks
from nitro.api.openai.tools import MAX_TOOLS, NAME, NO_PARAMETERS
from nitro.api.responses import names, tool_choice
from nitro.api.responses.custom_input import INPUT
from nitro.api.responses.reply_options import CalledTool
from nitro.errors import ApiError
from nitro.parameters import check_count
from nitro.service import ignored_parameters
from nitro.service.requests import OfferedTools
from nitro.text.tool_grammar import CallableTool
from nitro.text.tools import Tool

SYNTAXES = ("lark", "regex")
_OWN = {
    "function": frozenset(["type", "name", "description", "parameters", "strict"]),
    "custom": frozenset(["type", "name", "description", "format"]),
    "namespace": frozenset(["type", "name", "description", "tools"]),
}


class _Found(NamedTuple):
    """A tool that can be called. `param`: the place of what its calls are held to. `grammar`: of a custom tool's input,
    in Lark. `strict`: None: it does not say."""

    known: CalledTool
    description: str | None
    parameters: dict[str, Any]
    strict: bool | None
    param: str
    grammar: str | None = None


@dataclass(slots=True)
class ReadTools:
    """`offered`: None: none may be called. `called`: by the name that the model knows. `echoed`: the reply's `tools`.
    `told`: names without effect, with their paths, as they may stand in a header."""

    offered: OfferedTools | None = None
    called: dict[str, CalledTool] = field(default_factory=dict)
    echoed: list[Any] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def named(self, name: str, namespace: str | None) -> str:
        """How the model knows a tool, whether it is offered or not."""
        for shown, tool in self.called.items():
            if tool.name == name and tool.namespace == namespace:
                return shown
        return name


def read_tools(
    tools: Sequence[Mapping[str, Any]] | None, choice: Any, parallel: bool | None, closed: bool
) -> ReadTools:
    """`closed`: see CallableTool. Raises ApiError 400 with `param`."""
    reader = _Reader()
    for i, tool in enumerate(tools or []):
        reader.read(tool, f"tools[{i}]")
    read = ReadTools(called=reader.shown_names(), echoed=reader.echoed)
    chosen = tool_choice.parse(choice, read.called, reader.hosted)
    read.told = reader.told + [
        ignored_parameters.escaped(f"{where}: {kind} cannot run here") for where, kind in reader.hosted.items()
    ]
    if chosen.mode == "none" or not reader.found:
        return read
    required = chosen.mode == "required"
    named = list(zip(read.called, reader.found, strict=True))
    allowed = [pair for pair in named if chosen.allowed is None or pair[0] in chosen.allowed]
    read.offered = OfferedTools(
        # where `auto` is limited to some tools, the model does not see the others
        offered=[_shown(*pair) for pair in (named if required else allowed)],
        callable=[_callable(*pair, required, closed) for pair in allowed],
        required=required,
        parallel=False if chosen.single else parallel,
    )
    return read


class _Reader:
    def __init__(self) -> None:
        self.found: list[_Found] = []
        self.hosted: dict[str, str] = {}  # by where they stand: their types
        self.echoed: list[Any] = []
        self.told: list[str] = []

    def read(self, tool: Mapping[str, Any], where: str) -> None:
        """One of the request's tools."""
        kind = tool.get("type")
        if not isinstance(kind, str):
            raise ApiError.missing(f"{where}.type")
        if kind == "namespace":
            self._namespace(tool, where)
        elif kind in _OWN:
            self._add(self._tool(tool, where, None))
        else:
            self.hosted[f"{where}.type"] = kind
            return
        self.echoed.append({**tool, "strict": tool.get("strict") is not False} if kind == "function" else tool)

    def shown_names(self) -> dict[str, CalledTool]:
        """By the name that the model knows. Raises ApiError where two tools cannot be told apart."""
        count: dict[str, int] = {}
        for found in self.found:
            count[found.known.name] = count.get(found.known.name, 0) + 1
        shown: dict[str, CalledTool] = {}
        for found in self.found:
            known = found.known
            name = known.name if count[known.name] == 1 or known.namespace is None else _joined(known)
            if name in shown:
                where = re.sub(r"\.[a-z.]+$", "", found.param)
                raise ApiError.invalid(f"{where}.name", f"a name of its own, got '{known.name}' twice")
            shown[name] = known
        return shown

    def _namespace(self, namespace: Mapping[str, Any], where: str) -> None:
        name = _name(namespace, where)
        self._tell(namespace, "namespace", where)
        inner = namespace.get("tools")
        if not isinstance(inner, list):
            raise ApiError.invalid(f"{where}.tools", "a list of tools")
        about = _description(namespace, where)
        for i, tool in enumerate(inner):
            place = f"{where}.tools[{i}]"
            if not isinstance(tool, dict) or tool.get("type") not in ("function", "custom"):
                raise ApiError.invalid(f"{place}.type", "'function' or 'custom'")
            found = self._tool(tool, place, name)
            texts = [f"Part of {name}: {about}" if about else f"Part of {name}.", found.description or ""]
            self._add(found._replace(description="\n".join(filter(None, texts))))

    def _add(self, found: _Found) -> None:
        self.found.append(found)
        check_count("tools", self.found, MAX_TOOLS, "tools")

    def _tool(self, tool: Mapping[str, Any], where: str, namespace: str | None) -> _Found:
        kind = tool["type"]
        self._tell(tool, kind, where)
        known = CalledTool(_name(tool, where), namespace, custom=kind == "custom")
        description = _description(tool, where)
        if kind == "custom":
            return _custom(tool, where, known, description)
        strict = tool.get("strict")
        if not isinstance(strict, bool | None):
            raise ApiError.invalid(f"{where}.strict", "true or false", code="invalid_type")
        parameters = tool.get("parameters")
        if not isinstance(parameters, dict | None):
            raise ApiError.invalid(f"{where}.parameters", "a JSON schema, which is an object", code="invalid_type")
        if parameters and parameters.get("type", "object") != "object":
            raise ApiError.invalid(f"{where}.parameters", "a schema of type 'object'")
        schema = {"type": "object", **parameters} if parameters else NO_PARAMETERS
        return _Found(known, description, schema, strict, f"{where}.parameters")

    def _tell(self, tool: Mapping[str, Any], kind: str, where: str) -> None:
        for name, value in tool.items():
            if name in _OWN[kind] or value is None:
                continue
            row = names.TOOL.get(name)
            if row is None:
                self.told.append(ignored_parameters.escaped(f"{where}.{name}"))
            elif isinstance(row, Refused) and asks(value, row.neutral):
                raise row.refusal(f"{where}.{name}")


def _custom(tool: Mapping[str, Any], where: str, known: CalledTool, description: str | None) -> _Found:
    """A function with a text. Its grammar is told in words, too: the model has to know what it is held to."""
    form = tool.get("format")
    kind = form.get("type") if isinstance(form, dict) else None
    if form is not None and kind not in ("text", "grammar"):
        raise ApiError.invalid(f"{where}.format.type", "'text' or 'grammar'")
    text: dict[str, Any] = {"type": "string"}
    grammar = None
    param = f"{where}.format"
    if kind == "grammar":
        assert isinstance(form, dict)
        syntax, definition = form.get("syntax"), form.get("definition")
        if syntax not in SYNTAXES:
            raise ApiError.invalid(f"{where}.format.syntax", f"one of {', '.join(SYNTAXES)}, got '{syntax}'")
        if not isinstance(definition, str) or not definition:
            raise ApiError.invalid(f"{where}.format.definition", "a grammar in a text")
        param = f"{where}.format.definition"
        what = "regular expression" if syntax == "regex" else "Lark grammar"
        text["description"] = f"A text that matches this {what}:\n{definition}"
        if syntax == "regex":
            text["pattern"] = f"^(?:{definition})$"
        else:
            grammar = definition
    parameters = {"type": "object", "properties": {INPUT: text}, "required": [INPUT], "additionalProperties": False}
    return _Found(known, description, parameters, True, param, grammar)


def _callable(name: str, found: _Found, required: bool, closed: bool) -> CallableTool:
    """Calls are held to schemas that do not say that they are not strict, as far as that can be."""
    strict = bool(found.strict)
    enforced = found.strict is not False or required
    return CallableTool(Tool(name, found.parameters, strict), found.param, enforced, closed, grammar=found.grammar)


def _shown(name: str, found: _Found) -> dict[str, Any]:
    """As chat templates want it."""
    function: dict[str, Any] = {"name": name}
    if found.description:
        function["description"] = found.description
    parameters = found.parameters
    if found.known.custom:  # its pattern is in the description
        text = {word: each for word, each in parameters["properties"][INPUT].items() if word != "pattern"}
        parameters = {**parameters, "properties": {INPUT: text}}
    return {"type": "function", "function": {**function, "parameters": parameters}}


def _joined(known: CalledTool) -> str:
    return f"{known.namespace}__{known.name}"


def _name(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if name is None:
        raise ApiError.missing(f"{where}.name")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ApiError.invalid(f"{where}.name", "a name of letters, digits, '_', '-', '.' and ':', at most 128")
    return name


def _description(tool: Mapping[str, Any], where: str) -> str | None:
    description = tool.get("description")
    if not isinstance(description, str | None):
        raise ApiError.invalid(f"{where}.description", "a text", code="invalid_type")
    return description
