"""A small real vocabulary for tiny models: the first tokens of the embedded model's, whose merges stay among them."""

from functools import lru_cache
from typing import Any

import gguf

from nitro.gguf import header
from nitro.models import default_model

VOCABULARY = 1024
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@lru_cache
def vocabulary() -> dict[str, Any]:
    """tokens, token_type and merges, as a GGUF has them."""
    whole = header.read(default_model.path())
    tokens = whole.need("tokenizer.ggml.tokens")[:VOCABULARY]
    known = set(tokens)
    return {
        "tokens": tokens,
        "token_type": whole.need("tokenizer.ggml.token_type")[:VOCABULARY],
        "merges": [m for m in whole.need("tokenizer.ggml.merges") if m.replace(" ", "") in known],
    }


def add_to(writer: gguf.GGUFWriter, pre: str = "smollm") -> None:
    """Write the vocabulary, and where texts begin and end."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary()["tokens"])
    writer.add_token_types(vocabulary()["token_type"])
    writer.add_token_merges(vocabulary()["merges"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
