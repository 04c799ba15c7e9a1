"""What stands beside the weights in a model's folder on the Hub, made from a GGUF's metadata."""

from math import isfinite
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from nitro.gguf import architectures, header, tokenizer
from nitro.gguf.header import Header

SOURCE = "gguf"  # config.json says so: such a folder has norms in float32 whatever the others are
TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # that generation_config.json knows
NO_TEMPLATE = "The file has no chat template; name one with --chat-template to chat with the model."


def files(head: Header, config: dict[str, Any]) -> dict[str, Any]:
    """By name: text, or what is to be written as JSON. `config`: as far as it is known. Raises UnreadableGGUF."""
    words = tokenizer.build(head)
    _begin_with_bos(head, words)
    ends = sorted(tokenizer.ends(head))
    bos = head.get("tokenizer.ggml.bos_token_id")
    ids = {"eos_token_id": ends} if bos is None else {"bos_token_id": bos, "eos_token_id": ends}
    sampling = {name: value for name in SAMPLING if _is_number(value := head.get(header.SAMPLING_KEYS[name]))}
    found: dict[str, Any] = {
        "config.json": {
            **config,
            **ids,
            "pad_token_id": head.get("tokenizer.ggml.padding_token_id"),
            "dtype": dtype(head),
            "torch_dtype": dtype(head),
            "converted_from": SOURCE,
        },
        "generation_config.json": {**ids, **({"do_sample": True, **sampling} if sampling else {})},
        "tokenizer.json": words.to_str(),
        "tokenizer_config.json": _about(head),
    }
    if template := head.get("tokenizer.chat_template"):
        found["chat_template.jinja"] = template
    return found


def notices(head: Header) -> list[str]:
    template = None if head.get("tokenizer.chat_template") else NO_TEMPLATE
    return [sentence for sentence in (architectures.of(head).notice(head), template) if sentence]


def dtype(head: Header) -> str:
    """What to compute in: float32 where the whole file is, bfloat16 where its matrices are, else float16, which the
    scales of packed weights are."""
    types = {tensor.type for tensor in head.tensors.values()}
    if types == {"F32"}:
        return "float32"
    return "bfloat16" if types <= {"F32", "BF16"} else "float16"


def adds_bos(head: Header) -> bool:
    return bool(head.get("tokenizer.ggml.add_bos_token", tokenizer.is_sentence_piece(head)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _about(head: Header) -> dict[str, Any]:
    """tokenizer_config.json."""
    texts = {name: tokenizer.text(head, key) for name, key in TOKENS.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": adds_bos(head),
        "clean_up_tokenization_spaces": False,
        "model_max_length": head.need("{arch}.context_length"),
        **{name: text for name, text in texts.items() if text},
    }


def _begin_with_bos(head: Header, words: Tokenizer) -> None:
    """Where special tokens are asked for; the server puts them into the prompt itself."""
    if adds_bos(head) and (bos := tokenizer.text(head, "bos")):
        special = [(bos, head.need("tokenizer.ggml.bos_token_id"))]
        words.post_processor = TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", bos, "$B:1"], special_tokens=special
        )
