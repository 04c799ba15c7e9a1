"""Hostile requests: valid ones, each with something wrong, by a grammar of mutations. The same seed and number give the
same bytes. Values are odd, but not large; large bodies are in `bodies`.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from soak import schemas
from soak.connection import post
from soak.heads import HEADS
from soak.replies import CHAT, TEXTS

Random = random.Random
Body = dict[str, Any]
LEAVINGS = ("after the head", "in the body", "after the request", "at the first bytes", "in the answer")


@dataclass(frozen=True)
class Request:
    """The bytes of a request, and how they are sent. `leaving`: when the client disconnects, if it does not wait.
    `strict`: it is valid HTTP, so that each of its `replies` must arrive and be honest; else the server may close the
    connection. `refuses`: the route only says that it does nothing, with status 501."""

    kind: str
    data: bytes
    replies: int = 1
    piece_size: int = 2**18
    leaving: str | None = None
    strict: bool = True
    bodiless: bool = False  # a HEAD request
    refuses: bool = False


def generate(seed: int, count: int) -> Iterator[Request]:
    """The first `count` requests of a seed."""
    return (number(seed, i) for i in range(count))


def number(seed: int, i: int) -> Request:
    """Request number i of a seed."""
    rng = random.Random(f"{seed} {i}")
    made = _odd_head(rng, *valid(rng)) if rng.random() < 0.15 else _odd_body(rng)
    return sent(rng, made)


def raw(seed: int, i: int, paths: Sequence[str]) -> Request:
    """Number i of those with an odd head, or that are no HTTP, to any of these paths."""
    rng = random.Random(f"{seed} raw {i}")
    _, body = valid(rng)
    return sent(rng, _odd_head(rng, rng.choice(paths), body))


# A valid request

WORDS = ("Hi", "Tell me a story.", "2 + 2?", "слово", "語", "🙂", "", " ", "a" * 300, "<|im_end|>", "\n", "\t\0")
_number = Random.uniform
FIELDS: dict[str, Callable[[Random], Any]] = {
    "temperature": lambda r: _number(r, 0, 2),
    "top_p": lambda r: _number(r, 0, 1),
    "min_p": lambda r: _number(r, 0, 1),
    "top_k": lambda r: r.randrange(100),
    "seed": lambda r: r.randrange(2**31),
    "n": lambda r: r.randint(1, 3),
    "stop": lambda r: r.choice(["x", ["a", "b"], []]),
    "stream": lambda r: r.random() < 0.5,
    "stream_options": lambda r: {"include_usage": True},
    "logit_bias": lambda r: {str(r.randrange(200)): r.randint(-100, 100)},
    "frequency_penalty": lambda r: _number(r, -2, 2),
    "presence_penalty": lambda r: _number(r, -2, 2),
    "repetition_penalty": lambda r: _number(r, 0.5, 2),
    "repeat_last_n": lambda r: r.randint(-1, 100),
    "min_tokens": lambda r: r.randint(0, 1),
    "ignore_eos": lambda r: r.random() < 0.5,
    "user": lambda r: "somebody",
    "metadata": lambda r: {"a": "b"},
    "model": lambda r: r.choice(["", "gpt-4o", "none"]),
    "prediction": lambda r: {"type": "content", "content": "Once upon a time"},
    "cache_prompt": lambda r: r.random() < 0.5,
    "return_tokens": lambda r: r.random() < 0.5,
    "timings_per_token": lambda r: r.random() < 0.5,
}
CHAT_FIELDS: dict[str, Callable[[Random], Any]] = {
    "logprobs": lambda r: r.random() < 0.5,
    "tools": lambda r: [schemas.tool(r) for _ in range(r.randint(1, 3))],
    "tool_choice": lambda r: r.choice(["auto", "none"]),
    "parallel_tool_calls": lambda r: r.random() < 0.5,
    "reasoning_effort": lambda r: r.choice(["low", "none"]),
    "thinking_budget": lambda r: r.randrange(50),
    "chat_template_kwargs": lambda r: {"enable_thinking": r.random() < 0.5},
    "continue_final_message": lambda r: False,
}
TEXT_FIELDS: dict[str, Callable[[Random], Any]] = {
    "logprobs": lambda r: r.randint(0, 5),
    "echo": lambda r: r.random() < 0.5,
}


def _message(rng: Random) -> Body:
    role = rng.choice(["user", "user", "system", "assistant", "tool", "developer"])
    text = rng.choice(WORDS)
    return {"role": role, "content": rng.choice([text, [{"type": "text", "text": text}]])}


def _some(rng: Random, fields: dict[str, Callable[[Random], Any]], maximum: int) -> Body:
    names = rng.sample(sorted(fields), rng.randint(0, maximum))
    return {name: fields[name](rng) for name in names}


def valid(rng: Random) -> tuple[str, Body]:
    """A path, and a body for it."""
    shared = {"max_tokens": rng.randint(1, 6), **_some(rng, FIELDS, 4)}
    if rng.random() < 0.75:
        messages = [
            *(_message(rng) for _ in range(rng.randint(0, 3))),
            {"role": "user", "content": rng.choice(WORDS[:4])},
        ]
        return CHAT, {"messages": messages, **shared, **_some(rng, CHAT_FIELDS, 2)}
    prompt = rng.choice(["Hi", ["Hi", "Ho"], [1, 2, 3], [[1, 2], [3]]])
    return TEXTS, {"prompt": prompt, **shared, **_some(rng, TEXT_FIELDS, 2)}


# What may be wrong with a body: a mutation changes it in place, or returns the bytes to send instead

Mutation = Callable[[Random, Body], bytes | None]
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30),
    *(0.5, 1e308, -1e-308, 5e-324, 1.0, float("nan"), float("inf"), -float("inf"), -0.0),
    *("", "a", "none", "auto", "null", "1", "0x10", "9" * 400, "\0", "\ud83d", "\udfff\ud83d", "\ufeff", "{{ 7 * 7 }}"),
    *("{% for i in range(9) %}a{% endfor %}", "<|im_start|>system", "../../etc", "${HOME}", "\r\nX-A: b", "é" * 50),
    *([], {}, [[]], [None], [{}], {"": ""}, {"type": "text"}, {"a": {"b": {"c": []}}}, ["a"] * 40, [1] * 40),
    *({"type": "json_object"}, {"type": "function"}, {"role": "user"}, [["a", 1]], {"text": 5}, {"function": None}),
]
MORE = ("messages", "prompt", "response_format", "functions", "audio", "suffix", "best_of", "top_logprobs")
NAMES = sorted({*FIELDS, *CHAT_FIELDS, *TEXT_FIELDS, *MORE})


def odd(rng: Random) -> Any:
    """An odd value; a copy, since bodies are changed in place."""
    return copy.deepcopy(rng.choice(ODD))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything inside a value."""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from places(child, (*path, key))


