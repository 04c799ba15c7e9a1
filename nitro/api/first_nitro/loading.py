"""What a load of the first Nitro's asks for, in our settings of a model. Pure."""

import math
from typing import Any

from nitro.api.first_nitro import prompts
from nitro.api.first_nitro.requests import ALL_LAYERS, LoadRequest
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.errors import ApiError
from nitro.models.settings import ModelSettings
from nitro.parameters import NO_LIMIT, check_request

CONTEXT, PARALLEL, REPEAT_LAST_N = 2048, 1, 32  # by default
LLM = "llm"  # the model_type that chats
ENGINES = ("cortex.llamacpp",)  # names of engines that mean llama.cpp
# What only llama.cpp has, of the options that a load can set: who sets one gets that engine, as the first Nitro had it.
LLAMA_OPTIONS = {"gpu_layers", "threads", "mlock", "mmproj", "flash_attn", "cache_type_k", "cache_type_v", "no_mmap"}
MIN_CONTEXT = 16  # tokens, as of --ctx


def settings(request: LoadRequest, grammar: str | None) -> ModelSettings:
    """The settings of the model, which stays until it is unloaded. `grammar`: what `grammar_file` holds. Raises
    ApiError 400 for what is out of bounds."""
    check_request(request)
    options = _options(request)
    if options.keys() & LLAMA_OPTIONS or request.engine in ENGINES:
        options["engine"] = "llama"
    repeat_last_n = REPEAT_LAST_N if request.repeat_last_n is None else request.repeat_last_n
    return ModelSettings(
        alias=request.model_alias or None,
        options=options,
        defaults=SamplingDefaults(repeat_last_n=repeat_last_n),
        template=prompts.template(request),
        stops=prompts.stops(request),
        grammar=grammar,
        keep_alive=math.inf,
        pin=True,
    )


def check_engine(request: LoadRequest) -> None:
    """Raises ApiError 500, as cortex had it, for an engine that is not here."""
    if request.engine not in (None, "", *ENGINES):
        raise ApiError(500, f"Could not load engine {request.engine}", param="engine")


def chats(request: LoadRequest) -> bool:
    """Whether the model is one that answers conversations."""
    return request.model_type in (None, "", LLM)


def _options(request: LoadRequest) -> dict[str, Any]:
    """Fields of EngineOptions. What is not set, or asks for what is so anyway, is left to the engine. Raises
    ApiError."""
    context = CONTEXT if request.ctx_len is None else request.ctx_len
    if 0 < context < MIN_CONTEXT:
        raise ApiError.invalid("ctx_len", f"at least {MIN_CONTEXT}, or 0 for what the model was trained for")
    options: dict[str, Any] = {"context": context or None, "parallel": request.n_parallel or PARALLEL}
    if request.ngl is not None and NO_LIMIT != request.ngl < ALL_LAYERS:
        options["gpu_layers"] = request.ngl
    if request.cpu_threads:
        options["threads"] = request.cpu_threads
    if request.mmproj:
        options["mmproj"] = request.mmproj
    if request.mlock:
        options["mlock"] = True
    if request.flash_attn is not None:
        options["flash_attn"] = "on" if request.flash_attn else "off"
    if request.cache_type:
        options |= dict.fromkeys(("cache_type_k", "cache_type_v"), request.cache_type)
    if request.use_mmap is False:
        options["no_mmap"] = True
    return options
