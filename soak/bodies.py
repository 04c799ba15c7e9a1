"""Large and odd request bodies, none above LIMIT. Each makes one part of a request large.

A body consists of encoded members of a JSON object, which can be joined in any order, since it matters what a server
reads first, and what it has read when it meets a fault. Some bodies are damaged afterwards.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

LIMIT = 32_000_000  # bytes
CHAT = "/v1/chat/completions"
TEXTS = "/v1/completions"
ORDERS = ("forth", "back", "mixed")

Members = dict[str, bytes]
CHAT_MEMBERS: Members = {"messages": b'[{"role":"user","content":"Hi"}]', "max_tokens": b"1"}
TEXT_MEMBERS: Members = {"prompt": b'"Hi"', "max_tokens": b"1"}


@dataclass(frozen=True)
class Kind:
    """A kind of body. `members` is called only when the body is needed, since it may take seconds and tens of
    megabytes."""

    name: str
    members: Callable[[], Members]
    path: str = CHAT
    damage: Callable[[bytes], bytes] = lambda body: body  # applied to the finished body
    quick: bool = False  # also in the short form

    def body(self, order: str = "forth", seed: int = 0) -> bytes:
        """The body with its members in one of ORDERS. `seed`: for "mixed"."""
        members = list(self.members().items())
        if order == "back":
            members.reverse()
        elif order == "mixed":
            random.Random(f"{seed} {self.name}").shuffle(members)
        body = self.damage(b"{" + b",".join(b'"%s":%s' % (name.encode(), raw) for name, raw in members) + b"}")
        assert len(body) <= LIMIT, f"{self.name}: {len(body)} bytes"
        return body


# JSON of a certain size


def text(unit: bytes, size: int) -> bytes:
    """A string of about `size` bytes, which repeats `unit`."""
    return b'"' + unit * (size // len(unit)) + b'"'


def listed(item: Callable[[int], bytes], count: int) -> bytes:
    """A list of `count` items, each made from its number."""
    return b"[" + b",".join(map(item, range(count))) + b"]"


def keyed(item: Callable[[int], bytes], count: int, name: bytes = b"k%d") -> bytes:
    """An object of `count` members with different names."""
    return b"{" + b",".join(b'"' + name % i + b'":' + item(i) for i in range(count)) + b"}"


def nested(opening: bytes, inner: bytes, closing: bytes, depth: int) -> bytes:
    """Brackets `depth` levels deep around `inner`."""
    return opening * depth + inner + closing * depth


def one(_: int) -> bytes:
    """An item: the number 1."""
    return b"1"


def word(i: int) -> bytes:
    """An item: a string that is different for each number."""
    return b'"w%d"' % i


def tool(i: int, parameters: bytes = b'{"type":"object","properties":{"a":{"type":"string"}}}') -> bytes:
    """An item: a valid tool."""
    return b'{"type":"function","function":{"name":"tool_%d","parameters":%s}}' % (i, parameters)


def message(_: int) -> bytes:
    """An item: a message."""
    return b'{"role":"user","content":"a"}'


def content(raw: bytes) -> Members:
    """A chat request with this content, encoded already."""
    return {**CHAT_MEMBERS, "messages": b'[{"role":"user","content":%s}]' % raw}


def with_member(name: str, make: Callable[[], bytes], base: Members = CHAT_MEMBERS) -> Callable[[], Members]:
    """For `Kind.members`: a valid request with one more member."""
    return lambda: {**base, name: make()}


def with_content(make: Callable[[], bytes]) -> Callable[[], Members]:
    """For `Kind.members`: a chat request with a content."""
    return lambda: content(make())


def schema(raw: bytes) -> bytes:
    """A response_format with this JSON schema."""
    return b'{"type":"json_schema","json_schema":{"name":"x","schema":%s}}' % raw


def properties(count: int) -> bytes:
    """A JSON schema of an object with so many properties."""
    return b'{"type":"object","properties":%s}' % keyed(lambda i: b'{"type":"string"}', count)


def deep_schema(depth: int) -> bytes:
    """A JSON schema of objects so many levels deep."""
    return nested(b'{"type":"object","properties":{"a":', b'{"type":"string"}', b"}}", depth)


MB = 1_000_000
NEAR_LIMIT = LIMIT - 2000  # leaves room for the other members

# The kinds, by what they test

LENIENT = [
    Kind("trailing commas, 10 MB", with_member("x", lambda: b"[" + b"[1,]," * (2 * MB) + b"]"), quick=True),
    Kind("trailing commas, 0.9 MB", with_member("x", lambda: b"[" + b"[1,]," * 180_000 + b"]"), quick=True),
    Kind("comments, 10 MB", with_member("x", lambda: b"[1" + b"/* a */" * (10 * MB // 7) + b"]"), quick=True),
    Kind("comments, 0.9 MB", with_member("x", lambda: b"[1" + b"//a\n" * 225_000 + b"]")),
    Kind("one comment, 30 MB", with_member("x", lambda: b"1/*" + b" " * (30 * MB) + b"*/")),
    Kind("a comment without end, 0.9 MB", with_member("x", lambda: b"1/*" + b"/*" * 450_000)),
    Kind("opened quotes in a comment, 0.9 MB", with_member("x", lambda: b"1/*" + b'"' * 900_001 + b"*/")),
    Kind("commas alone, 0.9 MB", with_member("x", lambda: b"[" + b"," * 900_000 + b"]")),
]
BLANK = [
    Kind("32 MB of spaces", dict, damage=lambda _: b" " * LIMIT, quick=True),
    Kind("32 MB of line breaks", dict, damage=lambda _: b"\r\n" * (LIMIT // 2)),
    Kind(
        "spaces around a body, 32 MB",
        lambda: CHAT_MEMBERS,
        damage=lambda b: b" " * (NEAR_LIMIT // 2) + b + b" " * (NEAR_LIMIT // 2),
    ),
    Kind("a comma, then 30 MB of spaces", with_member("x", lambda: b"[1," + b" " * (30 * MB) + b"]"), quick=True),
    Kind("a comma, then 0.9 MB of spaces", with_member("x", lambda: b"[1," + b" " * 900_000 + b"]")),
    Kind("commas and spaces in turn, 0.9 MB", with_member("x", lambda: b"[" + (b"1," + b" " * 98) * 9_000 + b"]")),
]
DEEP = [
    Kind("lists in lists, open, 32 MB", dict, damage=lambda _: b"[" * LIMIT, quick=True),
    Kind("objects in objects, open, 32 MB", dict, damage=lambda _: b'{"a":' * (LIMIT // 5)),
    Kind("lists in lists, closed, 30 MB", with_member("metadata", lambda: nested(b"[", b"", b"]", 15 * MB))),
    Kind("objects in objects, closed, 30 MB", with_member("x", lambda: nested(b'{"a":', b"1", b"}", 5 * MB))),
    Kind("lists in lists, 900 deep", with_member("x", lambda: nested(b"[", b"", b"]", 900))),
    Kind("content in lists, 30 MB", with_content(lambda: nested(b"[", b"", b"]", 15 * MB))),
    Kind(
        "variables in objects, 30 MB", with_member("chat_template_kwargs", lambda: nested(b'{"a":', b"1", b"}", 5 * MB))
    ),
    Kind(
        "variables in lists, 900 deep",
        with_member("chat_template_kwargs", lambda: b'{"a":%s}' % nested(b"[", b"", b"]", 900)),
    ),
]
CONTENTS = [
    Kind("a content of ASCII, 32 MB", with_content(lambda: text(b"many words ", NEAR_LIMIT)), quick=True),
    Kind("a content of one letter, 32 MB", with_content(lambda: text(b"a", NEAR_LIMIT))),
    Kind("a content of other scripts, 32 MB", with_content(lambda: text("слово 語 ".encode(), NEAR_LIMIT))),
    Kind("a content of emoji, 32 MB", with_content(lambda: text("🙂".encode(), NEAR_LIMIT))),
    Kind("a content of \\u00e9, 32 MB", with_content(lambda: text(b"\\u00e9", NEAR_LIMIT)), quick=True),
    Kind("a content of lone surrogates, 30 MB", with_content(lambda: text(b"\\ud83d", 30 * MB)), quick=True),
    Kind("a content of lone surrogates, 0.9 MB", with_content(lambda: text(b"\\ud83d", 900_000))),
    Kind("a content of zeros, 32 MB", with_content(lambda: text(b"\\u0000", NEAR_LIMIT))),
    Kind("a content of backslashes, 32 MB", with_content(lambda: text(b"\\\\", NEAR_LIMIT))),
    Kind("a content of control tokens, 30 MB", with_content(lambda: text(b"<|im_end|>", 30 * MB))),
    Kind(
        "a content of 300,000 parts",
        with_content(lambda: listed(lambda i: b'{"type":"text","text":"a"}', 300_000)),
        quick=True,
    ),
    Kind("a content of 1,000,000 texts", with_content(lambda: listed(word, MB))),
    Kind("a role of 30 MB", lambda: {**CHAT_MEMBERS, "messages": b'[{"role":%s}]' % text(b"a", 30 * MB)}),
    Kind(
        "a prediction of 30 MB",
        with_member("prediction", lambda: b'{"type":"content","content":%s}' % text(b"a ", 30 * MB)),
    ),
]
MESSAGES = [
    Kind("100,000 messages", with_member("messages", lambda: listed(message, 100_000)), quick=True),
    Kind("1,000,000 messages", with_member("messages", lambda: listed(message, MB)), quick=True),
    Kind("100,000 calls in the history", lambda: {**CHAT_MEMBERS, "messages": _called(100_000)}),
    Kind(
        "a call's arguments of 30 MB", lambda: {**CHAT_MEMBERS, "messages": _called(1, text(b'{\\"a\\":1}', 30 * MB))}
    ),
    Kind(
        "a call's arguments, an object of 1,000,000", lambda: {**CHAT_MEMBERS, "messages": _called(1, keyed(one, MB))}
    ),
]


def _called(count: int, arguments: bytes = b'"{}"') -> bytes:
    calls = listed(
        lambda i: b'{"id":"c%d","type":"function","function":{"name":"f","arguments":%s}}' % (i, arguments), count
    )
    return b'[{"role":"user","content":"a"},{"role":"assistant","tool_calls":%s}]' % calls


TOOLS = [
    Kind("20,000 tools", with_member("tools", lambda: listed(tool, 20_000)), quick=True),
    Kind("200,000 tools", with_member("tools", lambda: listed(tool, 200_000))),
    Kind("128 tools of 200 kB", with_member("tools", lambda: listed(lambda i: tool(i, properties(7_000)), 128))),
    Kind(
        "a tool with a schema of 10 MB",
        with_member("tools", lambda: b"[%s]" % tool(0, properties(400_000))),
        quick=True,
    ),
    Kind("a tool with a deep schema", with_member("tools", lambda: b"[%s]" % tool(0, deep_schema(400)))),
    Kind("a tool with a very deep schema", with_member("tools", lambda: b"[%s]" % tool(0, deep_schema(700_000)))),
    Kind(
        "a tool described in 30 MB",
        with_member(
            "tools",
            lambda: b'[{"type":"function","function":{"name":"f","description":%s}}]' % text(b"words ", 30 * MB),
        ),
    ),
    Kind(
        "required of 2,000 tools", lambda: {**CHAT_MEMBERS, "tools": listed(tool, 2_000), "tool_choice": b'"required"'}
    ),
    Kind(
        "a tool that is chosen by 30 MB",
        lambda: {**CHAT_MEMBERS, "tools": listed(tool, 1), "tool_choice": text(b"a", 30 * MB)},
    ),
]
CONSTRAINTS = [
    Kind(
        "a format of 300,000 properties",
        with_member("response_format", lambda: schema(properties(300_000))),
        quick=True,
    ),
    Kind("a format, 400 deep", with_member("response_format", lambda: schema(deep_schema(400)))),
    Kind("a format, 700,000 deep", with_member("response_format", lambda: schema(deep_schema(700_000)))),
    Kind(
        "a format of 1,000,000 values",
        with_member("response_format", lambda: schema(b'{"enum":%s}' % listed(word, MB))),
    ),
    Kind(
        "a schema of 30 MB of words",
        with_member("json_schema", lambda: b'{"description":%s}' % text(b"words ", 30 * MB)),
    ),
    Kind("a schema of 3,500 required properties", with_member("json_schema", lambda: _required(3_500))),
    Kind("1,000,000 choices", with_member("choice", lambda: listed(word, MB)), quick=True),
    Kind("a choice of 30 MB", with_member("choice", lambda: b"[%s]" % text(b"a", 30 * MB))),
    Kind("a regex of 10 MB", with_member("regex", lambda: text(b"[ab]c", 10 * MB))),
    Kind("a regex of 100 kB", with_member("regex", lambda: text(b"[ab]c", 100_000))),
    Kind("a grammar of 10 MB", with_member("grammar", lambda: _grammar(400_000))),
    Kind("a grammar of 2,000 rules", with_member("grammar", lambda: _grammar(2_000)), quick=True),
]


def _required(count: int) -> bytes:
    names = listed(lambda i: b'"k%d"' % i, count)
    return b'{"type":"object","properties":%s,"required":%s}' % (keyed(lambda i: b'{"type":"string"}', count), names)


def _grammar(rules: int) -> bytes:
    lines = "\n".join(f'r{i} ::= "a{i}" | "b"' for i in range(rules))
    return json.dumps(f"root ::= r0 | r1\n{lines}").encode()


LISTS = [
    Kind("biases of 1,000,000 ids", with_member("logit_bias", lambda: keyed(one, MB, b"%d")), quick=True),
    Kind("biases of 40,000 ids", with_member("logit_bias", lambda: keyed(one, 40_000, b"%d"))),
    Kind("biases of 2,000 texts", with_member("logit_bias", lambda: keyed(one, 2_000, b" text number %d"))),
    Kind("biases of 1,000,000 texts", with_member("logit_bias", lambda: keyed(one, MB, b" text number %d"))),
    Kind("biases of 1,000,000 pairs", with_member("logit_bias", lambda: listed(lambda i: b"[%d,1]" % i, MB))),
    Kind("1,000,000 stops", with_member("stop", lambda: listed(word, MB)), quick=True),
    Kind("a stop of 30 MB", with_member("stop", lambda: text(b"a", 30 * MB))),
    Kind("16 stops of 1.9 MB", with_member("stop", lambda: listed(lambda i: text(b"%x" % i, 1_900_000), 16))),
    Kind("1,000,000 breakers", with_member("dry_sequence_breakers", lambda: listed(word, MB))),
    Kind("1,024 prompts", with_member("prompt", lambda: listed(word, 1_024), TEXT_MEMBERS), TEXTS, quick=True),
    Kind("2,000,000 prompts", with_member("prompt", lambda: listed(word, 2 * MB), TEXT_MEMBERS), TEXTS, quick=True),
    Kind(
        "a prompt of 8,000,000 ids", with_member("prompt", lambda: listed(one, 8 * MB), TEXT_MEMBERS), TEXTS, quick=True
    ),
    Kind(
        "1,000,000 prompts of ids",
        with_member("prompt", lambda: listed(lambda i: b"[%d]" % (i % 256), MB), TEXT_MEMBERS),
        TEXTS,
    ),
    Kind("a prompt of 32 MB", with_member("prompt", lambda: text(b"many words ", NEAR_LIMIT), TEXT_MEMBERS), TEXTS),
    Kind("a suffix of 30 MB", with_member("suffix", lambda: text(b"many words ", 30 * MB), TEXT_MEMBERS), TEXTS),
]
UNKNOWN = [
    Kind("1,000,000 unknown fields", lambda: {**{f"unknown_{i}": b"1" for i in range(MB)}, **CHAT_MEMBERS}, quick=True),
    Kind("an unknown field of 32 MB", with_member("x", lambda: text(b"a", NEAR_LIMIT)), quick=True),
    Kind("an unknown list of 10,000,000", with_member("x", lambda: listed(one, 10 * MB))),
    Kind("unknown objects, 30 MB", with_member("x", lambda: listed(lambda i: b'{"a%d":{"b":[]}}' % i, 1_300_000))),
    Kind("a model's name of 30 MB", with_member("model", lambda: text(b"a", 30 * MB))),
    Kind("metadata of 1,000,000 keys", with_member("metadata", lambda: keyed(word, MB))),
    Kind("metadata of 30 MB", with_member("metadata", lambda: b'{"a":%s}' % text(b"a", 30 * MB))),
    Kind("1,000,000 variables", with_member("chat_template_kwargs", lambda: keyed(one, MB)), quick=True),
    Kind("a variable of 30 MB", with_member("chat_template_kwargs", lambda: b'{"a":%s}' % text(b"a", 30 * MB))),
    Kind("a user of 30 MB", with_member("user", lambda: text(b"a", 30 * MB))),
]
NUMBERS = [
    Kind("a seed of 1,000,000 digits", with_member("seed", lambda: b"1" * MB), quick=True),
    Kind("a temperature of 1,000,000 digits", with_member("temperature", lambda: b"0." + b"1" * MB)),
    Kind("a temperature with 30,000,000 zeros", with_member("temperature", lambda: b"0." + b"0" * (30 * MB))),
    Kind("an unknown number of 30,000,000 digits", with_member("x", lambda: b"9" * (30 * MB))),
    Kind("a lenient number of 900,000 digits", with_member("x", lambda: b"[%s,]" % (b"9" * 900_000))),
    Kind("an exponent of 1,000,000 digits", with_member("top_p", lambda: b"1e-" + b"9" * MB)),
    Kind("NaN, 30 MB", with_member("x", lambda: listed(lambda i: b"NaN", 7 * MB))),
    Kind("NaN, 0.9 MB", with_member("x", lambda: listed(lambda i: b"NaN", 225_000))),
]
ENCODINGS = [
    Kind(
        "a byte order mark before 30 MB",
        with_content(lambda: text(b"a", 30 * MB)),
        damage=lambda b: b"\xef\xbb\xbf" + b,
        quick=True,
    ),
    Kind("UTF-16, 30 MB", with_content(lambda: text(b"a", 15 * MB)), damage=lambda b: b.decode().encode("utf-16")),
    Kind(
        "no UTF-8 at the end of 30 MB", with_content(lambda: text(b"a", 30 * MB)), damage=lambda b: b[:-4] + b'\xff"}]}'
    ),
    Kind("no UTF-8 in a content of 30 MB", with_content(lambda: text(b"a", 30 * MB)[:-1] + b'\xff"'), quick=True),
    Kind("cut at the end of 30 MB", with_content(lambda: text(b"a", 30 * MB)), damage=lambda b: b[:-4]),
    Kind(
        "cut in the middle of a list, 30 MB",
        with_member("messages", lambda: listed(message, MB)),
        damage=lambda b: b[: len(b) // 2],
    ),
    Kind(
        "the same key 1,000,000 times",
        lambda: {**CHAT_MEMBERS, "x": _again(MB, b"n")},
        damage=lambda b: b.replace(b'"x":', b"", 1),
    ),
    Kind(
        "messages 300,000 times",
        lambda: {**CHAT_MEMBERS, "x": _again(300_000, b"messages", b'[{"role":"user","content":"a"}]')},
        damage=lambda b: b.replace(b'"x":', b"", 1),
    ),
    Kind("another kind of JSON, 30 MB", dict, damage=lambda _: text(b"a", 30 * MB)),
]


def _again(count: int, name: bytes, value: bytes = b"1") -> bytes:
    return b",".join([b'"%s":%s' % (name, value)] * count)


KINDS: list[Kind] = [
    *LENIENT, *BLANK, *DEEP, *CONTENTS, *MESSAGES, *TOOLS, *CONSTRAINTS, *LISTS, *UNKNOWN, *NUMBERS, *ENCODINGS
]  # fmt: skip
