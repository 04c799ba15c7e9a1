"""Bytes → text: equal however the bytes are cut, nothing complete waits, broken UTF-8 reads as Python reads it."""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nitro.text.detokenizer import Detokenizer

TEXTS = {
    "czech": "Příliš žluťoučký kůň",
    "chinese": "你好，世界！𠮷野家",
    "arabic": "السلام عليكم",
    "devanagari": "नमस्ते दुनिया",
    "hangul": "안녕",
    "emoji family": "a👨‍👩‍👧‍👦b",
    "skin tones": "👍🏽👩🏿‍🚀",
    "flags": "🇨🇿🇺🇳🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "beyond the BMP": "𝄞😀𐍈\U0010ffff",
    "combining marks": "e\u0301a\u0308",
    "right-to-left marks": "\u200fאב\u200e\u202e",
    "borders of the lengths": "\x00\x7f\x80\u07ff\u0800\uffff\U00010000",
    "around the surrogates": "\ud7ff\ue000",
    "byte order mark": "\ufeffa\ufeff",
    "the replacement character itself": "a\ufffdb",
    "line ends": "a\r\nb\u2028c\u0085",
}

BROKEN = {
    "lone continuation": b"a\x80b",
    "lone lead of two": b"\xc4a",
    "cut after one of three": b"\xe4a",
    "cut after two of three": b"\xe4\xbda",
    "cut after one of four": b"\xf0a",
    "cut after two of four": b"\xf0\x9fa",
    "cut after three of four": b"\xf0\x9f\x98a",
    "cut and then a whole character": b"\xf0\x9f\x98\xc5\x99",
    "cut at the end": b"a\xf0\x9f\x98",
    "cut twice": b"\xf0\x9f\x98\xf0\x9f\x98",
    "never valid": b"\xff\xfe\xc0\xc1\xf5",
    "overlong slash": b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf",
    "encoded surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80\xf7\xbf\xbf\xbf",
    "latin-1": "Příliš café".encode("latin-1", "replace"),
    "utf-16": "ahoj ř".encode("utf-16"),
}

ALL = {name: text.encode() for name, text in TEXTS.items()} | BROKEN

quick = settings(deadline=None, database=None)


def splits(data: bytes) -> Iterator[list[bytes]]:
    """`data` in one, two and three pieces in every way, and byte by byte."""
    for count in range(3):
        for cuts in combinations(range(1, len(data)), count):
            yield [data[a:b] for a, b in pairwise((0, *cuts, len(data)))]
    yield [data[i : i + 1] for i in range(len(data))]


def detokenized(pieces: Sequence[bytes]) -> str:
    detokenizer = Detokenizer()
    return "".join(map(detokenizer.feed, pieces)) + detokenizer.flush()


def test_splits_are_all_there_are() -> None:
    assert list(splits(b"abc")) == [[b"abc"], [b"a", b"bc"], [b"ab", b"c"], [b"a", b"b", b"c"], [b"a", b"b", b"c"]]


@pytest.mark.parametrize("name", ALL)
def test_every_split_gives_what_the_whole_gives(name: str) -> None:
    whole = ALL[name].decode("utf-8", "replace")
    for pieces in splits(ALL[name]):
        assert detokenized(pieces) == whole, pieces


@pytest.mark.parametrize("name", TEXTS)
def test_a_character_comes_with_its_last_byte(name: str) -> None:
    """Not one byte later, and no half of it earlier."""
    detokenizer = Detokenizer()
    for character in TEXTS[name]:
        *first, last = character.encode()
        assert [detokenizer.feed(bytes([byte])) for byte in first] == [""] * len(first)
        assert detokenizer.feed(bytes([last])) == character
    assert detokenizer.flush() == ""


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_complete_does_not_wait(text: str) -> None:
    data = text.encode()
    for pieces in splits(data):
        detokenizer, given, got = Detokenizer(), b"", ""
        for piece in pieces:
            given += piece
            got += detokenizer.feed(piece)
            assert got == given.decode("utf-8", "ignore"), pieces


def test_every_short_sequence_of_telling_bytes() -> None:
    """Leads and continuations on both sides of every border in the table of well-formed sequences."""
    telling = [bytes([byte]) for byte in b"a\x80\x8f\x90\x9f\xa0\xbf\xc1\xc2\xe0\xe1\xed\xef\xf0\xf1\xf4\xf5"]
    for length in range(1, 4):
        for pieces in product(telling, repeat=length):
            assert detokenized(pieces) == b"".join(pieces).decode("utf-8", "replace"), pieces


@quick
@given(st.lists(st.one_of(st.binary(max_size=6), st.text(max_size=3).map(str.encode)), max_size=12))
def test_any_bytes_in_any_pieces(pieces: list[bytes]) -> None:
    assert detokenized(pieces) == b"".join(pieces).decode("utf-8", "replace")


@quick
@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers(0, 200)))
def test_any_text_cut_anywhere(text: str, cuts: list[int]) -> None:
    data = text.encode()
    pieces = [data[a:b] for a, b in pairwise([0, *sorted(cuts), max([len(data), *cuts])])]
    assert detokenized(pieces) == text


@pytest.mark.parametrize("half", ["ř".encode()[:1], "世".encode()[:2], "😀".encode()[:3]])
def test_half_a_character_waits_and_becomes_one_replacement_character(half: bytes) -> None:
    detokenizer = Detokenizer()
    assert detokenizer.feed(b"a" + half) == "a"
    assert detokenizer.feed(b"") == ""
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.flush() == ""


def test_no_bytes_no_text() -> None:
    assert detokenized([]) == detokenized([b"", b""]) == ""


def test_two_detokenizers_share_nothing() -> None:
    one, other = Detokenizer(), Detokenizer()
    one.feed(b"\xf0\x9f")
    assert other.feed(b"a") == "a"
    assert one.feed(b"\x98\x80") == "😀"