def _holder(body: Body, path: tuple[Any, ...]) -> Any:
    found: Any = body
    for key in path[:-1]:
        found = found[key]
    return found


def _place(rng: Random, body: Body) -> tuple[Any, Any]:
    """A container somewhere in the body, and a key of it."""
    path = rng.choice(list(places(body)))
    return _holder(body, path), path[-1]


def wrong_value(rng: Random, body: Body) -> None:
    """One or two values are odd."""
    for _ in range(rng.randint(1, 2)):
        holder, key = _place(rng, body)
        holder[key] = odd(rng)


def odd_field(rng: Random, body: Body) -> None:
    """A known field has an odd value."""
    body[rng.choice(NAMES)] = odd(rng)


def missing(rng: Random, body: Body) -> None:
    """Something is missing."""
    holder, key = _place(rng, body)
    del holder[key]


def unknown(rng: Random, body: Body) -> None:
    """There are unknown fields."""
    for _ in range(rng.randint(1, 4)):
        name = "".join(rng.choice('abcé\0"\\/ \ud83d語$.[]-') for _ in range(rng.randint(0, 12)))
        body[name] = odd(rng)


def deep(rng: Random, body: Body) -> bytes:
    """A value is nested in lists or objects, up to 3,000 levels deep."""
    holder, key = _place(rng, body)
    holder[key] = "\x01here"
    depth = rng.choice([2, 20, 60, 200, 900, 1100, 3000])
    opening, closing = rng.choice([("[", "]"), ('{"a":', "}"), ('{"type":"object","properties":{"a":', "}}")])
    return json.dumps(body).replace('"\\u0001here"', opening * depth + "1" + closing * depth, 1).encode()


def huge_number(rng: Random, body: Body) -> bytes:
    """A value is a number with many digits."""
    holder, key = _place(rng, body)
    holder[key] = "\x01here"
    digits = rng.choice("123456789") * rng.choice([19, 20, 40, 310, 400, 5000])
    number = rng.choice(["%s", "-%s", "0.%s", "1e%s", "1e-%s", "%s.0", "%se5", "+%s", "0%s", "0x%s"]) % digits
    return json.dumps(body).replace('"\\u0001here"', number, 1).encode()


def schema(rng: Random, body: Body) -> None:
    """An odd JSON schema."""
    found = schemas.schema(rng)
    form: Body = {"type": "json_schema", "json_schema": {"name": "x", "schema": found, "strict": rng.random() < 0.5}}
    body.update(rng.choice([{"json_schema": found}, {"response_format": form}]))


def tools(rng: Random, body: Body) -> None:
    """Odd tools, or an odd tool_choice."""
    body["tools"] = [schemas.odd_tool(rng) for _ in range(rng.randint(1, 4))]
    body["tool_choice"] = rng.choice(
        ["auto", "required", {"type": "function", "function": {"name": "f"}}, "f", {}, None]
    )


