"""Parses calls that are a name and, after it, a JSON object of arguments, with tags around both."""

import re
from dataclasses import dataclass

from nitro.text import partial_json
from nitro.text.tool_formats.format import ParseCalls
from nitro.text.tools import Call, Malformed, ToolsByName, Unfinished


@dataclass(frozen=True, slots=True)
class NamedCalls:
    """A parser by what stands around the arguments."""

    before: re.Pattern[str]  # with a group `name`
    after: re.Pattern[str]

    def parse(self, body: str, tools: ToolsByName) -> list[Call]:
        """Read calls, one after another. Raises Malformed."""
        calls, at = [], 0
        while at < len(body):
            head = self.before.match(body, at)
            if not head:
                raise Malformed("there is no name")
            found = partial_json.read_object(body, head.end())
            if found.end is None:
                raise Unfinished
            end = self.after.match(body, found.end)
            if not end:
                raise Malformed("something follows the arguments")
            calls.append(Call(head["name"], partial_json.to_strict(body[head.end() : found.end].strip())))
            at = end.end()
        if not calls:
            raise Unfinished
        return calls

    def parse_partial(self, body: str, tools: ToolsByName) -> list[Call]:
        """The calls so far; the last one's arguments may be incomplete."""
        calls: list[Call] = []
        at = 0
        try:
            while head := self.before.match(body, at):
                found = partial_json.read_object(body, head.end())
                if found.end is None:
                    if body[head.end() :].startswith("{"):
                        calls.append(Call(head["name"], body[head.end() :]))
                    break
                calls.append(Call(head["name"], partial_json.to_strict(body[head.end() : found.end])))
                end = self.after.match(body, found.end)
                if not end:
                    break
                at = end.end()
        except Malformed:
            pass
        return calls


def named_calls(before: str, after: str) -> tuple[ParseCalls, ParseCalls]:
    """`parse` and `parse_partial` of a format, by the patterns before the arguments and after them."""
    calls = NamedCalls(re.compile(before), re.compile(after))
    return calls.parse, calls.parse_partial
