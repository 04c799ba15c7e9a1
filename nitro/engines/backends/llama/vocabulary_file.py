"""A GGUF's tokenizer without its model: for a process that computes nothing."""

import os
from pathlib import Path

import llama_cpp.llama_cpp as lib

from nitro.engines.backends.llama import library
from nitro.engines.backends.llama.tokenizer import LlamaTokenizer


def open_tokenizer(state: bytes) -> LlamaTokenizer:
    """By the recipe of a tokenizer: its state is the path. It lives as long as the process. Raises OSError where the
    file is gone or cannot be read."""
    path = os.fsdecode(state)
    log = library.capture_log()
    lib.llama_backend_init()
    asked = lib.llama_model_default_params()
    asked.vocab_only = True
    asked.n_gpu_layers = 0
    pointer = lib.llama_model_load_from_file(state, asked)
    if not pointer:
        raise OSError(f"llama.cpp cannot read the vocabulary of {path}: {log.first_error}")
    return LlamaTokenizer(lib.llama_model_get_vocab(pointer), Path(path))
