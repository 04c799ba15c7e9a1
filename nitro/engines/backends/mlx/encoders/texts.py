"""How an encoder's tokenizer.json makes tokens of texts, and what it puts around one text or two."""

from pathlib import Path

from msgspec import Struct
from tokenizers import Encoding, Tokenizer, normalizers

from nitro.engines.backends.mlx.tokenizer import FastTokenizer, converter
from nitro.engines.runner import LoadError

CONTINUES = "##"  # how WordPiece marks a token that goes on with a word


class Around(Struct, frozen=True):
    """Token ids that stand before, between and behind two texts; before and behind one text."""

    before: list[int]
    after: list[int]
    pair: tuple[list[int], list[int], list[int]]


def open_tokenizer(folder: Path, lowercase: bool = False) -> Tokenizer:
    """tokenizer.json, which neither cuts nor pads. `lowercase`: texts are written in small letters first. Raises
    LoadError."""
    file = folder / "tokenizer.json"
    try:
        words = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more special
        raise LoadError(f"{file} cannot be read: {error}") from None
    words.no_truncation()
    words.no_padding()
    if lowercase:
        own = [words.normalizer] if words.normalizer else []
        words.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    return words


def fast_tokenizer(words: Tokenizer) -> FastTokenizer:
    """It for the engine. What it knows of tokens' bytes is WordPiece's, where the vocabulary is of no other kind."""
    hidden = frozenset(id for id, token in words.get_added_tokens_decoder().items() if token.special)
    return FastTokenizer(words, converter(words) or word_piece, hidden, frozenset())


def word_piece(text: str) -> bytes:
    """What a token of a WordPiece vocabulary adds to a text; of spaces nothing is known."""
    return text.removeprefix(CONTINUES).encode() if text.startswith(CONTINUES) else f" {text}".encode()


def around(words: Tokenizer) -> Around:
    """What the tokenizer's own rules put around texts."""
    before, after = _gaps(words.encode("a"), 1)
    first, between, last = _gaps(words.encode("a", "a"), 2)
    return Around(before, after, (first, between, last))


def _gaps(encoding: Encoding, texts: int) -> list[list[int]]:
    """The special tokens before, between and behind the texts."""
    gaps: list[list[int]] = [[] for _ in range(texts + 1)]
    behind = 0  # texts that have begun
    for id, text in zip(encoding.ids, encoding.sequence_ids, strict=True):
        if text is None:
            gaps[behind].append(id)
        else:
            behind = text + 1
    return gaps
