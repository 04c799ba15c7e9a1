"""A Lark grammar of a text → a grammar of the same text as JSON writes it between quotes.

Only what stands for letters changes: strings, regular expressions, ranges, and the terminals of `common`, which are
written out. A terminal that has a sign that JSON escapes becomes a rule: see quoted_regex.py. Syntax: llguidance's
docs/syntax.md.
"""

import re
from dataclasses import dataclass, field

from nitro.engines.constraints.quoted_regex import SIGNS, QuotedRegex, quoted, slashed

_STRING = r'"(?:\\.|[^"\\])*"i?'
_TOKEN = re.compile(
    rf"(?P<comment>(?://|\#)[^\n]*)"
    rf"|(?P<settings>%llguidance\s*\{{[^}}]*\}})"
    rf"|(?P<import>%import\s+common\s*\.\s*(?:\w+(?:[ \t]*->[ \t]*\w+)?)|%import\s+common\s*\([\w\s,]*\))"
    rf"|(?P<refused>%(?:json|regex|lark|import|override|declare)\b)"
    rf"|(?P<ignore>%ignore\b)"
    rf"|(?P<range>{_STRING}\s*\.\.\s*{_STRING})"
    rf"|(?P<string>{_STRING})"
    rf"|(?P<regex>/(?:\\.|[^/\\\n])+/[imslux]*)"
    rf"|(?P<begins>^[ \t]*[!?]*(?P<defined>\w[\w-]*)(?:\.-?\d+)?(?:\[[^\]]*\])?[ \t]*:)"
    rf"|(?P<combines>&|~(?!\s*\d))"
    rf"|(?P<special><[^<>\s]+>|->[ \t]*\w+)"
    rf"|(?P<name>[A-Za-z_][\w-]*)",
    re.DOTALL | re.MULTILINE,
)
_EXPONENT = "[eE][+-]?[0-9]+"
_DECIMAL = r"(?:[0-9]+\.[0-9]*|\.[0-9]+)"
_FLOAT = rf"(?:[0-9]+{_EXPONENT}|{_DECIMAL}(?:{_EXPONENT})?)"
# Lark's common.lark
COMMON = {
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[0-9a-fA-F]",
    "INT": "[0-9]+",
    "SIGNED_INT": "[+-]?[0-9]+",
    "DECIMAL": _DECIMAL,
    "_EXP": _EXPONENT,
    "FLOAT": _FLOAT,
    "SIGNED_FLOAT": f"[+-]?{_FLOAT}",
    "NUMBER": f"(?:{_FLOAT}|[0-9]+)",
    "SIGNED_NUMBER": f"[+-]?(?:{_FLOAT}|[0-9]+)",
    "ESCAPED_STRING": r'"(?:[^"\\\n]|\\[^\n])*"',
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[a-zA-Z]",
    "WORD": "[a-zA-Z]+",
    "CNAME": "[_a-zA-Z][_a-zA-Z0-9]*",
    "WS_INLINE": r"[ \t]+",
    "WS": r"[ \t\f\r\n]+",
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(?:\r?\n)+",
    "SH_COMMENT": r"#[^\n]*",
    "CPP_COMMENT": r"//[^\n]*",
    "C_COMMENT": r"/\*(?:[^*]|\*+[^*/])*\*+/",
    "SQL_COMMENT": r"--[^\n]*",
}


@dataclass(slots=True)
class _Definition:
    """What a terminal consists of."""

    names: set[str] = field(default_factory=set)  # of others
    has_signs: bool = False
    combines: bool = False  # by & or ~


def quoted_lark(source: str) -> str:
    """The grammar. Raises ValueError for what cannot be written so; what is no Lark is left to llguidance."""
    source, imported = _without_imports(source)
    source = "\n".join([source, *(f"{name}: {slashed(COMMON[common])}" for name, common in imported.items())])
    rules = {name: f"q{name.lower()}" for name in _with_signs(_definitions(source))}
    written: list[str] = []
    at = 0
    in_terminal = ignoring = False
    for token in _TOKEN.finditer(source):
        written.append(source[at : token.start()])
        ignoring = ignoring and "\n" not in written[-1]
        at = token.end()
        name = token["defined"]
        if name:
            in_terminal = _is_terminal(name) and name not in rules
            written.append(re.sub(rf"\b{name}\b", rules.get(name, name), token[0], count=1))
        elif token.lastgroup == "name":
            if ignoring and token[0] in rules:
                raise ValueError(f"'%ignore {token[0]}' has signs that JSON escapes: write them into the rules.")
            written.append(rules.get(token[0], token[0]))
        elif token.lastgroup == "ignore":
            in_terminal = ignoring = True
            written.append(token[0])
        elif ignoring and _has_signs(token):
            raise ValueError("An '%ignore' has signs that JSON escapes: write them into the rules.")
        else:
            written.append(token[0] if in_terminal or not _has_signs(token) else _rule(token))
    return "".join([*written, source[at:]])


