"""The environment that chat templates run in: Jinja's sandbox, made so that none fills the memory or computes for ever.

Templates come with models from anywhere, and clients feed them. All that a rendering does is counted as units of work:
rounds of loops, calls, filters, and what these make. A budget ends it, and what would be too large is not made. Knows
nothing of prompts.
"""

import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2 import TemplateError, nodes, pass_context
from jinja2.ext import Extension
from jinja2.runtime import Context, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_WORK = 100_000  # units of one rendering; more for what it was given, but at most
MOST_WORK_EVER = 3_000_000
LEAST_GIVEN = 256  # characters that each value counts as that was given, at least: a unit each
CHARACTERS, ENTRIES = 256, 8  # that are made or gone through for a unit
MOST_RAISED = 1000  # base and exponent of a power
MOST_REPEATED = 1_000_000  # characters or entries that a repetition makes
MOST_MADE = 2**26  # characters of one text; more for what was given
MOST_LEAVES = 100_000  # of what a template puts together, shared parts counted each time; more for what was given
_WIDTH = re.compile(r"\d{5}|\*|\{[^{}]*\{")  # in a format: a wide field, or one whose width is an argument


class TooMuch(TemplateError):
    """A template does, or makes, more than any honest one."""


class _Budget:
    """`given`: what the rendering was given, in characters."""

    def __init__(self, given: int = 0):
        self.left: float = min(MOST_WORK + given, MOST_WORK_EVER)
        self.made, self.leaves = MOST_MADE + 4 * given, MOST_LEAVES + given // (LEAST_GIVEN // 4)


_COMPILING = _Budget()  # for constants, which are made while a template is compiled; nothing is counted then
_COMPILING.left = math.inf
_budget: ContextVar[_Budget] = ContextVar("budget", default=_COMPILING)


@contextmanager
def counted_work(given: Any) -> Iterator[None]:
    """A rendering, of what was given to it."""
    before = _budget.set(_Budget(_size(given)))
    try:
        yield
    finally:
        _budget.reset(before)


def spend(units: int) -> None:
    budget = _budget.get()
    budget.left -= units
    if budget.left < 0:
        raise TooMuch("it does too much")


def round_begins(units: int = 1) -> bool:
    """Called in each round of a loop, and for each entry that a loop's condition looks at."""
    spend(units)
    return True


def concatenated(parts: list[Any]) -> str:
    """What `~` makes."""
    texts = [str(_checked(part)) for part in parts]
    if sum(map(len, texts)) > _budget.get().made:
        raise TooMuch("a text is too long")
    return "".join(texts)


def put_together(value: Any) -> Any:
    """What a template makes of other things: shared parts within shared parts grow without costing memory."""
    _weight(value)
    return value


@pass_context
def _printed(_: Context, value: Any) -> Any:
    return _checked(value)


