"""How rotary frequencies are scaled: from a GGUF's metadata to config.json.

llama.cpp's converter turns Llama 3's settings into factors (LlamaModel.generate_extra_tensors in conversion/llama.py);
here the settings are recovered. Factors that no known settings give are kept as they are: "longrope" takes any list of
them, and scales nothing else while the two contexts in it are equal.
"""

from math import pi
from typing import Any

import numpy as np

from nitro.gguf import weights
from nitro.gguf.families.family import head_size
from nitro.gguf.header import Header, UnreadableGGUF

FACTORS = "rope_freqs.weight"  # what every rotary frequency is divided by, float32 [head size / 2]
LONG = "rope_factors_long.weight"
SHORT = "rope_factors_short.weight"
TENSORS = (FACTORS, LONG, SHORT)  # settings, not weights of the model

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
RELATIVE_TOLERANCE = 1e-5  # the factors were computed in float32


def base(header: Header) -> float:
    """rope_theta."""
    return float(header.get("{arch}.rope.freq_base", 10000.0))


def one_base(header: Header) -> float:
    """rope_theta of a model in which it is that of layers with a window, too. Raises UnreadableGGUF where it is not."""
    windowed = header.get("{arch}.rope.freq_base_swa", base(header))
    if windowed != base(header):
        key = f"{header.architecture}.rope.freq_base_swa"
        raise UnreadableGGUF(f"{header.path}: {key} is {windowed}; supported is that of all layers, {base(header)}.")
    return base(header)


def scaling(header: Header) -> dict[str, Any] | None:
    """rope_scaling; None: frequencies are not scaled."""
    if FACTORS in header.tensors:
        return _of_factors(header, weights.numbers(header, FACTORS))
    return linear(header)


def linear(header: Header) -> dict[str, Any] | None:
    """rope_scaling without factors per frequency: linear, or None, which factors of 1 and 0 are, too."""
    is_linear = header.get("{arch}.rope.scaling.type", "linear") == "linear"
    factor = header.get("{arch}.rope.scaling.factor") if is_linear else None
    return {**_named("linear"), "factor": factor} if factor not in (None, 0, 1) else None


def unscaled(header: Header) -> None:
    """No rope_scaling, of which mlx-lm's model has none. Raises UnreadableGGUF where the file has factors."""
    if FACTORS in header.tensors:
        raise UnreadableGGUF(f"{header.path}: tensor {FACTORS} scales frequencies, which is not supported here.")


def yarn(header: Header) -> dict[str, Any] | None:
    """rope_scaling of a model whose file may say "yarn"; otherwise as `scaling`.

    The rotated values are multiplied by m(1) / m(all dimensions), m(x) = 1 + x × ln(factor) / 10 (llama_context in
    llama.cpp's src/llama-context.cpp).
    """
    if header.get("{arch}.rope.scaling.type") != "yarn":
        return scaling(header)
    return {
        **_named("yarn"),
        "factor": header.need("{arch}.rope.scaling.factor"),
        "original_max_position_embeddings": header.get(
            "{arch}.rope.scaling.original_context_length", header.need("{arch}.context_length")
        ),
        "beta_fast": header.get("{arch}.rope.scaling.yarn_beta_fast", 32.0),
        "beta_slow": header.get("{arch}.rope.scaling.yarn_beta_slow", 1.0),
        "mscale": 1.0,
        "mscale_all_dim": header.get("{arch}.rope.scaling.yarn_log_multiplier", 0.0),
    }


def two_lists(header: Header) -> dict[str, Any] | None:
    """rope_scaling of Phi-3: a list of factors for short contexts, and one for long ones."""
    if LONG not in header.tensors:
        return linear(header)
    long = weights.numbers(header, LONG)
    short = weights.numbers(header, SHORT) if SHORT in header.tensors else long
    return {**_named("longrope"), "long_factor": long, "short_factor": short}


def _named(type: str) -> dict[str, Any]:
    """The type under the key that transformers reads, and under the older one that some of mlx-lm's models read."""
    return {"rope_type": type, "type": type}


def _of_factors(header: Header, factors: list[float]) -> dict[str, Any]:
    settings = {**_named("llama3"), "factor": float(max(factors)), **LLAMA3}
    if np.allclose(llama3(head_size(header), base(header), settings), factors, rtol=RELATIVE_TOLERANCE, atol=0):
        return settings
    context = header.need("{arch}.context_length")
    lists = {"short_factor": factors, "long_factor": factors}
    return {**_named("longrope"), "original_max_position_embeddings": context, **lists}


def llama3(size: int, base: float, settings: dict[str, Any]) -> np.ndarray:
    """The divisors of Llama 3's rotary frequencies: [size / 2].

    Waves shorter than context / high_freq_factor stay, those longer than context / low_freq_factor are divided by the
    full factor, and in between it is interpolated linearly.
    """
    waves = 2 * pi * base ** (np.arange(0, size, 2) / size)
    low = settings["low_freq_factor"]
    high = settings["high_freq_factor"]
    share = np.clip((settings["original_max_position_embeddings"] / waves - low) / (high - low), 0, 1)
    return np.asarray(1 / ((1 - share) / settings["factor"] + share))
