"""The environment that chat templates run in: Jinja's sandbox, with bounds on work and memory.

Templates come with models from anywhere, and clients feed them. A rendering spends units of work on rounds of loops,
calls, filters, and the size of what these make, and a budget ends it. What would be too large is not made. Knows no
prompts. What takes too long by the processor's clock is ended in service/intake/worker.py.
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

# Of one rendering. The inputs are the messages, tools and variables; their size is in characters.
BASE_WORK = 100_000  # units, and one more for each character of the inputs
MAX_WORK = 3_000_000  # units, whatever the inputs
BASE_TEXT = 2**26  # characters of one text, and four more for each character of the inputs
BASE_LEAVES = 100_000  # of what a template puts together, shared parts counted each time; more with the inputs
MIN_INPUT_SIZE = 256  # characters that each value of the inputs counts as, at least
CHARACTERS_PER_UNIT = 256  # that are made or read
ENTRIES_PER_UNIT = 8
MAX_POWER = 1000  # base and exponent
MAX_REPEATED = 1_000_000  # characters or entries that a repetition makes
_WIDTH = re.compile(r"\d{5}|\*|\{[^{}]*\{")  # in a format: a wide field, or one whose width is an argument


class TooMuch(TemplateError):
    """A template does, or makes, more than an honest one would."""


class _Budget:
    """What one rendering may do: the units that are `left`, the longest `text`, and the most `leaves`."""

    def __init__(self, input_size: int = 0):
        self.left: float = min(BASE_WORK + input_size, MAX_WORK)
        self.text = BASE_TEXT + 4 * input_size
        self.leaves = BASE_LEAVES + input_size // (MIN_INPUT_SIZE // 4)

    def check_text(self, length: int, what: str = "a text is too long") -> None:
        """Raises TooMuch where a text of this length is too long."""
        if length > self.text:
            raise TooMuch(what)


_COMPILING = _Budget()  # for constants, which are made while a template is compiled: no work is counted then
_COMPILING.left = math.inf
_budget: ContextVar[_Budget] = ContextVar("budget", default=_COMPILING)


@contextmanager
def counted_work(inputs: Any) -> Iterator[None]:
    """One rendering with a budget of its own, by the size of its inputs."""
    before = _budget.set(_Budget(_size(inputs)))
    try:
        yield
    finally:
        _budget.reset(before)


def spend(units: int) -> None:
    """Take units of work from the budget. Raises TooMuch where that is spent."""
    budget = _budget.get()
    budget.left -= units
    if budget.left < 0:
        raise TooMuch("it does too much")


def round_begins(units: int = 1) -> bool:
    """Count a round. Called in each round of a loop, and for each entry that a loop's condition reads."""
    spend(units)
    return True


def concatenated(parts: list[Any]) -> str:
    """The text that `~` makes. Raises TooMuch."""
    texts = [str(_checked(part)) for part in parts]
    _budget.get().check_text(sum(map(len, texts)))
    return "".join(texts)


def put_together(value: Any) -> Any:
    """Check a list or object that a template makes of other things. Raises TooMuch: shared parts within shared parts
    grow without costing memory, until they are written."""
    _weight(value)
    return value


@pass_context
def _printed(_: Context, value: Any) -> Any:
    return _checked(value)


