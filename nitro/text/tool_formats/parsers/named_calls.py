"""Calls as a name and, after it, arguments that are a JSON object, with marks around both."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from nitro.text import partial_json
from nitro.text.tools import Call, Malformed, Tools, Unfinished


@dataclass(frozen=True, slots=True)
class Named:
    """`before`: what stands before the arguments, with a group `name`. `after`: what follows them."""

    before: re.Pattern[str]
    after: re.Pattern[str] = re.compile(r"\s*")

    def parse(self, body: str, tools: Tools) -> list[Call]:
        calls, at = [], 0
        while at < len(body):
            if not (head := self.before.match(body, at)):
                raise Malformed("there is no name")
            found = partial_json.read_object(body, head.end())
            if found.end is None:
                raise Unfinished
            if not (end := self.after.match(body, found.end)):
                raise Malformed("something follows the arguments")
            calls.append(Call(head["name"], partial_json.strict(body[head.end() : found.end].strip())))
            at = end.end()
        if not calls:
            raise Unfinished
        return calls

    def seen(self, body: str, tools: Tools) -> list[Call]:
        """What there is of calls so far; the last one's arguments may be incomplete."""
        calls: list[Call] = []
        at = 0
        try:
            while head := self.before.match(body, at):
                found = partial_json.read_object(body, head.end())
                if found.end is None:
                    if body[head.end() :].startswith("{"):
                        calls.append(Call(head["name"], body[head.end() :]))
                    break
                calls.append(Call(head["name"], partial_json.strict(body[head.end() : found.end])))
                if not (end := self.after.match(body, found.end)):
                    break
                at = end.end()
        except Malformed:
            pass
        return calls


Parse = Callable[[str, Tools], list[Call]]


def named(before: str, after: str = r"\s*") -> tuple[Parse, Parse]:
    """`parse` and `seen` for such calls."""
    calls = Named(re.compile(before), re.compile(after))
    return calls.parse, calls.seen
