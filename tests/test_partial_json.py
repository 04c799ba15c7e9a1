"""JSON that may end in the middle: what is cut off is told from what is wrong, wherever the text ends."""

import json
import time

import pytest
from test_templates import TOOLS, read

from nitro.text.family import ModelFamily
from nitro.text.partial_json import read_object
from nitro.text.tool_formats import known
from nitro.text.tools import Malformed

TEXTS = [
    r'{"a": "x\"\\\/\b\f\n\r\t\u00e9\ud83d\ude34y", "\u0061b": ["\u00E9", {"c": "\\u12"}]}',
    '{"a": [1, -2, 0, 1.5, 2e5, -3.25E+10, 4e-1], "b": -0.5}',
    '{"a": [true, false, null, NaN, Infinity, -Infinity], "b": {"c": {}, "d": []}}',
    '{ "a" : "raw\nbreak\tand é🐎" ,\r\n\t"b" : [ 1 , { } ] }',
]
WRONG = [
    r'{"a": "\q"',
    r'{"a": "\u12x4"',
    r'{"a": "\uZZ',
    '{"a": tru ',
    '{"a": [1 2',
    '{"a": [1,]',
    '{"a": [01',
    '{"a": {"b" "c"',
    '{"a": {"b": 1,}',
    '{"a": "b" "c"',
    '{"a": 1.x',
    '{"a": 1]',
    '{"a": [1}',
    "{1",
    '["a"',
]


@pytest.mark.parametrize("text", TEXTS)
def test_whatever_the_end_it_is_only_cut(text: str) -> None:
    assert read_object(text).end == len(text)
    for end in range(len(text)):
        assert read_object(text[:end]).end is None, text[:end]


@pytest.mark.parametrize("text", TEXTS)
def test_members_are_as_they_are_written(text: str) -> None:
    members = read_object(text).members
    assert {key: json.loads(value, strict=False) for key, value in members.items()}.__repr__() == repr(
        json.loads(text, strict=False)
    )
    for end in range(len(text)):
        found = read_object(text[:end]).members
        assert all(members[key].startswith(value) for key, value in found.items())


@pytest.mark.parametrize("text", WRONG)
def test_wrong_is_not_cut(text: str) -> None:
    with pytest.raises(Malformed):
        read_object(text)


def test_a_closing_tag_in_an_argument_after_an_escape() -> None:
    """An escape at the end of a text was taken for a wrong one, and the call was lost."""
    call = r'<tool_call>{"name": "write_note", "arguments": {"text": "caf\u00e9</tool_call>!"}}</tool_call>'
    for pieces in ([call], list(call)):
        parser = ModelFamily(known()["hermes"], True, None).parser(TOOLS, False, False)
        assert read(parser, pieces) == ("", "", [["write_note", r'{"text": "caf\u00e9</tool_call>!"}']])


@pytest.mark.parametrize("piece", ["[", '{"a":', '"a\\n', "1", '{"a":1},', '["\\u00e9",', "\\", '"', " ", "{"])
def test_hostile_texts_take_linear_time(piece: str) -> None:
    start = time.process_time()
    try:
        read_object('{"a": ' + piece * (10**6 // len(piece)))
    except (Malformed, ValueError):
        pass
    assert time.process_time() - start < 2
