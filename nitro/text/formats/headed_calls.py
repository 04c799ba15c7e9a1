"""Calls whose arguments are a JSON object, with the name in words before it."""

import re
from dataclasses import dataclass

from nitro.text import json_text
from nitro.text.json_text import read_object
from nitro.text.tools import Call, Malformed, Tools, Unfinished


@dataclass(frozen=True, slots=True)
class Headed:
    """Regular expressions of what stands before the arguments, with the `name`, and of what stands behind them."""

    head: str
    tail: str = ""

    def parse(self, body: str, tools: Tools) -> list[Call]:
        calls: list[Call] = []
        at = json_text.skip(body, 0, ",")
        while at < len(body):
            call, end = self._call(body, at)
            if end is None:
                raise Unfinished
            tail = re.compile(rf"\s*(?:{self.tail})").match(body, end)
            if not tail and body[end:].strip():
                raise Malformed("the call does not end")
            calls.append(Call(call.name, json_text.strict(call.arguments)))
            at = json_text.skip(body, tail.end() if tail else len(body), ",")
        if not calls:
            raise Unfinished
        return calls

    def seen(self, body: str) -> list[Call]:
        """What there is of calls so far; the last one's arguments may be incomplete."""
        calls: list[Call] = []
        at = json_text.skip(body, 0, ",")
        try:
            while at < len(body):
                call, end = self._call(body, at)
                calls.append(call)
                if end is None:
                    break
                tail = re.compile(rf"\s*(?:{self.tail})").match(body, end)
                at = json_text.skip(body, tail.end(), ",") if tail else len(body)
        except Malformed:
            pass
        return calls

    def _call(self, body: str, at: int) -> tuple[Call, int | None]:
        """And where its arguments end; None: not yet."""
        head = re.compile(rf"\s*(?:{self.head})\s*").match(body, at)
        if not head:
            raise Malformed("no call begins there")
        end = read_object(body, head.end()).end if head.end() < len(body) else None
        return Call(head["name"].strip(), body[head.end() : end]), end
