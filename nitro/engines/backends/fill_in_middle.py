"""The control tokens between which a model fills in the middle of a text, by how its vocabulary writes them."""

from collections.abc import Sequence

from nitro.engines.runner import Tokenizer

Infill = tuple[str, str, str]  # what stands before the text's beginning, before its end, and before the answer

KNOWN: tuple[Infill, ...] = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM
    ("<|prefix|>", "<|suffix|>", "<|middle|>"),  # Falcon
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
    ("<PRE>", "<SUF>", "<MID>"),
)


def find(tokenizer: Tokenizer, named: Sequence[str] = ()) -> Infill | None:
    """The texts, each a token by itself. `named`: what the model's own metadata says, if anything."""
    for before, after, middle in [*([tuple(named)] if len(named) == 3 else []), *KNOWN]:
        tokens = [tokenizer.encode(text) for text in (before, after, middle) if text]
        if [len(ids) for ids in tokens] == [1, 1, 1] and len({ids[0] for ids in tokens}) == 3:
            return before, after, middle
    return None
