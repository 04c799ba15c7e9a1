"""A regular expression of a text, as a rule in Lark of the same text as JSON writes it between quotes.

    a\nb    /a/ /\\n/ /b/
    [^x]*   (/[…]+/ | /\\n|\\"|…/)*     a class without SIGNS, and the escapes of those that it has

A rule, since llguidance ends a token where its next byte cannot go on: of two tokens that both may go on with an escape
it would see the longer one only. So no expression has an escape beside anything else. The syntax is that of Rust's
regex crate, which llguidance reads. What a class has is asked of llguidance itself.
"""

import json
import re
from dataclasses import dataclass, field
from functools import cache, lru_cache

from llguidance import LLMatcher, LLTokenizer

SIGNS = '"\\' + "".join(map(chr, range(0x20)))  # that JSON escapes
_OTHERS = r'[^"\\\x00-\x1f]'
_NAMED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "a": "\a"}
_CODED = re.compile(
    r"\\(?:x\{([0-9a-fA-F]+)\}|u\{([0-9a-fA-F]+)\}|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))"
)
_CLASS = re.compile(r"\\[dDwWsS]|\\[pP](?:\{[^}]*\}|[A-Za-z])")
_ANCHOR = re.compile(r"\\[bBAzZ]|[\^$]")
_GROUP = re.compile(r"\(\?(?:P?<\w+>|(?P<flags>[a-zA-Z]*(?:-[a-zA-Z]+)?)(?P<end>[:)]))")
_QUANTIFIER = re.compile(r"(?P<times>[*+?]|\{\d+(?:,\d*)?\})\??")
MAX_DEPTH = 60  # of groups in groups


@dataclass(slots=True)
class _Node:
    """`plain`: an expression without SIGNS. `signs`: those that stand here instead of it, if it is not empty.
    `alternatives`: a group's. `times`: a quantifier."""

    plain: str = ""
    signs: str = ""
    alternatives: "list[list[_Node]] | None" = None
    times: str = ""

    @property
    def has_signs(self) -> bool:
        """Whether a sign that JSON escapes may be in it."""
        return bool(self.signs) or any(node.has_signs for part in self.alternatives or () for node in part)


@dataclass(slots=True)
class QuotedRegex:
    """`has_signs`: whether anything of it is written otherwise; else it is left as it is."""

    _alternatives: list[list[_Node]] = field(default_factory=list)

    @classmethod
    def of(cls, source: str, flags: str = "") -> "QuotedRegex":
        """Raises ValueError for what cannot be written so."""
        if unknown := set(flags) - set("imsu"):
            raise ValueError(f"A regular expression with the flag '{min(unknown)}' cannot be followed here.")
        reader = _Reader(source)
        alternatives = reader.alternatives(frozenset(flags), 0)
        if reader.at < len(source):
            raise ValueError("A regular expression has a ')' without its '('.")
        return cls(alternatives)

    @property
    def has_signs(self) -> bool:
        """Whether JSON escapes anything that it matches."""
        return _Node(alternatives=self._alternatives).has_signs

    def rule(self) -> str:
        """In Lark."""
        return f"({_alternatives(self._alternatives, last=True)})"


class _Reader:
    """Reads an expression from left to right. `at`: how far."""

    def __init__(self, source: str):
        self._source = source
        self.at = 0

    def alternatives(self, flags: frozenset[str], depth: int) -> list[list[_Node]]:
        """Up to the end of the group, or of the expression."""
        if depth > MAX_DEPTH:
            raise ValueError(f"A regular expression has more than {MAX_DEPTH} groups in each other.")
        found: list[list[_Node]] = [[]]
        while self.at < len(self._source) and self._source[self.at] != ")":
            if self._source[self.at] == "|":
                self.at += 1
                found.append([])
                continue
            group = _GROUP.match(self._source, self.at)
            if group and group["end"] == ")":
                self.at = group.end()
                flags = _changed(flags, group["flags"])
                continue
            node = self._atom(flags, depth)
            if times := _QUANTIFIER.match(self._source, self.at):
                self.at = times.end()
                node = _Node(alternatives=[[node]]) if node.times else node
                node.times = times["times"]
            found[-1].append(node)
        return found

    def _atom(self, flags: frozenset[str], depth: int) -> _Node:
        source, at = self._source, self.at
        if found := _CODED.match(source, at):
            self.at = found.end()
            return _literal(chr(int(next(filter(None, found.groups())), 16)), found[0], flags)
        if found := _CLASS.match(source, at):
            self.at = found.end()
            return _class(found[0], flags)
        if found := _ANCHOR.match(source, at):
            self.at = found.end()
            return _Node(found[0])
        sign = source[at]
        self.at += 1
        match sign:
            case "\\":
                self.at += 1
                escaped = source[at + 1 : at + 2]
                return _literal(_NAMED.get(escaped, escaped), source[at : at + 2], flags)
            case "[":
                self.at = _class_end(source, at)
                return _class(source[at : self.at], flags)
            case "(":
                return self._group(flags, depth)
            case ".":
                return _class(r"[\s\S]" if "s" in flags else r"[^\n]", flags)
        return _literal(sign, sign, flags)

    def _group(self, flags: frozenset[str], depth: int) -> _Node:
        if self._source.startswith("?", self.at):
            group = _GROUP.match(self._source, self.at - 1)
            if not group:
                raise ValueError("A regular expression with a group of this kind cannot be followed here.")
            flags = _changed(flags, group["flags"] or "")
            self.at = group.end()
        inner = self.alternatives(flags, depth + 1)
        if self.at >= len(self._source):
            raise ValueError("A regular expression has a '(' without its ')'.")
        self.at += 1
        return _Node(alternatives=inner)


