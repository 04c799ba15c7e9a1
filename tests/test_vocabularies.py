"""Real vocabularies with the ids that llama.cpp's authors expect of them: both engines' tokenizers give those, and the
same for other texts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sdist
from test_gguf_tokenizer import SHORT, fast, shown, vocab_of

from nitro.engines.backends.llama.tokenizer import LlamaTokenizer
from nitro.gguf import header
from nitro.gguf.header import UnreadableGGUF

__all__ = ["vocab_of"]  # a fixture
_BETWEEN = "\n__ggml_vocab_test__\n"
_NO_NAME = "it names no pre-tokenizer; llama.cpp guesses one, and warns of it"
# The vocabularies that MLX cannot have from a GGUF, and why. Such a file is refused; llama.cpp serves it.
REFUSED = {
    "aquila": _NO_NAME,
    "bert-bge": "WordPiece, of encoders, which are not served",
    "deepseek-llm": "it cuts by a list of letters of its own; only files of 2023 have it",
    "gpt-neox": _NO_NAME,
    "nomic-bert-moe": "Unigram, of encoders, which are not served",
}


def files() -> dict[str, Path]:
    found = sorted((sdist.folder() / "models").glob("ggml-vocab-*.gguf"))
    return {file.stem.removeprefix("ggml-vocab-"): file for file in found}


def expected(file: Path) -> list[tuple[str, list[int]]]:
    """Texts and their ids, where the distribution has them."""
    texts, ids = (file.with_name(file.name + end) for end in (".inp", ".out"))
    if not texts.is_file():
        return []
    parts = texts.read_text(encoding="utf-8").removesuffix(_BETWEEN).split(_BETWEEN)
    lines = ids.read_text(encoding="utf-8").splitlines()
    return [(text, [*map(int, line.split())]) for text, line in zip(parts, lines, strict=True)]


@pytest.mark.parametrize("name", files())
def test_ids_are_those_expected(name: str, vocab_of: Callable[[Path], Any]) -> None:
    theirs = LlamaTokenizer(vocab_of(files()[name]))
    for text, ids in expected(files()[name]):
        assert theirs.encode(text) == ids, shown(text)
    if name in REFUSED:
        with pytest.raises(UnreadableGGUF):
            fast(header.read(files()[name]))
        return
    ours = fast(header.read(files()[name]))
    for text, ids in expected(files()[name]):
        assert ours.encode(text) == ids, shown(text)
    for text in SHORT:
        assert ours.encode(text) == theirs.encode(text), shown(text)


def test_they_are_all_there() -> None:
    assert len(files()) >= 19 and sum(bool(expected(file)) for file in files().values()) >= 15
    assert set(REFUSED) < set(files())