def _without_imports(source: str) -> tuple[str, dict[str, str]]:
    """The grammar without them; and by the name in it, the one in `common`. Raises ValueError for what is refused."""
    found: dict[str, str] = {}
    written: list[str] = []
    at = 0
    for token in _TOKEN.finditer(source):
        if token.lastgroup == "refused":
            raise ValueError(f"'{token[0]}' cannot be followed in the grammar of a tool's input.")
        if token.lastgroup == "import":
            written.append(source[at : token.start()])
            at = token.end()
            found |= _imports(token[0])
    return "".join([*written, source[at:]]), found


def _imports(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in re.sub(r"%import\s+common\s*\.?|[()]", " ", text).split(","):
        common, _, name = (word.strip() for word in part.partition("->"))
        if common not in COMMON:
            raise ValueError(f"'common.{common}' is not known.")
        found[name or common] = common
    return found


def _definitions(source: str) -> dict[str, _Definition]:
    """The grammar's terminals."""
    found: dict[str, _Definition] = {}
    current = _Definition()
    for token in _TOKEN.finditer(source):
        if name := token["defined"]:
            current = _Definition()
            if _is_terminal(name):
                found[name] = current
        elif token.lastgroup == "name":
            current.names.add(token[0])
        elif token.lastgroup == "combines":
            current.combines = True
        elif token.lastgroup == "ignore":
            current = _Definition()
        else:
            current.has_signs = current.has_signs or _has_signs(token)
    return found


def _with_signs(definitions: dict[str, _Definition]) -> set[str]:
    """The terminals that have signs which JSON escapes, or others that do. Raises ValueError."""
    found = {name for name, definition in definitions.items() if definition.has_signs}
    while more := {name for name, each in definitions.items() if name not in found and each.names & found}:
        found |= more
    for name in sorted(found):
        if definitions[name].combines:
            raise ValueError(f"'{name}' has '&' or '~', and signs that JSON escapes; both together cannot be followed.")
    return found


def _is_terminal(name: str) -> bool:
    return name == name.upper()


def _has_signs(token: re.Match[str]) -> bool:
    match token.lastgroup:
        case "string":
            return any(sign in SIGNS for sign in _value(token[0]))
        case "regex" | "range":
            return _regex(token).has_signs
    return False


def _rule(token: re.Match[str]) -> str:
    """What stands for letters, in a rule."""
    if token.lastgroup != "string":
        return _regex(token).rule()
    flag = "i" * token[0].endswith("i")
    parts = re.split(r'(["\\\x00-\x1f])', _value(token[0]))
    plain = (slashed(f"(?{flag}:{_escaped(part)})" if flag else _escaped(part)) for part in parts)
    written = [
        slashed(quoted(part)) if part in SIGNS else each for part, each in zip(parts, plain, strict=True) if part
    ]
    return f"({' '.join(written)})"


def _regex(token: re.Match[str]) -> QuotedRegex:
    if token.lastgroup == "range":
        first, last = re.findall(_STRING, token[0])
        return QuotedRegex.of(f"[{_escaped(_value(first))}-{_escaped(_value(last))}]")
    body, _, flags = token[0][1:].rpartition("/")
    return QuotedRegex.of(body, flags)


def _value(text: str) -> str:
    """What a string says, whose escapes are JSON's and `\\x` with two digits."""
    escapes = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

    def said(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else escapes.get(code, code)

    inner = text[1 : text.rindex('"')]
    return re.sub(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", said, inner, flags=re.DOTALL)


def _escaped(text: str) -> str:
    return "".join(sign if sign.isalnum() and sign.isascii() else f"\\x{{{ord(sign):x}}}" for sign in text)
