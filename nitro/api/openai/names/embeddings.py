"""Names of other servers in a request for embeddings: what becomes of each."""

from collections.abc import Mapping
from typing import Any

from nitro.api.names import Harmless, Known, Mapped, Refused
from nitro.api.openai.names import harmless
from nitro.api.openai.names.sources import (
    COHERE,
    JINA,
    LLAMA_SERVER,
    NIM,
    OLLAMA,
    OPENAI,
    OTHERS,
    TEI,
    VLLM,
    VOYAGE,
)
from nitro.errors import ApiError

TRUNCATE = {"NONE": False, "END": True}  # NIM's and Cohere's words


def truncate(value: Any, where: str) -> Mapping[str, Any]:
    """-1, which is vLLM's "as long as the model takes"."""
    if value != -1:
        raise ApiError.invalid(where, "-1: an input is cut at the model's own limit, and at no other")
    return {"truncate": True}


NORMALISED = "Vectors have length 1."

EMBEDDINGS: Mapping[str, Known] = {
    "content": Mapped(sources=(LLAMA_SERVER,), to="input"),
    "inputs": Mapped(sources=(TEI,), to="input"),
    "texts": Mapped(sources=(COHERE,), to="input"),
    "task": Mapped(sources=(JINA,), to="input_type"),
    "prompt_name": Mapped(sources=(TEI,), to="input_type"),
    "embedding_type": Mapped(sources=(JINA, NIM), to="encoding_format"),
    "output_dimension": Mapped(sources=(COHERE, VOYAGE, OTHERS), to="dimensions"),
    "truncation": Mapped(sources=(VOYAGE,), to="truncate"),
    "truncate_prompt_tokens": Mapped(sources=(VLLM,), to="truncate", translate=truncate, note="-1 only."),
    "user": Harmless(sources=(OPENAI, VLLM), note="Who asks, and for the provider's books.", usual=True),
    **{
        name: row
        for name, row in harmless.COMMON.items()
        if name in ("safety_identifier", "metadata", "store", "service_tier", "session_id", "request_id", "rid")
    },
    "priority": Harmless(sources=(VLLM,), note="Requests take turns."),
    "cache_salt": Harmless(sources=(VLLM,), note="Vectors are not cached."),
    "modality": Refused(sources=(NIM,), neutral=("text",), note="Inputs are texts."),
    "messages": Refused(sources=(VLLM,), note="Inputs are texts, in `input`."),
    "add_special_tokens": Refused(
        sources=(VLLM,), neutral=(True,), note="Send token ids, which are taken as they are."
    ),
    "add_generation_prompt": Refused(sources=(VLLM,), neutral=(False,)),
    "continue_final_message": Refused(sources=(VLLM,), neutral=(False,)),
    "chat_template": Refused(sources=(VLLM,), note="Inputs are texts, in `input`."),
    "chat_template_kwargs": Refused(sources=(VLLM,), neutral=({},), note="Inputs are texts, in `input`."),
    "media_io_kwargs": Refused(sources=(VLLM,), neutral=({},), note="Inputs are texts."),
    "mm_processor_kwargs": Refused(sources=(VLLM,), neutral=({},), note="Inputs are texts."),
    "padding": Refused(sources=(VLLM,), neutral=("do_not_pad",)),
    "normalize": Refused(sources=(VLLM, TEI), neutral=(True,), note=NORMALISED),
    "normalized": Refused(sources=(JINA,), neutral=(True,), note=NORMALISED),
    "use_activation": Refused(sources=(VLLM,), neutral=(True,), note=NORMALISED),
    "embd_normalize": Refused(sources=(LLAMA_SERVER,), neutral=(2,), note=NORMALISED),
    "late_chunking": Refused(sources=(JINA,), neutral=(False,)),
    "return_multivector": Refused(sources=(JINA,), neutral=(False,), note="An input has one vector."),
    "return_tokenized_input": Refused(sources=(JINA,), neutral=(False,), note="Use /tokenize."),
    "embedding_types": Refused(sources=(COHERE,), neutral=(["float"],), note="Use `encoding_format`."),
    "output_dtype": Refused(sources=(VOYAGE, OTHERS), neutral=("float",), note="Numbers are floats."),
    "embed_dtype": Refused(sources=(VLLM,), neutral=("float32",), note="Base64 is of float32."),
    "endianness": Refused(sources=(VLLM,), neutral=("native", "little"), note="Base64 is little endian."),
    "truncate_dim": Mapped(sources=(TEI,), to="dimensions"),
    "truncation_direction": Refused(sources=(TEI,), neutral=("Right", "right"), note="The beginning is kept."),
    "truncation_side": Refused(sources=(VLLM,), neutral=("right",), note="The beginning is kept."),
    "images": Refused(sources=(COHERE,), neutral=([],), note="Inputs are texts."),
    "prompt": Refused(sources=(OLLAMA,), note="Use `input`."),
    "options": Refused(sources=(OLLAMA,), neutral=({},)),
}
