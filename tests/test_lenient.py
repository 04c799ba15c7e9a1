"""From a request's bytes to its struct: what is repaired, what is refused and how it is named, what has no effect."""

import json
import re
import time
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nitro.api import json_body
from nitro.api.openai.names.tables import CHAT
from nitro.api.openai.requests import ChatRequest
from nitro.errors import ApiError

quick = settings(deadline=None, database=None)

MESSAGES = '"messages": [{"role": "user", "content": "hi"}]'


class Box(msgspec.Struct):
    """A request whose one field takes anything."""

    value: Any


def decoded(body: str | bytes) -> ChatRequest:
    return json_body.decode(body.encode() if isinstance(body, str) else body, ChatRequest)[0]


def ignored(body: str) -> list[str]:
    return json_body.decode(body.encode(), ChatRequest)[1]


def value(text: str | bytes) -> Any:
    """What `text` means, in the place of a value."""
    text = text.encode() if isinstance(text, str) else text
    return json_body.decode(b'{"value": ' + text + b"}", Box)[0].value


def refusal(body: str | bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        decoded(body)
    assert caught.value.status == 400 and caught.value.type == "invalid_request_error"
    assert str(caught.value).endswith(".")
    return caught.value


def request_with(**fields: Any) -> str:
    return json.dumps({"messages": [{"role": "user", "content": "hi"}], **fields})


# What strict JSON says


def test_strict_json() -> None:
    request = decoded(request_with(model="m", temperature=1, max_tokens=100.0, stop=["a"], stream=True))
    assert (request.model, request.temperature, request.max_tokens, request.stop) == ("m", 1.0, 100, ["a"])
    assert request.stream is True and request.messages[0].content == "hi"


def test_the_last_of_equal_keys_wins() -> None:
    assert decoded(f'{{{MESSAGES}, "n": 1, "n": 2}}').n == 2
    assert decoded(f'{{{MESSAGES}, "n": 1, "n": 2,}}').n == 2
    assert ignored(f'{{{MESSAGES}, "audio": {{}}, "audio": null}}') == []
    assert ignored(f'{{{MESSAGES}, "x": 1, "x": 2}}') == ["x"]
    assert refusal(f'{{{MESSAGES}, "audio": null, "audio": {{}}}}').param == "audio"


def test_keys_may_be_written_with_escapes() -> None:
    assert decoded(f'{{{MESSAGES}, "\\u006e": 3}}').n == 3
    assert refusal(f'{{{MESSAGES}, "\\u0061udio": [1]}}').param == "audio"


@pytest.mark.parametrize("field", [f.name for f in msgspec.structs.fields(ChatRequest) if f.name != "messages"])
def test_every_optional_field_takes_null(field: str) -> None:
    assert decoded(request_with(**{field: None})) == decoded(request_with())
    assert ignored(request_with(**{field: None})) == []


# The second try


@pytest.mark.parametrize(
    "text, meant",
    [
        ("[1, 2,]", [1, 2]),
        ("[1, 2 , \n\t ]", [1, 2]),
        ('{"a": 1,}', {"a": 1}),
        ('{"a": [1, {"b": 2,},],}', {"a": [1, {"b": 2}]}),
        ("// note\n1", 1),
        ("1 // note", 1),
        ("/* note */ 1 /* note */", 1),
        ("/**/1/***/", 1),
        ("/* * / ** // */1", 1),
        ("/* two\nlines */ 1", 1),
        ('[1, // , ] } "\n 2]', [1, 2]),
        ('[1, /* , ] } " */ 2]', [1, 2]),
        ("[1, // last\n]", [1]),
        ("[1, /* last */ ]", [1]),
        ("[1 /* last */, ]", [1]),
        ("[1, /* a */ // b\n /* c */ ]", [1]),
        ('["//", 1,]', ["//", 1]),
        ('["http://x/*y*/", 1,]', ["http://x/*y*/", 1]),
        ('["/*", 1, "*/",]', ["/*", 1, "*/"]),
        ('[",]", ",}", ", ]",]', [",]", ",}", ", ]"]),
        (r'["\",]", "\\", "\\\",]", "\\\\",]', ['",]', "\\", '\\",]', "\\\\"]),
        (r'["\"//", "a\\",/* " */]', ['"//', "a\\"]),
        ('{"a//b": 1, "/*": 2, ",}": 3,}', {"a//b": 1, "/*": 2, ",}": 3}),
        (r'["\u0022,]", "\u005c",]', ['",]', "\\"]),
        ('["", "",]', ["", ""]),
        ('["ř世😀",] // ř世😀', ["ř世😀"]),
        (r'["\ud83d\ude00",]', ["😀"]),
        ('["NaN", "Infinity", "// x",]', ["NaN", "Infinity", "// x"]),
        ("[1.5, -0.0, 1e3, true, false, null,]", [1.5, 0.0, 1000.0, True, False, None]),
        (f"[{2**64 + 3},]", [2**64 + 3]),
    ],
)
def test_trailing_commas_and_comments(text: str, meant: Any) -> None:
    assert value(text + "\n") == meant


@pytest.mark.parametrize("before", ["// note\n", "/* note */", "\n\n\t // a\n // b\r\n"])
@pytest.mark.parametrize("after", ["// note", "/* note */", "// note\n", ""])
def test_comments_around_the_whole(before: str, after: str) -> None:
    assert decoded(f"{before}{{{MESSAGES}, }}{after}").messages[0].content == "hi"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e9, 1e9) | st.text('ab"\\/*,]}\n ř😀'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\/*,}', max_size=4), inner, max_size=4),
    max_leaves=12,
)
noises = st.sampled_from(["", "", "", " ", "\n", "/**/", '/* ", ] } */', "// '\",]}\n", "/* // */", "// */ /*\n"])


