"""Token ids and logits of a GGUF file from llama.cpp: on the CPU, without flash attention, KV cache in float32."""

import ctypes
import os
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Tokenise `strings`, and score texts. `ids`: the texts' token ids; null: encode `texts` here, at most `limit`
    tokens of each, with the tokens that the model puts before a text. `adapter`: a LoRA to use, or null. `threads`: so
    many compute. `out`: the .npz file for the arrays."""
    log: list[str] = []
    # kept until the end, since llama.cpp holds the pointer
    callback = lib.llama_log_callback(lambda level, text, _: log.append(text.decode(errors="replace")))
    lib.llama_log_set(callback, ctypes.c_void_p(0))
    lib.llama_backend_init()
    parameters = lib.llama_model_default_params()
    parameters.n_gpu_layers = 0
    model = lib.llama_model_load_from_file(os.fsencode(request["model"]), parameters)
    if not model:
        raise ValueError("llama.cpp cannot load the model: " + " ".join(log[-1:]).strip())
    vocab = lib.llama_model_get_vocab(model)
    strings = [encode(vocab, text, special=False) for text in request["strings"]]
    ids = request["ids"] or [encode(vocab, text, special=True)[: request["limit"]] for text in request["texts"]]
    adapter = None
    if request.get("adapter"):
        adapter = lib.llama_adapter_lora_init(model, os.fsencode(request["adapter"]))
        if not adapter:
            raise ValueError("llama.cpp cannot load the adapter: " + " ".join(log[-1:]).strip())
    scored = score(model, vocab, ids, request["encoder"], adapter, threads=request["threads"])
    arrays = {f"text_{i}": rows for i, rows in enumerate(scored)}
    arrays["strings"] = np.array([id for row in strings for id in row], np.int64)
    np.savez(request["out"], allow_pickle=False, **arrays)
    return {"lengths": [len(row) for row in strings], "ids": ids, "vocabulary": vocabulary(vocab)}


def vocabulary(vocab: Any) -> list[str]:
    """The tokens' texts by id. Bytes that are not UTF-8 become lone surrogates."""
    text = lib.llama_vocab_get_text
    return [text(vocab, id).decode("utf-8", "surrogateescape") for id in range(lib.llama_vocab_n_tokens(vocab))]


def encode(vocab: Any, text: str, special: bool) -> list[int]:
    """Token ids of a text. `special`: with the tokens that the model puts before and after it."""
    data = text.encode()
    capacity = len(data) + 16
    tokens = (lib.llama_token * capacity)()
    # a C function: all of its arguments are positional
    count = lib.llama_tokenize(vocab, data, len(data), tokens, capacity, special, True)
    if count < 0:
        raise ValueError(f"llama.cpp cannot tokenise {text!r}")
    return list(tokens[:count])


def score(
    model: Any, vocab: Any, texts: list[list[int]], encoder: bool, adapter: Any = None, *, threads: int = 1
) -> list[np.ndarray]:
    """For each text the logits after each of its tokens: float32 [tokens, vocabulary]. For an encoder the states of the
    last layer instead: [tokens, width]. `adapter`: a LoRA that is used, with a scale of 1."""
    longest = max(len(ids) for ids in texts)
    parameters = lib.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = longest + 8
    parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.type_k = parameters.type_v = lib.GGML_TYPE_F32
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.no_perf = True
    if encoder:
        parameters.embeddings = True
        parameters.pooling_type = lib.LLAMA_POOLING_TYPE_NONE
    context = lib.llama_init_from_model(model, parameters)
    if not context:
        raise ValueError("llama.cpp cannot make a context for the model")
    if adapter:
        adapters, scales = (lib.llama_adapter_lora_p_ctypes * 1)(adapter), (ctypes.c_float * 1)(1.0)
        if lib.llama_set_adapters_lora(context, adapters, 1, scales) != 0:
            raise ValueError("llama.cpp cannot use the adapter")
    size = lib.llama_model_n_embd(model) if encoder else lib.llama_vocab_n_tokens(vocab)
    row_of, compute = (
        (lib.llama_get_embeddings_ith, lib.llama_encode) if encoder else (lib.llama_get_logits_ith, lib.llama_decode)
    )
    found = []
    for ids in texts:
        memory = lib.llama_get_memory(context)
        if memory:  # an encoder has none
            lib.llama_memory_clear(memory, True)
        batch = lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, id in enumerate(ids):
            batch.token[i] = id
            batch.pos[i] = i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = 1
        if compute(context, batch) != 0:
            raise ValueError("llama.cpp cannot compute the model")
        rows = (row_of(context, i) for i in range(len(ids)))
        found.append(np.stack([np.ctypeslib.as_array(row, (size,)).copy() for row in rows]))
        lib.llama_batch_free(batch)
    return found
