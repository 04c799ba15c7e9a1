"""A GGUF's tokenizer, built from its metadata: byte-level BPE or SentencePiece's. It gives the same ids as llama.cpp.

Sources: the splitting rules of each pre-tokenizer and the names of end-of-generation tokens come from llama.cpp
(src/llama-vocab.cpp, llm_tokenizer_bpe and llama_vocab::impl::load, as in llama-cpp-python 0.3.36).
"""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

from nitro.gguf.header import Header, UnreadableGGUF

# tokenizer.ggml.token_type (gguf.TokenType)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
SPACE = "▁"  # SentencePiece's


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """How text is split before merges apply: by each expression in turn, into matches and what lies between them."""

    expressions: tuple[str, ...]
    ignore_merges: bool = False  # a piece that is a token is not merged


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS, _SPACES = r" ?[^\s\p{L}\p{N}]+", r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"((?=[\p{L}])([^a-z]))", r"((?=[\p{L}])([^A-Z]))"  # any letter except a small or a capital ASCII one
_CASED_WORDS = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_CONTRACTED_WORDS = "|".join(f"{word}{_CONTRACTIONS}?" for word in _CASED_WORDS.split("|"))

_gpt2 = PreTokenizer((_GPT2,))
_digits = PreTokenizer((r"\p{N}", _GPT2))
_llama3 = PreTokenizer((rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_SIGNS}[\r\n]*|{_SPACES}",), ignore_merges=True)
_dbrx = PreTokenizer(_llama3.expressions)
_gpt4o = PreTokenizer((rf"{_CONTRACTED_WORDS}|\p{{N}}{{1,3}}|{_SIGNS}[\r\n/]*|{_SPACES}",))
_qwen2 = PreTokenizer((rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_SIGNS}[\r\n]*|{_SPACES}",))
_marked = "[\\p{L}\\p{M}]"  # letters and combining marks
_qwen35 = PreTokenizer(
    (rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?{_marked}+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}",)
)
_deepseek3 = PreTokenizer(
    (
        r"\p{N}{1,3}",
        "[一-龥\u3040-ゟ゠-ヿ]+",
        r"[!-/:-~&&[^A-Za-z]][A-Za-z]+"
        rf"|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?{_marked}+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
    )
)
_deepseek_coder = PreTokenizer(
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[[一-龥\u0800-一가-\ud7ff]&&[^\\s]]+", r"\p{N}")
)
_falcon = PreTokenizer((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"))
_tekken = PreTokenizer((rf"{_CASED_WORDS}|\p{{N}}|{_SIGNS}[\r\n/]*|{_SPACES}",), ignore_merges=True)

# by tokenizer.ggml.pre
PRE_TOKENIZERS = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "granite-docling", "exaone4"), _gpt2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), _digits),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"), _llama3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan"), _qwen2),
    **dict.fromkeys(("dbrx", "smaug-bpe"), _dbrx),
    **dict.fromkeys(("gpt-4o", "llama4"), _gpt4o),
    "tekken": _tekken,
    "qwen35": _qwen35,
    "deepseek-v3": _deepseek3,
    "deepseek-coder": _deepseek_coder,
    "falcon": _falcon,
}