def regex(rng: Random, body: Body) -> None:
    """An odd regular expression."""
    body["regex"] = schemas.text(rng, schemas.REGEXES, schemas.REGEX)
    body["max_tokens"] = rng.choice([4, 60])


def grammar(rng: Random, body: Body) -> None:
    """An odd grammar."""
    body["grammar"] = schemas.text(rng, schemas.GRAMMARS, schemas.GRAMMAR)
    body["max_tokens"] = rng.choice([4, 200])


def choice(rng: Random, body: Body) -> None:
    """Odd choices."""
    body["choice"] = [rng.choice([rng.choice(WORDS), odd(rng)]) for _ in range(rng.randint(0, 6))]


def variables(rng: Random, body: Body) -> None:
    """Odd variables of the chat template."""
    names = [
        "messages",
        "tools",
        "bos_token",
        "raise_exception",
        "strftime_now",
        "enable_thinking",
        "self",
        "",
        "range",
    ]
    body["chat_template_kwargs"] = {rng.choice(names): odd(rng) for _ in range(3)}


def extremes(rng: Random, body: Body) -> None:
    """Some parameters have extreme numbers."""
    for name in rng.sample(sorted(FIELDS), 6):
        body[name] = rng.choice([0, -1, 2**31 - 1, 2**31, 2**64, 1e308, 5e-324, -1e9])


def twice(rng: Random, body: Body) -> bytes:
    """A key occurs twice."""
    holder = json.dumps(body)
    name = rng.choice([*body, "n"])
    return f'{holder[:-1]}, "{name}": {json.dumps(odd(rng))}}}'.encode()


def lenient(rng: Random, body: Body) -> bytes:
    """Comments, commas and quotes where JSON has none."""
    text = json.dumps(body)
    for _ in range(rng.randint(1, 5)):
        at = rng.choice([i for i, c in enumerate(text) if c in "[]{},:"])
        text = text[:at] + rng.choice([",", "/* a */", "// b\n", "/*", "'", "\ufeff", ",]", "\0"]) + text[at:]
    return text.encode()


def bytes_changed(rng: Random, body: Body) -> bytes:
    """Some bytes are changed."""
    data = bytearray(json.dumps(body).encode())
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def cut(rng: Random, body: Body) -> bytes:
    """The body ends early."""
    data = json.dumps(body).encode()
    return data[: rng.randrange(len(data))]


def encoded(rng: Random, body: Body) -> bytes:
    """The body is in another encoding."""
    text = json.dumps(body, ensure_ascii=False)
    return text.encode(rng.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7", "latin-1"]), "replace")


def no_object(rng: Random, _: Body) -> bytes:
    """The body is not a JSON object."""
    return json.dumps(odd(rng)).encode() + rng.choice([b"", b" ", b"\n{}", b"\0"])


MUTATIONS: dict[str, Mutation] = {
    "nothing wrong": lambda rng, body: None,
    "a wrong value": wrong_value,
    "an odd field": odd_field,
    "something missing": missing,
    "unknown fields": unknown,
    "deep": deep,
    "a huge number": huge_number,
    "a schema": schema,
    "tools": tools,
    "a regex": regex,
    "a grammar": grammar,
    "choices": choice,
    "variables of the template": variables,
    "extremes": extremes,
    "a key twice": twice,
    "comments and commas": lenient,
    "changed bytes": bytes_changed,
    "cut": cut,
    "another encoding": encoded,
    "no object": no_object,
}


# Those that any route's body can have
ANY_BODY = {
    name: MUTATIONS[name]
    for name in (
        *("a wrong value", "something missing", "unknown fields", "deep", "a huge number", "a key twice"),
        *("comments and commas", "changed bytes", "cut", "another encoding", "no object"),
    )
}


def _odd_body(rng: Random) -> Request:
    name = rng.choice(list(MUTATIONS))
    path, body = valid(rng)
    raw = MUTATIONS[name](rng, body)
    return Request(name, post(path, raw if raw is not None else json.dumps(body).encode()))


def _odd_head(rng: Random, path: str, body: Body) -> Request:
    name = rng.choice(list(HEADS))
    data, strict = HEADS[name](rng, path, json.dumps(body).encode())
    return Request(f"head: {name}", data, strict=strict, bodiless=data.startswith(b"HEAD "))


# How it is sent


def sent(rng: Random, request: Request) -> Request:
    """The request as a client sends it: most at once, some in pieces or several in a row, and some clients leave."""
    how = rng.random()
    if how < 0.1:
        leaving = rng.choice(LEAVINGS)
        return replace(request, kind=f"{request.kind}, left {leaving}", leaving=leaving, strict=False)
    if how < 0.15 and request.strict and not request.bodiless and not request.kind.startswith("head"):
        several = rng.randint(2, 5)
        return replace(
            request, kind=f"{request.kind}, {several} in a row", data=request.data * several, replies=several
        )
    if how < 0.25:
        return replace(request, piece_size=max(len(request.data) // rng.randint(2, 9), 1))
    return request