def noisy(data: st.DataObject, item: Any) -> str:
    """`item` as JSON with comments between its tokens and commas behind its last members."""

    def noise() -> str:
        return data.draw(noises)

    def members(parts: list[str]) -> str:
        comma = data.draw(st.sampled_from(["", ","])) if parts else ""
        return noise() + ",".join(f"{noise()}{part}{noise()}" for part in parts) + comma + noise()

    if isinstance(item, list):
        return f"[{members([noisy(data, part) for part in item])}]"
    if isinstance(item, dict):
        return f"{{{members([f'{json.dumps(k)}{noise()}:{noise()}{noisy(data, v)}' for k, v in item.items()])}}}"
    return json.dumps(item, ensure_ascii=data.draw(st.booleans()))


@settings(quick, max_examples=200)
@given(st.data(), json_values)
def test_noise_changes_no_meaning(data: st.DataObject, item: Any) -> None:
    assert value(noisy(data, item)) == item


@pytest.mark.parametrize(
    "text, meant",
    [
        (r'"a\ud83d"', "a\ufffd"),
        (r'"\ud83da"', "\ufffda"),
        (r'"\ude00a"', "\ufffda"),
        (r'"\ude00\ud83d"', "\ufffd\ufffd"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        (r'"\ud83d\ude00\ude00"', "😀\ufffd"),
        (r'"\ud83d😀"', "\ufffd😀"),
        (r'"ř\ud83dř\ud83d\ude00"', "ř\ufffdř😀"),
        (r'{"a\ud83d": ["\udfff"]}', {"a\ufffd": ["\ufffd"]}),
        (r'["\\ud83d", "\ud83d"]', ["\\ud83d", "\ufffd"]),
        (r'["\uD83D", "\uDBFF,]",]', ["\ufffd", "\ufffd,]"]),
    ],
)
def test_half_a_character_becomes_the_replacement_character(text: str, meant: Any) -> None:
    """A JavaScript string cut in the middle of a surrogate pair."""
    assert value(text) == meant


@settings(quick, max_examples=200)
@given(st.text(st.sampled_from('a\ud83d\ude00\udbff\udc00😀ř"\\')))
def test_any_halves(text: str) -> None:
    whole = re.sub(
        "[\ud800-\udbff][\udc00-\udfff]", lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text
    )
    assert value(json.dumps(text)) == re.sub("[\ud800-\udfff]", "\ufffd", whole)


# What is no JSON

NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\t",
    "only a comment": b"// nothing",
    "only commas": b",",
    "a word": b"hello",
    "form data": b"messages=hi&n=1",
    "single quotes": b"{'messages': []}",
    "keys without quotes": b"{messages: []}",
    "cut in a string": b'{"messages": [{"role": "us',
    "cut behind an escape": b'{"messages": "a\\',
    "cut in a number": b'{"n": -',
    "cut in an object": b'{"messages": [{"role": "user"}',
    "cut in a comment": b'{"n": 1 /* ',
    "nothing but the beginning of a comment": b"/",
    "a comment that never ends": b'{"messages": []} /* ',
    "two commas": b'{"n": 1,,}',
    "two commas in a list": b'{"stop": ["a",,]}',
    "comma inside": b'{"stop": ["a",,"b"]}',
    "comma for a colon": b'{"n", 1}',
    "missing comma": b'{"n": 1 "m": 2}',
    "comment amid a number": b'{"n": 1/**/2}',
    "comment amid a word": b'{"stream": tr/**/ue}',
    "NaN": b'{"temperature": NaN}',
    "Infinity": b'{"temperature": Infinity,}',
    "-Infinity": b'{"temperature": -Infinity}',
    "NaN in an unknown field": b'{"x": [NaN],}',
    "a number that starts with 0": b'{"n": 01,}',
    "hexadecimal": b'{"n": 0x10}',
    "a raw line end in a string": b'{"stop": "a\nb",}',
    "a raw NUL": b"\0",
    "an unknown escape": rb'{"stop": "\x41",}',
    "half an escape": rb'{"stop": "\u12",}',
    "not UTF-8": b'{"stop": "\xff"}',
    "not UTF-8, and a trailing comma": b'{"stop": "\xff",}',
    "not UTF-8 in a key": b'{"\xff": 1}',
    "not UTF-8 in an unknown field": b'{"x": "\xc3("}',
    "latin-1": '{"stop": "é"}'.encode("latin-1"),
    "encoded surrogates": b'{"stop": "\xed\xa0\xbd\xed\xb8\x80"}',
    "UTF-16": request_with().encode("utf-16"),
    "UTF-32": request_with().encode("utf-32"),
}


