"""A terminal for tests: what a program has written, as a person would see it, lines above the screen included."""

import re
import unicodedata

SEQUENCE = re.compile(r"\x1b(?:\[([?<>=]?)([\d;]*)([@-~])|\]([^\x07\x1b]*)(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78M])")


class Terminal:
    """Follows the sequences that rich and prompt_toolkit use. Knows no colours."""

    def __init__(self, width: int = 80, height: int = 24):
        self.width, self.height = width, height
        self._rows: list[list[str]] = [[]]
        self._row = self._column = self._top = 0
        self._rest = ""

    def feed(self, text: str) -> "Terminal":
        text, self._rest = self._rest + text, ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = SEQUENCE.match(text, at)
                if not found:
                    self._rest = text[at:]
                    break
                self._obey(found)
                at = found.end()
            else:
                self._write(text[at])
                at += 1
        return self

    @property
    def lines(self) -> list[str]:
        lines = ["".join(row).rstrip() for row in self._rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def _write(self, character: str) -> None:
        if character == "\n":
            self._down()
        elif character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif character >= " ":
            if self._column >= self.width:
                self._column = 0
                self._down()
            row = self._rows[self._row]
            row.extend(" " * (self._column + 1 - len(row)))
            row[self._column] = character
            self._column += 1
            if unicodedata.east_asian_width(character) in "WF":
                row.extend(" " * (self._column + 1 - len(row)))
                row[self._column] = ""
                self._column += 1

    def _down(self, count: int = 1) -> None:
        self._row += count
        while self._row >= len(self._rows):
            self._rows.append([])
        self._top = max(self._top, self._row - self.height + 1)

    def _obey(self, found: re.Match[str]) -> None:
        private, numbers, what = found[1], found[2], found[3]
        count = int((numbers or "").split(";")[0] or 1)
        row = self._rows[self._row]
        if private or not what:
            return
        if what == "A":
            self._row = max(self._top, self._row - count)
        elif what == "B":
            self._row = min(self._row + count, self._top + self.height - 1)
            self._down(0)
        elif what == "C":
            self._column = min(self._column + count, self.width - 1)
        elif what == "D":
            self._column = max(0, self._column - count)
        elif what == "G":
            self._column = count - 1
        elif what == "K":
            del row[self._column if numbers in ("", "0") else 0 :]
        elif what == "J":
            del row[self._column :], self._rows[self._row + 1 :]