def _checked(value: Any) -> Any:
    """A value that is about to become a text, paid for."""
    if not isinstance(value, str | int | float | Undefined | None):
        spend(_weight(value) // ENTRIES_PER_UNIT)
        value = str(value)
    spend(_cost(value))
    return value


def _weight(value: Any) -> int:
    """How many parts a value has, and how many units its texts are. Raises TooMuch."""
    found = 0
    todo = [value]
    limit = _budget.get().leaves
    while todo:
        part = todo.pop()
        found += 1
        if isinstance(part, str):
            found += len(part) // CHARACTERS_PER_UNIT
        elif isinstance(part, Mapping):
            todo += [*part, *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            todo += part
        if found > limit:
            raise TooMuch("it puts too much together")
    return found


def _cost(value: Any) -> int:
    """The units for making or reading a value, not looking into it."""
    if isinstance(value, str):
        return len(value) // CHARACTERS_PER_UNIT
    return (
        len(value) // ENTRIES_PER_UNIT if isinstance(value, Sized) and not isinstance(value, Undefined | Macro) else 0
    )


def _paid(value: Any) -> Any:
    """What a call or filter made, paid for."""
    spend(1 + _cost(value))
    return value


# How many characters or entries a method or filter makes, at most. Each takes the value and all arguments.


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
    """As a filter, `value` is the list; as a method, the separator."""
    if isinstance(value, str) and arguments:
        parts, separator = arguments[0], value
    else:
        parts, separator = value, (arguments or [""])[0]
    return len(parts) * len(str(separator)) + sum(len(part) for part in parts if isinstance(part, str))


def _formatted(value: Any, arguments: list[Any]) -> int:
    spend(sum(_weight(part) for part in arguments) // ENTRIES_PER_UNIT)
    return _budget.get().text + 1 if _WIDTH.search(str(value)) else 0


_GROWTH: dict[str, Callable[[Any, list[Any]], int]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill", "batch", "slice", "round", "truncate"), _widened),
    **dict.fromkeys(("expandtabs", "indent", "tojson", "wordwrap"), _indented),
    **dict.fromkeys(("format", "format_map"), _formatted),
    "replace": _replaced,
    "join": _joined,
}
_BUILDERS = ("append", "Namespace", "dict")  # calls that put values together
_DEEP_READERS = ("string", "join", "tojson", "urlencode", "pprint", "unique", "sort", "groupby", "dictsort")  # filters


def _check_growth(name: str, value: Any, arguments: list[Any]) -> None:
    growth = _GROWTH.get(name)
    if growth:
        _budget.get().check_text(growth(value, arguments), f"{name} makes too much")


def _counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, with its work counted. It gets lists in place of iterators, whose work nobody would see."""
    at = 1 if hasattr(function, "jinja_pass_arg") else 0  # the position of the value

    @functools.wraps(function)
    def counted(*arguments: Any, **options: Any) -> Any:
        value = arguments[at]
        if isinstance(value, Iterator):
            value = list(value)
        others = arguments[at + 1 :]
        spend(1 + (_weight(value) // ENTRIES_PER_UNIT if name in _DEEP_READERS else _cost(value)))
        _check_growth(name, value, [*others, *options.values()])
        return _paid(function(*arguments[:at], value, *others, **options))

    return counted


class _Counting(NodeTransformer):
    """Puts the counting into a template."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """Count each round, and each entry that the loop's condition reads."""
        self.generic_visit(node)
        length = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        units = nodes.Const(1 + length // CHARACTERS_PER_UNIT)
        node.body.insert(0, nodes.ExprStmt(_call("round_begins", [units])))
        if node.test:
            node.test = nodes.And(_call("round_begins", []), node.test)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """Have `~` computed by `concatenated`."""
        self.generic_visit(node)
        return _call("concatenated", [nodes.List(node.nodes)], node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        """See `_put_together`."""
        return self._put_together(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        """See `_put_together`."""
        return self._put_together(node)

    def _put_together(self, node: nodes.Expr) -> nodes.Node:
        """Have its weight checked, unless it holds nothing but constants."""
        self.generic_visit(node)
        if any(isinstance(inner, nodes.Name | nodes.Call | nodes.Getattr) for inner in node.find_all(nodes.Expr)):
            return _call("put_together", [node], node.lineno)
        return node


def _call(name: str, arguments: list[nodes.Expr], line: int = 0) -> nodes.Call:
    return nodes.Call(nodes.ImportedName(f"{__name__}.{name}"), arguments, [], None, None, lineno=line)


# Before an operator computes


def _check_power(left: Any, right: Any) -> None:
    if max(abs(left), abs(right)) > MAX_POWER:
        raise TooMuch(f"{left} ** {right} is too large")


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and max(left, right) > 2**MAX_POWER:
        raise TooMuch("a number is too large")
    for repeated, times in ((left, right), (right, left)):
        if isinstance(repeated, Sized) and len(repeated) * times > MAX_REPEATED:
            raise TooMuch(f"{times} repetitions are too many")


def _check_sum(left: Any, right: Any) -> None:
    if isinstance(left, str) and isinstance(right, str):
        _budget.get().check_text(len(left) + len(right))


def _check_format(left: Any, right: Any) -> None:
    if isinstance(left, str):
        _check_growth("format", left, [right])


_OPERATOR_CHECKS = {"**": _check_power, "*": _check_product, "+": _check_sum, "%": _check_format}


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox, with work counted. A template may change lists that it made: some count calls so."""

    intercepted_binops = frozenset(_OPERATOR_CHECKS)

    def __init__(self, extensions: list[type[Extension]], filters: Mapping[str, Callable[..., Any]]):
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_printed)
        self.globals.pop("lipsum")
        self.filters = {name: _counted(name, function) for name, function in {**self.filters, **filters}.items()}

    def _generate(self, source: nodes.Template, *arguments: Any, **options: Any) -> str:
        counted = _Counting().visit(source)
        counted.set_environment(self)
        return super()._generate(counted, *arguments, **options)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right`, unless the result would be too large. Raises TooMuch."""
        _OPERATOR_CHECKS[operator](left, right)
        result = super().call_binop(context, operator, left, right)
        spend(_cost(result))
        return put_together(result) if isinstance(result, list | tuple) else result

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method, macro or function, unless it makes too much. Raises TooMuch."""
        if __obj is round_begins:
            return round_begins(*args)
        name = getattr(__obj, "__name__", "")
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            _check_growth(name, owner, [*args, *kwargs.values()])
        elif name in _BUILDERS:
            put_together([*args, *kwargs.values()])
        return _paid(super().call(__context, __obj, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Jinja's answer, and yes for `append` and `pop` of a template's own lists."""
        return (type(obj) is list and attr in ("append", "pop")) or super().is_safe_attribute(obj, attr, value)


def _size(value: Any) -> int:
    """The size of inputs, in characters."""
    return sum(max(MIN_INPUT_SIZE, len(part) if isinstance(part, str) else 0) for part in _leaves(value))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value
