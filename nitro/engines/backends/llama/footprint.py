"""What a sequence takes: the KV cache of its tokens, in layers that see all of them and in those that see a window, and
the state of recurrent layers, which does not grow. And the plan that follows from it.

How many layers there are of each kind stands in no field that all architectures have. llama.cpp knows, and logs it when
it makes a context. So for such models a small one is made first, which takes some milliseconds.

Line references are to llama.cpp as it is in llama-cpp-python 0.3.36.
"""

import re
from typing import Any

import llama_cpp.llama_cpp as lib

from nitro.engines import kv_plan
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.backends.llama.parameters import set_context_parameters
from nitro.engines.hardware import memory
from nitro.engines.kv_plan import Footprint as Footprint
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

TRIED_CELLS = 256
# llama_kv_cache's and llama_memory_recurrent's lines; a cache with windows is logged after that without
KV_SIZE = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB \( *(\d+) cells")
STATE_SIZE = re.compile(r"llama_memory_recurrent: size = +([\d.]+) MiB")


def measure(model: LlamaModel, spec: EngineSpec) -> Footprint:
    """What llama.cpp says of this model, with the types of cache that are asked for. Raises LoadError."""
    if not model.window and not model.stateful:
        return Footprint(model.token_bytes())
    start = len(model.log.text)
    model.log.begin_attempt()
    context = lib.llama_init_from_model(model.pointer, _smallest(spec))
    if not context:
        raise LoadError(f"llama.cpp cannot make a context: {model.log.first_error}")
    lib.llama_free(context)
    return parse(model.log.text[start:])


def parse(log: str) -> Footprint:
    """What the lines of one context say, which was made for one sequence."""
    tokens = [int(float(size) * memory.MIB / int(cells)) for size, cells in KV_SIZE.findall(log)]
    states = [float(size) * memory.MIB for size in STATE_SIZE.findall(log)]
    return Footprint(max(sum(tokens[:1]), 1), sum(tokens[1:]), int(sum(states)))


def plan(footprint: Footprint, window: int, step: int, free: int, spec: EngineSpec, trained: int) -> memory.KVPlan:
    """The context and the pool. Layers that keep a window have room for the tokens of a `step` beside it. Raises
    LoadError."""
    tokens = window * (spec.parallel + memory.SPARE_SLOTS) + step
    with memory.refusing():
        return kv_plan.plan_windows(footprint, tokens, free, spec.context, spec.parallel, trained)


def _smallest(spec: EngineSpec) -> Any:
    made = lib.llama_context_default_params()
    made.n_ctx = made.n_batch = TRIED_CELLS
    made.n_ubatch = made.n_seq_max = 1
    made.swa_full = True
    made.kv_unified = True
    made.no_perf = True
    set_context_parameters(made, spec)
    return made