@pytest.mark.parametrize("name", NO_JSON)
def test_what_is_no_json_is_refused_without_a_param(name: str) -> None:
    body = NO_JSON[name]
    if body.startswith(b"{"):
        body = b'{"messages": [{"role": "user"}], ' + body[1:]
    error = refusal(body)
    assert (error.param, error.code) == (None, None)
    assert str(error).startswith("The body is not valid JSON: ")


@pytest.mark.parametrize(
    "body", [b"[]", b"[1]", b"[1,]", b"1", b"1.5", b'"a"', b'"a" // b', b"null", b"true", b"// c\n2"]
)
def test_what_is_no_object_is_refused_without_a_param(body: bytes) -> None:
    error = refusal(body)
    assert error.param is None
    assert "JSON object" in str(error)


def test_the_first_complaint_is_the_one_that_is_told() -> None:
    """Not that of the repaired text, whose positions are others."""
    assert "byte 17" in str(refusal('{"n": 1, "m": 2, x}'))
    assert "byte 32" in str(refusal('{"n": 1     , "temperature":    NaN}'))


@pytest.mark.parametrize("levels", [2_000, 100_000])
@pytest.mark.parametrize(
    "before, after",
    [
        ('"x": ', ""),
        ('"x": ', ","),
        ('"tools": [{"function": ', "}]"),
        ('"response_format": {"type": ', "}"),
        ('"messages": [{"role": "user", "content": "a", "x": ', "}]"),
        ('"messages": [{"role": "user", "tool_calls": [{"function": ', "}]}]"),
    ],
)
@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
def test_endless_nesting_is_refused(levels: int, before: str, after: str, brackets: str) -> None:
    opening, closing = brackets[:-1], brackets[-1]
    deep = opening * levels + "1" + closing * levels
    assert refusal(f"{{{MESSAGES}, {before}{deep}{after}}}").param is None


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + ",]" * 100_000, "//" * 100_000])
def test_endless_nesting_without_an_end_is_refused(body: str) -> None:
    assert refusal(body).param is None