def _checked(value: Any) -> Any:
    """What is about to become a text."""
    if not isinstance(value, str | int | float | Undefined | None):
        spend(_weight(value) // ENTRIES)
        value = str(value)
    spend(_cost(value))
    return value


def _weight(value: Any) -> int:
    """Leaves of what it holds, and its characters in units."""
    found, todo, most = 0, [value], _budget.get().leaves
    while todo:
        part = todo.pop()
        found += 1
        if isinstance(part, str):
            found += len(part) // CHARACTERS
        elif isinstance(part, Mapping):
            todo += [*part, *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            todo += part
        if found > most:
            raise TooMuch("it puts too much together")
    return found


def _cost(value: Any) -> int:
    if isinstance(value, str):
        return len(value) // CHARACTERS
    return len(value) // ENTRIES if isinstance(value, Sized) and not isinstance(value, Undefined | Macro) else 0


def _made(value: Any) -> Any:
    spend(1 + _cost(value))
    return value


# By the name of a method or filter: what it makes of how much it is given, in characters or entries


def _widened(value: Any, arguments: list[Any]) -> int:
    return max((abs(n) for n in arguments if isinstance(n, int)), default=0)


def _indented(value: Any, arguments: list[Any]) -> int:
    lines = value.count("\n") + value.count("\t") + 1 if isinstance(value, str) else _weight(value)
    width = max((abs(n) if isinstance(n, int) else len(n) for n in arguments if isinstance(n, int | str)), default=0)
    return lines * width


def _replaced(value: Any, arguments: list[Any]) -> int:
    old, new, *_ = [str(part) for part in arguments] + ["", ""]
    return str(value).count(old) * (len(new) - len(old))


def _joined(value: Any, arguments: list[Any]) -> int:
    """As a filter, value is the list; as a method, the text between."""
    parts, between = (arguments[0], value) if isinstance(value, str) and arguments else (value, (arguments or [""])[0])
    return len(parts) * len(str(between)) + sum(len(part) for part in parts if isinstance(part, str))


def _formatted(value: Any, arguments: list[Any]) -> int:
    spend(sum(_weight(part) for part in arguments) // ENTRIES)
    return _budget.get().made + 1 if _WIDTH.search(str(value)) else 0


_GROWTH: dict[str, Callable[[Any, list[Any]], int]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill", "batch", "slice", "round", "truncate"), _widened),
    **dict.fromkeys(("expandtabs", "indent", "tojson", "wordwrap"), _indented),
    **dict.fromkeys(("format", "format_map"), _formatted),
    "replace": _replaced,
    "join": _joined,
}
_BUILDERS = ("append", "Namespace", "dict")
_WRITERS = ("string", "join", "tojson", "urlencode", "pprint", "unique", "sort", "groupby", "dictsort")


def _check_growth(name: str, value: Any, arguments: list[Any]) -> None:
    grown = _GROWTH.get(name)
    if grown and grown(value, arguments) > _budget.get().made:
        raise TooMuch(f"{name} makes too much")


def _counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, with its work counted. Iterators are made lists: they must not do theirs unseen."""
    at = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def counted(*arguments: Any, **options: Any) -> Any:
        before, value, rest = arguments[:at], arguments[at], arguments[at + 1 :]
        if isinstance(value, Iterator):
            value = list(value)
        spend(1 + (_weight(value) // ENTRIES if name in _WRITERS else _cost(value)))
        _check_growth(name, value, [*rest, *options.values()])
        return _made(function(*before, value, *rest, **options))

    return counted


class _Counting(NodeTransformer):
    """Puts the counting into a template."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        written = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        count = nodes.Const(1 + written // CHARACTERS)
        node.body.insert(0, nodes.ExprStmt(_call("round_begins", [count])))
        if node.test:
            node.test = nodes.And(_call("round_begins", []), node.test)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("concatenated", [nodes.List(node.nodes)], node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._put_together(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._put_together(node)

    def _put_together(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        if any(isinstance(inner, nodes.Name | nodes.Call | nodes.Getattr) for inner in node.find_all(nodes.Expr)):
            return _call("put_together", [node], node.lineno)
        return node


def _call(name: str, arguments: list[nodes.Expr], line: int = 0) -> nodes.Call:
    return nodes.Call(nodes.ImportedName(f"{__name__}.{name}"), arguments, [], None, None, lineno=line)


class Sandbox(ImmutableSandboxedEnvironment):
    """A template may change lists that it made itself: some count calls in them."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self, extensions: list[type[Extension]], filters: Mapping[str, Callable[..., Any]]):
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_printed)
        self.globals.pop("lipsum")
        self.filters = {name: _counted(name, function) for name, function in {**self.filters, **filters}.items()}

    def _generate(self, source: nodes.Template, *arguments: Any, **options: Any) -> str:
        counted = _Counting().visit(source)
        counted.set_environment(self)
        return super()._generate(counted, *arguments, **options)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and max(abs(left), abs(right)) > MOST_RAISED:
            raise TooMuch(f"{left} ** {right} is too large")
        if operator == "*" and isinstance(left, int) and isinstance(right, int) and max(left, right) > 2**MOST_RAISED:
            raise TooMuch("a number is too large")
        for repeated, times in ((left, right), (right, left)):
            if operator == "*" and isinstance(repeated, Sized) and len(repeated) * times > MOST_REPEATED:
                raise TooMuch(f"{times} repetitions are too many")
        if operator == "%" and isinstance(left, str):
            _check_growth("format", left, [right])
        if (
            operator == "+"
            and isinstance(left, str)
            and isinstance(right, str)
            and len(left) + len(right) > _budget.get().made
        ):
            raise TooMuch("a text is too long")
        made = super().call_binop(context, operator, left, right)
        spend(_cost(made))
        return put_together(made) if isinstance(made, list | tuple) else made

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if __obj is round_begins:
            return round_begins(*args)
        name = getattr(__obj, "__name__", "")
        if name in _GROWTH and isinstance(text := getattr(__obj, "__self__", None), str):
            _check_growth(name, text, [*args, *kwargs.values()])
        elif name in _BUILDERS:
            put_together([*args, *kwargs.values()])
        return _made(super().call(__context, __obj, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return (type(obj) is list and attr in ("append", "pop")) or super().is_safe_attribute(obj, attr, value)


def _size(value: Any) -> int:
    """What a client gave, in characters."""
    return sum(max(LEAST_GIVEN, len(part) if isinstance(part, str) else 0) for part in _leaves(value))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value
