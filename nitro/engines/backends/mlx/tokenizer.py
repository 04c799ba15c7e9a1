"""The tokenizer of a runner that has none of its own, on the `tokenizers` library: text to ids, ids to bytes."""

import importlib
import json
import threading
from collections.abc import Callable

import msgspec
from tokenizers import Tokenizer

from nitro.engines.runner import TokenizerRecipe

SPACE = "▁"  # SentencePiece's


class FastTokenizer:
    """A token adds to the text what `to_bytes` makes of its text in the vocabulary; a `literal` one that text itself, a
    `hidden` one nothing. Any thread may call it."""

    def __init__(
        self, tokenizer: Tokenizer, to_bytes: Callable[[str], bytes], hidden: frozenset[int], literal: frozenset[int]
    ):
        self._tokenizer = tokenizer
        self._to_bytes = to_bytes
        self._hidden = hidden
        self._literal = literal
        self._added = frozenset(tokenizer.get_added_tokens_decoder())
        self._pieces: dict[int, bytes] = {}
        self._plain: Tokenizer | None = None  # a copy that knows no control tokens; made when it is needed
        self._making_plain = threading.Lock()

    def encode(self, text: str) -> list[int]:
        """Token ids. What cannot be UTF-8 becomes "?"."""
        return _ids(self._tokenizer, text)

    def encode_plain(self, text: str) -> list[int]:
        """The same, but that control tokens written in the text are text like any other."""
        with self._making_plain:
            if self._plain is None:  # the library has a switch, of a whole tokenizer
                self._plain = Tokenizer.from_str(self._tokenizer.to_str())
                self._plain.encode_special_tokens = True
        return _ids(self._plain, text)

    def token_bytes(self, token: int) -> bytes:
        """What the token adds to the text; computed once for each token."""
        if token not in self._pieces:
            self._pieces[token] = self._render(token)
        return self._pieces[token]

    @property
    def recipe(self) -> Callable[[], TokenizerRecipe] | None:
        """See Tokenizer. None where `to_bytes` is no function of a module."""
        return None if "<" in self._to_bytes.__qualname__ else self._recipe

    def _recipe(self) -> TokenizerRecipe:
        """It is megabytes, and takes tenths of a second."""
        to_bytes = f"{self._to_bytes.__module__}:{self._to_bytes.__qualname__}"
        kept = _Kept(self._tokenizer.to_str(), to_bytes, sorted(self._hidden), sorted(self._literal))
        return TokenizerRecipe(f"{__name__}:open_tokenizer", msgspec.msgpack.encode(kept))

    def texts(self) -> list[str]:
        """How the vocabulary writes each id; empty where it has none."""
        ids = self._tokenizer.get_vocab(with_added_tokens=True)
        texts = [""] * (max(ids.values(), default=-1) + 1)
        for text, id in ids.items():
            texts[id] = text
        return texts

    def is_special(self, token: int) -> bool:
        """Whether it was added to what the vocabulary learned, or is no token at all."""
        return token in self._added or self._tokenizer.id_to_token(token) is None

    def vocabulary_text(self, token: int) -> bytes:
        """Its bytes or, for a token without any, how the vocabulary writes it."""
        return self.token_bytes(token) or (self._tokenizer.id_to_token(token) or "").encode()

    def _render(self, token: int) -> bytes:
        text = self._tokenizer.id_to_token(token)
        if text is None or token in self._hidden:  # a model may have more rows than its vocabulary has tokens
            return b""
        return text.encode() if token in self._literal else self._to_bytes(text)


class _Kept(msgspec.Struct):
    """The state of a recipe. `to_bytes`: as "module:function"."""

    tokenizer: str
    to_bytes: str
    hidden: list[int]
    literal: list[int]


def open_tokenizer(state: bytes) -> FastTokenizer:
    """By its recipe."""
    kept = msgspec.msgpack.decode(state, type=_Kept)
    module, _, name = kept.to_bytes.partition(":")
    to_bytes = getattr(importlib.import_module(module), name)
    return FastTokenizer(Tokenizer.from_str(kept.tokenizer), to_bytes, frozenset(kept.hidden), frozenset(kept.literal))


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    clean = text.encode("utf-8", "replace").decode()  # a lone surrogate is no character
    ids: list[int] = tokenizer.encode(clean, add_special_tokens=False).ids
    return ids


def converter(tokenizer: Tokenizer) -> Callable[[str], bytes] | None:
    """How this tokenizer's vocabulary writes bytes; None where it is not known."""
    state = json.loads(tokenizer.to_str())
    kinds = {part["type"] for key in ("decoder", "pre_tokenizer") for part in _parts(state[key])}
    if "ByteLevel" in kinds:
        return byte_level
    if kinds & {"ByteFallback", "Metaspace"}:
        return sentence_piece
    return None


def byte_level(text: str) -> bytes:
    """A token of a byte-level vocabulary, which writes every byte as one printable character (GPT-2's scheme)."""
    return b"".join(BYTES[char] if char in BYTES else char.encode() for char in text)


def sentence_piece(text: str) -> bytes:
    """A token of a SentencePiece vocabulary: ▁ is a space, <0x0A> a byte."""
    if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        return bytes.fromhex(text[3:5])
    return text.replace(SPACE, " ").encode()


def _parts(stage: dict | None) -> list[dict]:
    """The stages of a decoder or pre-tokenizer, a sequence taken apart."""
    if stage is None:
        return []
    inner = stage.get("decoders") or stage.get("pretokenizers")
    return [part for each in inner for part in _parts(each)] if inner else [stage]


def _byte_characters() -> dict[str, bytes]:
    """GPT-2 writes printable Latin-1 bytes as themselves and the others, in order, as the characters from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): bytes([byte]) for byte in printable} | {chr(0x100 + i): bytes([b]) for i, b in enumerate(others)}


BYTES = _byte_characters()