def test_some_nesting_is_fine() -> None:
    deep = "[" * 100 + "]" * 100
    assert ignored(f'{{{MESSAGES}, "x": {deep}}}') == ignored(f'{{{MESSAGES}, "x": {deep},}}') == ["x"]


# Wrong types, and their names


@pytest.mark.parametrize(
    "body, param",
    [
        ("{}", "messages"),
        ("{ /* nothing */ }", "messages"),
        ('{"model": "m"}', "messages"),
        ('{"messages": [{}]}', "messages[0].role"),
        ('{"messages": [{"role": "user"}, {"content": "a"}]}', "messages[1].role"),
        ('{"messages": [{"role": "user"}, {"content": "a"},]}', "messages[1].role"),
    ],
)
def test_a_missing_field_is_named(body: str, param: str) -> None:
    error = refusal(body)
    assert (error.param, error.code) == (param, "missing_required_parameter")
    assert f"'{param}'" in str(error)


@pytest.mark.parametrize(
    "body, param",
    [
        ('{"messages": null}', "messages"),
        ('{"messages": "hi"}', "messages"),
        ('{"messages": {}}', "messages"),
        ('{"messages": ["hi"]}', "messages[0]"),
        ('{"messages": [null]}', "messages[0]"),
        ('{"messages": [{"role": null}]}', "messages[0].role"),
        ('{"messages": [{"role": 1}]}', "messages[0].role"),
        ('{"messages": [{"role": ["user"]}]}', "messages[0].role"),
        ('{"messages": [{"role": "user"}, {"role": "user", "content": 5}]}', "messages[1].content"),
        ('{"messages": [{"role": "user", "content": true}]}', "messages[0].content"),
        ('{"messages": [{"role": "user", "content": ["a", 5]}]}', "messages[0].content[1]"),
        ('{"messages": [{"role": "user", "content": [["a"]]}]}', "messages[0].content[0]"),
        ('{"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}', "messages[0].content[0].text"),
        ('{"messages": [{"role": "user", "content": [{"type": 5}]}]}', "messages[0].content[0].type"),
        ('{"messages": [{"role": "user", "content": {"text": []}}]}', "messages[0].content.text"),
        ('{"messages": [{"role": "user", "name": 5}]}', "messages[0].name"),
        ('{"messages": [{"role": "tool", "tool_call_id": 5}]}', "messages[0].tool_call_id"),
        ('{"messages": [{"role": "assistant", "tool_calls": "x"}]}', "messages[0].tool_calls"),
        ('{"messages": [{"role": "assistant", "tool_calls": {}}]}', "messages[0].tool_calls"),
        ('{"messages": [{"role": "assistant", "tool_calls": ["x"]}]}', "messages[0].tool_calls[0]"),
        (request_with(model=5), "model"),
        (request_with(model=["m"]), "model"),
        (request_with(n="two"), "n"),
        (request_with(n=True), "n"),
        (request_with(n=1.5), "n"),
        (request_with(n=[1]), "n"),
        (request_with(n={}), "n"),
        (request_with(n=""), "n"),
        (request_with(max_tokens=819.2), "max_tokens"),
        (request_with(temperature="hot"), "temperature"),
        (request_with(temperature=True), "temperature"),
        (request_with(top_p=[0.5]), "top_p"),
        (request_with(stream="yes"), "stream"),
        (request_with(stream=2), "stream"),
        (request_with(stream=[]), "stream"),
        (request_with(stream_options=True), "stream_options"),
        (request_with(stream_options=[]), "stream_options"),
        (request_with(stream_options={"include_usage": "maybe"}), "stream_options.include_usage"),
        (request_with(stop=5), "stop"),
        (request_with(stop={"a": 1}), "stop"),
        (request_with(stop=["a", 5]), "stop[1]"),
        (request_with(stop=["a", None]), "stop[1]"),
        (request_with(logit_bias=[5]), "logit_bias[0]"),
        (request_with(logit_bias="5"), "logit_bias"),
        (request_with(ignore_eos="never"), "ignore_eos"),
        (f'{{{MESSAGES}, "seed": {"9" * 5000}}}', "seed"),
        (f'{{{MESSAGES}, "seed": 1e400}}', "seed"),
        (f'{{{MESSAGES}, "temperature": 1e999}}', "temperature"),
        (f'{{{MESSAGES}, "n": "x", }}', "n"),
    ],
)
def test_a_wrong_type_is_named(body: str, param: str) -> None:
    error = refusal(body)
    assert (error.param, error.code) == (param, "invalid_type")
    assert f"'{param}'" in str(error)


