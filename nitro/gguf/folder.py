"""The files beside the weights in a model's folder on the Hub, made from a GGUF's metadata."""

import re
from math import isfinite
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from nitro.gguf import architectures, header, tokenizer
from nitro.gguf.header import Header

SOURCE = "gguf"  # "converted_from" in config.json: the norms are float32, whatever the type of the other weights
# of general.architecture: models whose hidden states exceed float16's 65504: gpt-oss-120b's do in its last layers;
# vLLM refuses float16 for the others (_FLOAT16_NOT_SUPPORTED_MODELS in its vllm/config/model.py)
BEYOND_FLOAT16 = ("gpt-oss", "gemma2", "gemma3", "glm4")
TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
GENERATION_CONFIG_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
NAMED_TEMPLATE = re.compile(re.escape(f"{header.TEMPLATE}.") + r"([\w-]+)", re.ASCII)  # a name that a file may have
NO_TEMPLATE = "The file has no chat template; pass one with --chat-template to chat with the model."


def files(head: Header, config: dict[str, Any]) -> dict[str, Any]:
    """The contents by file name: text, or an object to write as JSON. `config`: other entries of config.json. Raises
    UnreadableGGUF."""
    words = tokenizer.build(head)
    _begin_with_bos(head, words)
    ends = sorted(tokenizer.ends(head))
    bos = head.get("tokenizer.ggml.bos_token_id")
    ids = {"eos_token_id": ends} if bos is None else {"bos_token_id": bos, "eos_token_id": ends}
    recommended = {name: head.get(header.SAMPLING_KEYS[name]) for name in GENERATION_CONFIG_SAMPLING}
    sampling = {name: value for name, value in recommended.items() if _is_number(value)}
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
        "tokenizer_config.json": _tokenizer_config(head),
    }
    return found | _templates(head)


def notices(head: Header) -> list[str]:
    """Sentences for the user about what the folder lacks, or does differently."""
    template = None if head.get(header.TEMPLATE) else NO_TEMPLATE
    return [sentence for sentence in (architectures.of(head).notice(head), template) if sentence]


def dtype(head: Header) -> str:
    """The type to compute in: float32 if all tensors have it, bfloat16 if all matrices have it or float16 is too small,
    otherwise float16, which is the type of the scales of packed weights."""
    types = {tensor.type for tensor in head.tensors.values()}
    if types == {"F32"}:
        return "float32"
    return "bfloat16" if types <= {"F32", "BF16"} or head.architecture in BEYOND_FLOAT16 else "float16"


def adds_bos(head: Header) -> bool:
    """Does the tokenizer put the BOS token before a text?"""
    return tokenizer.adds_bos(head, tokenizer.is_sentence_piece(head))


def _templates(head: Header) -> dict[str, str]:
    """The files of the chat templates: the one for all requests, and those with names."""
    named = ((NAMED_TEMPLATE.fullmatch(key), text) for key, text in head.metadata.items())
    found = {f"additional_chat_templates/{match[1]}.jinja": text for match, text in named if match}
    found["chat_template.jinja"] = head.get(header.TEMPLATE)
    return {name: text for name, text in found.items() if text and isinstance(text, str)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _tokenizer_config(head: Header) -> dict[str, Any]:
    texts = {name: tokenizer.text(head, key) for name, key in TOKENS.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": adds_bos(head),
        "clean_up_tokenization_spaces": False,
        "model_max_length": head.need("{arch}.context_length"),
        **{name: text for name, text in texts.items() if text},
    }


def _begin_with_bos(head: Header, words: Tokenizer) -> None:
    """Add the BOS token where special tokens are requested; the server adds it to the prompt itself."""
    bos = tokenizer.text(head, "bos")
    if adds_bos(head) and bos:
        special = [(bos, head.need("tokenizer.ggml.bos_token_id"))]
        words.post_processor = TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", bos, "$B:1"], special_tokens=special
        )
