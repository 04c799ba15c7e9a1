"""Regular expressions of JSON schemas, which are ECMA-262's, in the syntax that llguidance reads, which is Rust's.

`whole_match` gives an expression that a string matches as a whole. It has no anchors, no look-around and nothing that
the two syntaxes, or Python's, read differently: every sign but ASCII letters and digits is written as its code point.
The syntax is that of ECMA-262 with the flag `u`, and what its Annex B adds for browsers where that has one meaning.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

ANY_TEXT = "(?s:.)*"
MAX_DEPTH = 60  # of groups in groups
_NOTHING = r"[^\x00-\U0010ffff]"
_SIGN = r"[\x00-\U0010ffff]"
_LINE = r"[^\n\r\u2028\u2029]"
_SPACE = r"\t\n\x0b\x0c\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": _SPACE}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
# Not ECMA-262's, but without a meaning there, and with one in Python, PCRE and Rust.
_ANCHORS = {"A": "start", "Z": "end", "z": "end"}
_GROUPS = {"=": "a look-ahead", "!": "a look-ahead", "<=": "a look-behind", "<!": "a look-behind"}
_GROUPS |= {">": "an atomic group", "#": "a comment", "|": "a branch reset", "(": "a condition"}
_GROUP = re.compile(r"\?(?:(?P<special><?[=!]|[>#|(])|P?<(?P<name>[\w$]+)>|(?P<flags>[a-z]*(?:-[a-z]*)?)(?P<end>[:)]))")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{\d+(?:,\d*)?\})\??")
_HEX = re.compile(r"x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|u\{(?P<point>[0-9a-fA-F]{1,6})\}")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_PROPERTY = re.compile(r"[pP]\{[A-Za-z0-9_]+(?:=[A-Za-z0-9_]+)?\}")


class UnsupportedPattern(ValueError):
    """What a pattern has that cannot be enforced; the message goes on after "it has"."""


class _Node(NamedTuple):
    kind: str  # "text", "start", "end", "group" or "repeat"
    text: str = ""  # a text's expression, a group's opening, a repeat's quantifier
    alternatives: tuple[tuple["_Node", ...], ...] = ()  # of a group; of a repeat one, with one node

    @property
    def has_anchors(self) -> bool:
        """Whether it, or a node in it, is an anchor."""
        return self.kind in ("start", "end") or any(node.has_anchors for part in self.alternatives for node in part)


def whole_match(pattern: str) -> str:
    """An expression that matches a whole text where ECMA-262's pattern is found in it.

    Raises UnsupportedPattern for what no automaton can tell, and for what is no pattern.
    """
    reader = _Reader(pattern)
    alternatives = reader.alternatives(frozenset(), 0)
    if reader.at < len(pattern):
        raise UnsupportedPattern("a ')' without its '('")
    return _alternatives(alternatives, "open", "open")


class _Reader:
    """Reads a pattern from left to right. `at`: how far."""

    def __init__(self, pattern: str):
        self._pattern = pattern
        self.at = 0

    def alternatives(self, flags: frozenset[str], depth: int) -> tuple[tuple[_Node, ...], ...]:
        """Up to the end of the group, or of the pattern."""
        if depth > MAX_DEPTH:
            raise UnsupportedPattern(f"more than {MAX_DEPTH} groups in each other")
        found: list[tuple[_Node, ...]] = []
        nodes: list[_Node] = []
        while self.at < len(self._pattern) and self._pattern[self.at] != ")":
            sign = self._pattern[self.at]
            if sign == "|":
                self.at += 1
                found.append(tuple(nodes))
                nodes = []
            elif sign == "(" and (set_flags := self._inline_flags(flags)) is not None:
                flags = set_flags
            else:
                nodes.append(self._repeated(self._atom(sign, flags, depth)))
        return (*found, tuple(nodes))

    def _inline_flags(self, flags: frozenset[str]) -> frozenset[str] | None:
        """Those after `(?i)`, which holds up to the end of its group; None: something else stands here."""
        group = _GROUP.match(self._pattern, self.at + 1)
        if not group or group["end"] != ")":
            return None
        self.at = group.end()
        return _flags(group["flags"], flags)

    def _repeated(self, node: _Node) -> _Node:
        quantifier = _QUANTIFIER.match(self._pattern, self.at)
        if not quantifier:
            if self._pattern.startswith("{,", self.at):
                raise UnsupportedPattern("the quantifier '{,', which not all languages read alike")
            return node
        if node.has_anchors:
            raise UnsupportedPattern("an anchor that is repeated")
        self.at = quantifier.end()
        if _QUANTIFIER.match(self._pattern, self.at):
            raise UnsupportedPattern("a quantifier after a quantifier")
        text = quantifier[0]
        times = text[:-1] if len(text) > 1 and text.endswith("?") else text  # lazy or not, the same texts match
        low, _, high = times.strip("{}").partition(",")
        if high and int(low) > int(high):
            raise UnsupportedPattern(f"the quantifier '{times}'")
        return _Node("repeat", times, ((node,),))

    def _atom(self, sign: str, flags: frozenset[str], depth: int) -> _Node:
        self.at += 1
        match sign:
            case "^" | "$":
                if "m" in flags:
                    raise UnsupportedPattern("an anchor at lines")
                return _Node("start" if sign == "^" else "end")
            case ".":
                return _Node("text", _SIGN if "s" in flags else _LINE)
            case "(":
                return self._group(flags, depth)
            case "[":
                return _Node("text", _cased(self._class(), flags))
            case "\\":
                return self._escape(flags)
            case "*" | "+" | "?":
                raise UnsupportedPattern(f"'{sign}' with nothing before it")
        return _Node("text", _cased(_literal(ord(sign)), flags))

    def _group(self, flags: frozenset[str], depth: int) -> _Node:
        if self._pattern.startswith("?", self.at):
            group = _GROUP.match(self._pattern, self.at)
            if not group or group["special"]:
                raise UnsupportedPattern(_GROUPS[group["special"]] if group else "an unknown kind of group")
            flags = _flags(group["flags"] or "", flags)
            self.at = group.end()
        inner = self.alternatives(flags, depth + 1)
        if self.at >= len(self._pattern):
            raise UnsupportedPattern("a '(' without its ')'")
        self.at += 1
        return _Node("group", "", inner)

    def _escape(self, flags: frozenset[str]) -> _Node:
        sign = self._pattern[self.at : self.at + 1]
        if sign in _ANCHORS:
            self.at += 1
            return _Node(_ANCHORS[sign])
        if sign in ("b", "B"):
            raise UnsupportedPattern("a word boundary")
        if sign and sign in "k123456789":
            raise UnsupportedPattern("a back reference")
        point, text = self._escaped()
        return _Node("text", _cased(f"[{text}]" if point is None else _literal(point), flags))

    def _class(self) -> str:
        """The rest of a class, from behind its opening."""
        negated = self._pattern.startswith("^", self.at)
        self.at += negated
        items = list(self._items())
        if not items:
            return _SIGN if negated else _NOTHING
        return f"[{'^' * negated}{''.join(items)}]"

    def _items(self) -> Iterator[str]:
        while not self._pattern.startswith("]", self.at):
            first, text = self._item()
            is_range = self._pattern.startswith("-", self.at) and not self._pattern.startswith("-]", self.at)
            if not is_range:
                yield text
                continue
            self.at += 1
            last, last_text = self._item()
            if first is None or last is None:
                yield text + _literal(ord("-")) + last_text
            elif first > last:
                raise UnsupportedPattern("a range that ends before it begins")
            else:
                yield f"{_literal(first)}-{_literal(last)}"
        self.at += 1

    def _item(self) -> tuple[int | None, str]:
        """The code point of a sign in a class, or None for a class in it; and the text of either."""
        sign = self._pattern[self.at : self.at + 1]
        if not sign:
            raise UnsupportedPattern("a '[' without its ']'")
        self.at += 1
        if sign != "\\":
            return ord(sign), _literal(ord(sign))
        if self._pattern.startswith("b", self.at):
            self.at += 1
            return 8, _literal(8)
        if self._pattern.startswith("-", self.at):
            self.at += 1
            return ord("-"), _literal(ord("-"))
        return self._escaped()

    def _escaped(self) -> tuple[int | None, str]:
        """What an escape stands for, from behind its backslash: as `_item`."""
        sign, rest = self._pattern[self.at : self.at + 1], self._pattern[self.at :]
        if sign.lower() in _CLASSES and sign:
            self.at += 1
            return None, _CLASSES[sign] if sign in _CLASSES else f"[^{_CLASSES[sign.lower()]}]"
        if named := _PROPERTY.match(rest):
            self.at += named.end()
            return None, f"\\{named[0]}"
        if coded := _HEX.match(rest):
            self.at += coded.end()
            point = int(coded["x"] or coded["u"] or coded["point"], 16)
            if 0xD800 <= point < 0xDC00 and (low := _LOW_SURROGATE.match(self._pattern, self.at)):
                self.at = low.end()
                point = 0x10000 + (point - 0xD800 << 10) + int(low[1], 16) - 0xDC00
            return point, _literal(point)
        if re.match(r"c[A-Za-z]", rest):
            self.at += 2
            return ord(rest[1]) % 32, _literal(ord(rest[1]) % 32)
        is_digit = rest[1:2].isdigit()
        if sign in _CONTROLS and not (sign == "0" and is_digit):
            self.at += 1
            return _CONTROLS[sign], _literal(_CONTROLS[sign])
        if not sign or sign.isalnum():
            raise UnsupportedPattern(f"the unknown escape '\\{sign}'" if sign else "a '\\' at its end")
        self.at += 1
        return ord(sign), _literal(ord(sign))


def _flags(change: str, flags: frozenset[str]) -> frozenset[str]:
    """The flags after a change such as "i-s"."""
    added, _, removed = change.partition("-")
    if unknown := {*added, *removed} - {"i", "s", "m", "u"}:
        raise UnsupportedPattern(f"the unknown flag '{min(unknown)}'")
    return (flags | set(added)) - set(removed)


def _literal(point: int) -> str:
    """The code point, in a class or outside."""
    if point > 0x10FFFF or 0xD800 <= point < 0xE000:
        raise UnsupportedPattern("a code point that no text has")
    sign = chr(point)
    if sign.isascii() and sign.isalnum():
        return sign
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _cased(expression: str, flags: frozenset[str]) -> str:
    return f"(?i:{expression})" if "i" in flags else expression


# An edge says where a part of the pattern stands: "open", at the text's beginning or end, before or after anything at
# all; "closed", exactly there; "" elsewhere. Anchors at an edge close it, and elsewhere they are not supported.


def _alternatives(alternatives: tuple[tuple[_Node, ...], ...], left: str, right: str) -> str:
    return "|".join(_sequence(nodes, left, right) for nodes in alternatives)


def _sequence(nodes: tuple[_Node, ...], left: str, right: str) -> str:
    first, last = 0, len(nodes)
    if left:
        while first < last and nodes[first].kind == "start":
            first, left = first + 1, "closed"
    if right:
        while first < last and nodes[last - 1].kind == "end":
            last, right = last - 1, "closed"
    parts: list[str] = []
    end = ANY_TEXT if right == "open" else ""
    for i, node in enumerate(nodes[first:last], first):
        node_left = left if i == first else ""
        node_right = right if i == last - 1 else ""
        if not node.has_anchors:  # nothing in it closes an edge
            parts += [ANY_TEXT] * (node_left == "open") + [_plain(node)]
        elif node.kind == "group":
            own_right = node_right if _has(node, "end") else ""
            own_left = node_left if _has(node, "start") else ""
            before = ANY_TEXT if node_left == "open" and not own_left else ""
            parts.append(f"{before}(?:{_alternatives(node.alternatives, own_left, own_right)})")
            if own_right:
                end = ""
        else:
            raise UnsupportedPattern("an anchor in its middle")
    if first == last and left == "open":
        parts.append(ANY_TEXT)
    return "".join([*parts, end])


def _has(node: _Node, kind: str) -> bool:
    return node.kind == kind or any(_has(inner, kind) for part in node.alternatives for inner in part)


def _plain(node: _Node) -> str:
    """A node without anchors."""
    if node.kind == "text":
        return node.text
    if node.kind == "repeat":
        ((inner,),) = node.alternatives
        text = _plain(inner)
        return (f"(?:{text})" if inner.kind == "repeat" else text) + node.text
    return "(?:" + "|".join("".join(map(_plain, part)) for part in node.alternatives) + ")"
