"""The input of a custom tool: the model writes a call's arguments, `{"input": "…"}`; the client gets the text."""

import json
import re

INPUT = "input"  # the only argument
_BEGINNING = re.compile(rf'\s*\{{\s*"{INPUT}"\s*:\s*"')
_PLAIN = re.compile(r'[^"\\]+')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4})')
_NO_ESCAPE = re.compile(r'\\(?:[^"\\/bfnrtu]|u[0-9a-fA-F]{0,3}[^0-9a-fA-F])')  # what a model may write all the same
_HIGH_SURROGATE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?")


class CustomInput:
    """Reads arguments piece by piece."""

    def __init__(self) -> None:
        self._unread = ""
        self._begun = self._ended = False

    def feed(self, arguments: str) -> str:
        """The text that is certain after this much more JSON."""
        if self._ended:
            return ""
        self._unread += arguments
        if not self._begun:
            beginning = _BEGINNING.match(self._unread)
            if not beginning:
                return ""
            self._begun = True
            self._unread = self._unread[beginning.end() :]
        return self._read()

    def flush(self) -> str:
        """What is left where the arguments end: where they have another form, all of them."""
        left, self._unread = ("" if self._begun else self._unread), ""
        if not left:
            return ""
        try:
            value = json.loads(left)
        except ValueError:
            return left
        text = value.get(INPUT) if isinstance(value, dict) else None
        return text if isinstance(text, str) else left

    def _read(self) -> str:
        at = 0
        said: list[str] = []
        text = self._unread
        while at < len(text):
            if plain := _PLAIN.match(text, at):
                said.append(plain[0])
                at = plain.end()
            elif text[at] == '"':
                self._ended, at = True, len(text)
            elif escape := self._escape(at):
                said.append(json.loads(f'"{escape}"').encode("utf-8", "replace").decode())
                at += len(escape)
            elif wrong := _NO_ESCAPE.match(text, at):
                said.append(wrong[0])
                at = wrong.end()
            else:
                break
        self._unread = text[at:]
        return "".join(said)

    def _escape(self, at: int) -> str | None:
        """The escape at a place; None: it may go on."""
        cut = _HIGH_SURROGATE.match(self._unread, at)
        if cut and cut.end() == len(self._unread):
            return None  # the other half may follow
        found = _ESCAPE.match(self._unread, at)
        return found[0] if found else None