# Tokens that end a generation, whatever the metadata says about them.
ENDS = {
    *("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>", "<end_of_turn>", "<eos>", "</s>"),
    *("<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<turn|>", "<|tool_response>", "[e~["),
    *("<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<end_of_utterance>", "<｜end▁of▁sentence｜>"),
    *("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|file_sep|>"),
    *("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
}
END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id", "fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id")


def build(header: Header) -> Tokenizer:
    """The tokenizer. Raises UnreadableGGUF where its kind is not supported."""
    kind = header.need("tokenizer.ggml.model")
    if kind not in KINDS:
        raise UnreadableGGUF(
            f"{header.path} has a tokenizer of the kind {kind!r}; supported are {', '.join(map(repr, KINDS))}."
        )
    tokenizer = KINDS[kind](header)
    typed = _typed(header)
    for special, types in ((True, (UNKNOWN, CONTROL)), (False, (USER_DEFINED,))):
        texts = [text for text, type in typed if type in types and text]
        tokenizer.add_tokens([AddedToken(text, normalized=False, special=special) for text in texts])
    return tokenizer


def is_sentence_piece(header: Header) -> bool:
    """Are the tokens SentencePiece's, with ▁ for a space? Raises UnreadableGGUF where the metadata does not say it."""
    return header.need("tokenizer.ggml.model") in (SENTENCE_PIECE, GEMMA4)


def adds_bos(header: Header, default: bool = False) -> bool:
    """Does a prompt begin with BOS? Gemma 4's always does, whatever the file says (llama_vocab::impl::load).
    `default`: where the file does not say."""
    if header.get("tokenizer.ggml.model") == GEMMA4:
        return True
    return bool(header.get("tokenizer.ggml.add_bos_token", default))


def _byte_level(header: Header) -> Tokenizer:
    name = header.get("tokenizer.ggml.pre", "default")
    if name not in PRE_TOKENIZERS:
        raise UnreadableGGUF(
            f"{header.path} has the pre-tokenizer {name!r}; supported are {', '.join(sorted(PRE_TOKENIZERS))}."
        )
    rules = PRE_TOKENIZERS[name]
    vocabulary = {text: id for id, text in enumerate(header.need("tokenizer.ggml.tokens"))}
    tokenizer = Tokenizer(BPE(vocabulary, _merges(header, vocabulary), ignore_merges=rules.ignore_merges))
    steps: list[Any] = [Split(Regex(expression), "isolated") for expression in rules.expressions]
    steps.append(ByteLevel(add_prefix_space=False, use_regex=False))
    missing = set(ByteLevel.alphabet()) - vocabulary.keys()
    if missing:
        # a byte without a token is lost, and merges must not reach across it
        steps.append(Split(Regex(f"[{re.escape(''.join(sorted(missing)))}]"), "removed"))
    tokenizer.pre_tokenizer = Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_piece(header: Header) -> Tokenizer:
    """Text is never split. Of all neighbours that form a token, those with the best score are merged first, the
    leftmost of equal ones (llm_tokenizer_spm_session). What is no token in the end becomes bytes."""
    tokens = header.need("tokenizer.ggml.tokens")
    scores = header.get("tokenizer.ggml.scores", [0.0] * len(tokens))
    vocabulary = {text: id for id, text in enumerate(tokens)}
    ranked = sorted((-scores[id], text) for text, id in vocabulary.items())
    merges = [
        (text[:cut], text[cut:])
        for _, text in ranked
        for cut in range(1, len(text))
        if text[:cut] in vocabulary and text[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(BPE(vocabulary, merges, byte_fallback=True, fuse_unk=False, unk_token=_unknown(header)))
    spaces: list[Any] = [normalizers.Replace(" ", SPACE)]
    back: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if header.get("tokenizer.ggml.add_space_prefix", True):
        spaces.insert(0, normalizers.Prepend(SPACE))
        back.append(decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = normalizers.Sequence(spaces)
    tokenizer.decoder = decoders.Sequence(back)
    return tokenizer


def _gemma4(header: Header) -> Tokenizer:
    """SentencePiece's tokens, joined by merges in lines and in what ends them. What is no token in the end becomes
    bytes."""
    vocabulary = {text: id for id, text in enumerate(header.need("tokenizer.ggml.tokens"))}
    merges = _merges(header, vocabulary)
    tokenizer = Tokenizer(BPE(vocabulary, merges, byte_fallback=True, fuse_unk=False, unk_token=_unknown(header)))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = Split(Regex(r"[^\n]+|\n+"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _unknown(header: Header) -> str | None:
    return text(header, "unknown") or None


SENTENCE_PIECE, GEMMA4 = "llama", "gemma4"
KINDS = {"gpt2": _byte_level, SENTENCE_PIECE: _sentence_piece, GEMMA4: _gemma4}  # by tokenizer.ggml.model


def ends(header: Header) -> frozenset[int]:
    """The ids of the end-of-generation tokens."""
    by_key = {header.get(f"tokenizer.ggml.{key}") for key in END_KEYS}
    return ends_among(enumerate(header.need("tokenizer.ggml.tokens")), by_key)


def ends_among(tokens: Iterable[tuple[int, str]], known: Container[int | None]) -> frozenset[int]:
    """Which of these (id, text) end a generation: by their text, or because their id is in `known`."""
    found = {id: text for id, text in tokens if text in ENDS or id in known}
    texts = set(found.values())
    if texts & {"<|call|>", "<|calls|>"} and texts & {"<|return|>", "<|flush|>"}:
        found = {id: text for id, text in found.items() if text != "<|end|>"}  # here it ends a message
    if texts & {"<|tool_response>", "<|plamo:eos|>"}:
        found = {id: text for id, text in found.items() if text != "</s>"}  # here it is only markup
    return frozenset(found)


def text(header: Header, key: str) -> str:
    """The text of the token that the metadata names under `key`, as "bos"; empty where it names none."""
    id = header.get(f"tokenizer.ggml.{key}_token_id")
    tokens = header.need("tokenizer.ggml.tokens")
    return tokens[id] if id is not None and 0 <= id < len(tokens) else ""


def controls(header: Header) -> frozenset[int]:
    """The ids of tokens that add nothing to the text."""
    return frozenset(id for id, (_, type) in enumerate(_typed(header)) if type in (UNKNOWN, CONTROL, UNUSED))


def _typed(header: Header) -> list[tuple[str, int]]:
    """The tokens with their types. One whose text is in ENDS is a control token, whatever the file says."""
    tokens = header.need("tokenizer.ggml.tokens")
    types = header.get("tokenizer.ggml.token_type", [NORMAL] * len(tokens))
    return [(text, CONTROL if text in ENDS else type) for text, type in zip(tokens, types, strict=False)]


def _merges(header: Header, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """The merges in order of rank. Some files have merges that can never apply, since a part or the result is no
    token."""
    merges = []
    for line in header.need("tokenizer.ggml.merges"):
        left, _, right = line.partition(" ")
        if left in vocabulary and right in vocabulary and left + right in vocabulary:
            merges.append((left, right))
    return merges
