"""A choice among names as grammar rules, by what they begin with: a parser looks at few rules, however many names.

As one list, each of a thousand names would be an item of the parser's at every place where a call may begin.
"""

from collections.abc import Mapping
from itertools import groupby


def rules(rests: Mapping[str, str]) -> tuple[str, list[str]]:
    """The expression of the choice, and the rules that it needs. `rests`: by name, the expression that follows it.

    Names have no sign that Lark would read as other than itself. What follows a name begins with none of their signs.
    """
    written: list[str] = []
    return _choice(sorted(rests), rests, 0, written), written


def _choice(names: list[str], rests: Mapping[str, str], at: int, written: list[str]) -> str:
    """Of names that are alike up to `at`."""
    ways = [rests[name] for name in names if len(name) == at]
    for _, group in groupby((name for name in names if len(name) > at), key=lambda name: name[at]):
        alike = list(group)
        end = _alike_up_to(alike[0], alike[-1])
        rest = _choice(alike, rests, end, written)
        if len(alike) > 1:
            written.append(f"name_{len(written)}: {rest}")
            rest = f"name_{len(written) - 1}"
        ways.append(f'"{alike[0][at:end]}" {rest}')
    return " | ".join(ways)


def _alike_up_to(first: str, last: str) -> int:
    """How far the first and last of sorted names are alike, and so all between them."""
    differing = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(differing, min(len(first), len(last)))