def test_a_wrong_bias_is_named() -> None:
    error = refusal(request_with(logit_bias={"5": "x"}))
    assert error.code == "invalid_type"
    assert error.param is not None and error.param.startswith("logit_bias")


@pytest.mark.parametrize("number", ["9" * 400, "9" * 5000, "1e400", "-1e400"])
@pytest.mark.parametrize("name", ["x", "audio"])
def test_a_number_out_of_range_in_an_unread_field_is_no_fault_of_the_whole_body(name: str, number: str) -> None:
    """It asks for something: an unknown field is ignored all the same, an unsupported one is refused by name."""
    body = f'{{{MESSAGES}, "{name}": {number}}}'
    if name == "audio":
        error = refusal(body)
        assert (error.param, error.code) == (name, "unsupported_parameter")
    else:
        assert ignored(body) == [name]


@pytest.mark.parametrize("digits", [20, 300, 4000])
def test_huge_seeds_pass(digits: int) -> None:
    assert decoded(f'{{{MESSAGES}, "seed": {"9" * digits}}}').seed == 10**digits - 1
    assert decoded(f'{{{MESSAGES}, "seed": -{"9" * digits},}}').seed == 1 - 10**digits


@pytest.mark.parametrize(
    "field, given, meant",
    [
        ("max_tokens", 100.0, 100),
        ("max_tokens", "100", 100),
        ("seed", 2**64 + 3, 2**64 + 3),
        ("seed", str(2**64 + 3), 2**64 + 3),
        ("temperature", "0.5", 0.5),
        ("temperature", 1, 1.0),
        ("stream", "true", True),
        ("stream", "False", False),
        ("stream", 1, True),
        ("stream", 0, False),
        ("stop", "null", "null"),
        ("stop", "5", "5"),
        ("model", "null", "null"),
        ("model", "", ""),
    ],
)
def test_numbers_and_truth_may_come_as_strings(field: str, given: Any, meant: Any) -> None:
    got = getattr(decoded(request_with(**{field: given})), field)
    assert got == meant and type(got) is type(meant)


@pytest.mark.parametrize("text", ["null", "true", "5", "[]", "{}", ""])
def test_a_content_stays_the_string_it_is(text: str) -> None:
    assert decoded(json.dumps({"messages": [{"role": "user", "content": text}]})).messages[0].content == text


# Names without effect. What becomes of known ones: test_names.py


FIELDS = {field.name for field in msgspec.structs.fields(ChatRequest)}


def test_a_refusal_holds_in_the_second_try_too() -> None:
    assert refusal(f'{{{MESSAGES}, "audio": [1,], }}').param == "audio"
    assert ignored(f'{{{MESSAGES}, "bad_words": [/* none */], "user": "a", "nowhere": "b", }}') == ["nowhere"]


