"""Names at the top of a request that never change an answer: taken in silence, under --strict too."""

from nitro.api.names import Harmless
from nitro.api.openai.names.sources import (
    LLAMA_SERVER,
    LM_STUDIO,
    MLX_LM,
    OLLAMA,
    OPENAI,
    OPENROUTER,
    OTHERS,
    SGLANG,
    VLLM,
)

# by what they are about, with a sentence of it: the names, and who has each
_GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "Who asks, and for the provider's books.": {
        "user": (OPENAI, VLLM, SGLANG, OPENROUTER),
        "safety_identifier": (OPENAI,),
        "metadata": (OPENAI, OPENROUTER),
        "store": (OPENAI,),
        "session_id": (VLLM, SGLANG, OPENROUTER),
        "trace": (OPENROUTER,),
        "custom_labels": (SGLANG,),
    },
    "A name for the request. The reply has its own, in `x-request-id`.": {
        "request_id": (VLLM, OTHERS),
        "rid": (SGLANG,),
    },
    "Where a cache of prompts looks. This server finds common beginnings by itself.": {
        "id_slot": (LLAMA_SERVER,),
        "slot_id": (LLAMA_SERVER,),
        "n_cache_reuse": (LLAMA_SERVER,),
    },
    "Which of several providers or models answers. Here is one.": {
        "provider": (OPENROUTER,),
        "models": (OPENROUTER,),
        "route": (OPENROUTER,),
    },
    "Every whole reply has its usage; `stream_options.include_usage` adds it to a stream.": {"usage": (OPENROUTER,)},
    "How drafts are made, which change the speed only.": {
        "draft_model": (MLX_LM, LM_STUDIO),
        "num_draft_tokens": (MLX_LM,),
        **{
            f"speculative.{name}": (LLAMA_SERVER,)
            for name in ("n_max", "n_min", "p_min", "type", "ngram_size_n", "ngram_size_m", "ngram_m_hits")
        },
    },
    "Which implementation of grammars, or where tokens are drawn.": {
        "guided_decoding_backend": (VLLM,),
        "backend_sampling": (LLAMA_SERVER,),
        "preserved_tokens": (LLAMA_SERVER,),
    },
    "How a prompt or an answer beyond the context is cut. This server cuts none: it is a 400.": {
        "truncate": (OLLAMA,),
        "shift": (OLLAMA,),
        "n_keep": (LLAMA_SERVER,),
        "n_discard": (LLAMA_SERVER,),
        "truncation_side": (VLLM,),
    },
    "How a stream is cut into events, and its signs of life.": {
        "stream_interval": (VLLM,),
        "sse_ping_interval": (LLAMA_SERVER,),
    },
    "Of endpoints that render only.": {"return_mm_kwargs": (VLLM,), "routed_experts_prompt_start": (VLLM,)},
}
_USUAL = ("user", "metadata", "store", "safety_identifier")
COMMON: dict[str, Harmless] = {
    name: Harmless(sources=sources, note=note, usual=name in _USUAL)
    for note, names in _GROUPS.items()
    for name, sources in names.items()
}

# Those of Ollama's `options` that say how a model runs, there or at the top.
OPTIONS: dict[str, Harmless] = {
    name: Harmless(sources=(OLLAMA,), note="Settled where the server starts.")
    for name in (
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "use_mmap",
        "use_mlock",
        "low_vram",
        "f16_kv",
        "numa",
        "vocab_only",
        "draft_num_predict",
    )
} | {"num_keep": Harmless(sources=(OLLAMA,), note="This server never cuts a prompt.")}
