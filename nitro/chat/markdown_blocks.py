"""Markdown that comes in pieces, as blocks: one that has ended never changes again, so it can be shown for good.

A list and what is indented below it are one block, and so is fenced code. Source: CommonMark 0.31, blocks. Pure.
"""

import re

FENCE = re.compile(r"^\s*(`{3,}(?=[^`]*$)|~{3,})")
ITEM = re.compile(r"^ {0,3}([-*+]|\d{1,9}[.)])(\s|$)")
HEADING = re.compile(r"^ {0,3}#{1,6}(\s|$)")


class Blocks:
    """Takes text as it comes."""

    def __init__(self) -> None:
        self._lines: list[str] = []  # of the block that has not ended
        self._line = ""  # that has not ended
        self._fence = ""  # that the block is inside of
        self._in_list = False
        self._blank = False  # whether its last line is blank

    @property
    def rest(self) -> str:
        """The block that may go on."""
        return "\n".join([*self._lines, self._line] if self._line else self._lines)

    def tail(self, lines: int, width: int) -> str:
        """The end of that block, as much of it as so many lines of a terminal can show. Code stays code."""
        kept = [*self._lines[-lines:], self._line]
        text = "\n".join(kept)[-lines * width :]
        if self._fence and len(self._lines) > lines:
            text = f"{self._lines[0]}\n{text}" if FENCE.match(self._lines[0]) else f"{self._fence}\n{text}"
        return text

    def feed(self, text: str) -> list[str]:
        """The blocks that end with this text."""
        *lines, rest = text.split("\n")
        ended: list[str] = []
        for line in lines:
            self._take(self._line + line, ended)
            self._line = ""
        self._line += rest
        return ended

    def _take(self, line: str, ended: list[str]) -> None:
        """A whole line."""
        if self._fence:
            self._lines.append(line)
            self._blank = False
            if _closes(line, self._fence):
                self._fence = ""
                if not self._in_list:
                    self._end(ended)
            return
        fence = FENCE.match(line)
        blank = not line.strip()
        if blank:
            if self._in_list:
                self._lines.append(line)
            else:
                self._end(ended)
        elif self._in_list and not self._goes_on(line):
            self._end(ended)
            return self._take(line, ended)
        else:
            if (fence or HEADING.match(line)) and not self._in_list:
                self._end(ended)  # both end a paragraph
            self._in_list = self._in_list or (not self._lines and ITEM.match(line) is not None)
            self._lines.append(line)
            self._fence = fence[1] if fence else ""
            if HEADING.match(line) and not self._in_list:
                self._end(ended)
        self._blank = blank

    def _goes_on(self, line: str) -> bool:
        """Whether a line belongs to the list: another item, what is indented, or a paragraph's next line."""
        interrupts = FENCE.match(line) or HEADING.match(line)
        return bool(ITEM.match(line)) or line[0] in " \t" or not (self._blank or interrupts)

    def _end(self, ended: list[str]) -> None:
        block = "\n".join(self._lines).rstrip("\n")
        self._lines, self._in_list, self._blank = [], False, False
        if block.strip():
            ended.append(block)


def _closes(line: str, fence: str) -> bool:
    found = line.strip()
    return len(found) >= len(fence) and not found.strip(fence[0])