@pytest.mark.parametrize("name", ["nowhere", "Temperature", "messages ", "temperature.", "n_Predict"])
@pytest.mark.parametrize("given", [1, 0, True, False, "a", "none", "", {}, {"a": [1]}, [], [0], 1.5])
def test_unknown_parameters_are_listed(name: str, given: Any) -> None:
    """Whatever their value: nobody knows what it would mean."""
    assert [unquote(listed) for listed in ignored(request_with(**{name: given}))] == [name]


def test_null_is_not_listed() -> None:
    assert ignored(request_with(store=None, user=None, nowhere=None)) == []


def test_what_is_listed_comes_in_the_order_of_the_request() -> None:
    assert ignored(request_with(c="a", b=1, temperature=1, store=True, tools=[], a=1)) == ["c", "b", "a"]


@settings(quick, max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda name: name not in FIELDS | {*CHAT}))
def test_a_listed_name_is_safe_in_a_header(name: str) -> None:
    (listed,) = ignored(request_with(**{name: 1}))
    assert re.fullmatch(r"[A-Za-z0-9._~%-]*", listed)
    assert unquote(listed) == name


@pytest.mark.parametrize("name", ["a\r\nx-evil: 1", "a, b", "a;b", "č", "\0", "%0d%0a", "😀", "a\u0085b"])
def test_a_name_cannot_break_out_of_its_header(name: str) -> None:
    (listed,) = ignored(request_with(**{name: 1}))
    assert re.fullmatch(r"[A-Za-z0-9._~%-]+", listed) and unquote(listed) == name


# Time

MEGA = 1_000_000  # a larger body gets no second try
LARGE: dict[str, bytes] = {
    "one string": b'"' + b"a" * MEGA + b'"',
    "one string, second try": b'["' + b"a" * MEGA + b'",]',
    "half a character": b'"\\ud83d' + b"a" * MEGA + b'"',
    "commas in strings": b'["' + b",]" * (MEGA // 2) + b'",]',
    "escapes": b'["' + b'\\"' * (MEGA // 2) + b'",]',
    "many strings": b"[" + b'"a",' * (MEGA // 4) + b"]",
    "blanks": b"[1," + b" " * MEGA + b"]",
    "blanks and commas": b"[" + (b"1," + b" " * 998) * (MEGA // 1000) + b"]",
    "comments": b"[1," + b"/**/" * (MEGA // 4) + b"]",
    "line comments": b"[1," + b"//\n" * (MEGA // 3) + b"]",
    "one comment": b"[1, /*" + b"*" * MEGA + b"/]",
}
BROKEN: dict[str, bytes] = {
    "commas": b"[" + b"," * MEGA + b"]",
    "slashes and stars": b"[" + b"/ * " * (MEGA // 4) + b"]",
    "a string that never ends": b'"' + b"a" * MEGA,
    "backslashes": b'"' + b"\\" * (MEGA + 1),
    "stars": b"/*" + b"*" * MEGA,
}


@pytest.mark.parametrize("name", LARGE)
def test_large_bodies_are_read_in_time(name: str) -> None:
    began = time.process_time()
    value(LARGE[name])
    assert time.process_time() - began < 10


@pytest.mark.parametrize("name", BROKEN)
def test_large_broken_bodies_are_refused_in_time(name: str) -> None:
    began = time.process_time()
    refusal(b'{"x": ' + BROKEN[name])
    assert time.process_time() - began < 10


@pytest.mark.parametrize("unit", [b'\\"', b'"', b"/*a", b'"/*', b"/", b",", b", ", b"[", b'\\"//'])
@pytest.mark.parametrize("start", [b'{"x": "', b"{"])
def test_time_does_not_grow_with_the_square_of_a_cut_body(start: bytes, unit: bytes) -> None:
    """Cut within a string or a comment: its rest may not be searched again from every place in it."""
    began = time.process_time()
    refusal(start + unit * 20_000)
    assert time.process_time() - began < 0.5