def quoted(sign: str) -> str:
    """What JSON writes for a sign in a string, as an expression."""
    return re.escape(json.dumps(sign)[1:-1])


def slashed(expression: str) -> str:
    """An expression as Lark has it."""
    return "/" + re.sub(r"(\\.)|/", lambda match: match[1] or r"\/", expression, flags=re.DOTALL) + "/"


def _literal(sign: str, written: str, flags: frozenset[str]) -> _Node:
    if sign and sign in SIGNS:
        return _Node(signs=sign)
    return _Node(_flagged(written, flags))


def _class(written: str, flags: frozenset[str]) -> _Node:
    signs = _signs_in(written, "i" in flags)
    return _Node(_flagged(f"[{written}&&{_OTHERS}]" if signs else written, flags), signs)


def _flagged(expression: str, flags: frozenset[str]) -> str:
    return f"(?{''.join(sorted(flags))}:{expression})" if flags else expression


def _alternatives(alternatives: list[list[_Node]], last: bool) -> str:
    return " | ".join(_sequence(nodes, last) for nodes in alternatives)


def _sequence(nodes: list[_Node], last: bool) -> str:
    """`last`: nothing of the expression comes behind it."""
    pieces: list[str] = []
    plain = ""
    for i, node in enumerate(nodes):
        if not node.has_signs:
            plain += _expression(node)
            continue
        pieces += [slashed(plain)] if plain else []
        plain = ""
        pieces.append(_rule(node, last and i == len(nodes) - 1))
    pieces += [slashed(plain)] if plain else []
    return " ".join(pieces) or '""'


def _rule(node: _Node, last: bool) -> str:
    if node.alternatives is not None:
        return f"({_alternatives(node.alternatives, last and not node.times)}){node.times}"
    escapes = slashed("|".join(map(quoted, node.signs)))
    if not node.plain:
        return f"{escapes}{node.times}"
    run = last and node.times in ("*", "+")  # as long as it can be: nothing behind it could be meant
    return f"({slashed(node.plain + '+' * run)} | {escapes}){node.times}"


def _expression(node: _Node) -> str:
    """A node without signs."""
    if node.alternatives is None:
        return node.plain + node.times if len(node.plain) == 1 or not node.times else f"(?:{node.plain}){node.times}"
    inner = "|".join("".join(map(_expression, part)) for part in node.alternatives)
    return f"(?:{inner}){node.times}"


def _changed(flags: frozenset[str], change: str) -> frozenset[str]:
    added, _, removed = change.partition("-")
    if "x" in added:
        raise ValueError("A regular expression with the flag 'x' cannot be followed here.")
    return (flags | set(added)) - set(removed)


def _class_end(source: str, at: int) -> int:
    """Behind the class that begins here. Classes stand in classes; a "]" at the beginning of one is a sign."""
    depth = 0
    while at < len(source):
        if source[at] == "\\":
            at += 2
            continue
        if source[at] == "[":
            depth += 1
            at += 1 + source.startswith("^", at + 1)
            at += source.startswith("]", at)
        elif source[at] == "]":
            depth -= 1
            if depth == 0:
                return at + 1
            at += 1
            continue
        else:
            at += 1
    raise ValueError("A regular expression has a '[' without its ']'.")


@lru_cache(maxsize=256)
def _signs_in(written: str, ignores_case: bool) -> str:
    """Which of SIGNS a class has."""
    grammar = LLMatcher.grammar_from_regex(f"(?i:{written})" if ignores_case else written)
    matcher = LLMatcher(_bytes(), grammar, log_level=0)
    if matcher.is_error():
        raise ValueError(matcher.get_error())
    return "".join(sign for sign in SIGNS if matcher.validate_tokens([ord(sign)]) == 1)


@cache
def _bytes() -> LLTokenizer:
    return LLTokenizer("byte")
