"""How much a token takes in the KV cache, from what a model's file says. Pure.

Sources: llama-hparams.cpp, llama-kv-cache.cpp and models/*.cpp in llama.cpp as it is in llama-cpp-python 0.3.36.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from nitro.checkpoints import text_settings

# Bytes of 32 numbers in the KV cache, by --cache-type-k and --cache-type-v (GGML_QUANT_SIZES)
CACHE_TYPES = {
    **{"f32": 128, "f16": 64, "bf16": 64, "q8_0": 34, "q5_1": 24, "q5_0": 22, "q4_1": 20, "q4_0": 18, "iq4_nl": 18},
}
# By architecture: of so many layers one, the last, sees all tokens, where the file has a window and no pattern
# (load_swa_pattern). Other architectures with a window keep all tokens in every layer.
WINDOW_PERIODS = {
    **{"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "olmo2": 4, "exaone4": 4, "llama4": 4},
    **{"afmoe": 4, "exaone-moe": 4, "mellum": 4, "laguna": 4, "cohere2moe": 4},
}
MAX_LAYERS = 4096


class KVShape(Struct, frozen=True):
    """Numbers that a token leaves in the cache; and what a sequence takes whatever its length."""

    keys: int = 0  # in layers that see all tokens
    values: int = 0
    window_keys: int = 0  # in layers that see a window
    window_values: int = 0
    window: int = 0  # tokens
    state_bytes: int = 0  # of recurrent layers, for each sequence

    def token_bytes(self, of_keys: str = "f16", of_values: str = "f16") -> int:
        """Of a token, in layers that see all."""
        return -(-(self.keys * CACHE_TYPES[of_keys] + self.values * CACHE_TYPES[of_values]) // 32)

    def window_bytes(self, of_keys: str = "f16", of_values: str = "f16") -> int:
        """Of a token, in layers that see a window."""
        return -(-(self.window_keys * CACHE_TYPES[of_keys] + self.window_values * CACHE_TYPES[of_values]) // 32)


def of_gguf(metadata: Mapping[str, Any]) -> KVShape:
    """From the metadata of a GGUF. Counts nothing where it says too little."""
    arch = str(metadata.get("general.architecture", ""))

    def number(key: str, default: int = 0) -> int:
        value = metadata.get(f"{arch}.{key}", default)
        return value if isinstance(value, int) and 0 <= value < 2**31 else default

    layers = min(number("block_count"), MAX_LAYERS)
    heads = _each(metadata.get(f"{arch}.attention.head_count"), layers)
    kv_heads = _each(metadata.get(f"{arch}.attention.head_count_kv"), layers) or heads
    head = number("embedding_length") // max([*heads, 1])
    keys, values = number("attention.key_length", head), number("attention.value_length", head)
    if number("attention.key_length_mla"):
        values = 0  # the latent vector is both
    window = number("attention.sliding_window") or number("attention.chunk_size")
    sees_window = _windowed(arch, metadata.get(f"{arch}.attention.sliding_window_pattern"), layers) if window else []
    recurrent = _recurrent(arch, number, layers, kv_heads)
    shape = [0, 0, 0, 0]
    for layer, count in enumerate(kv_heads):
        if layer in recurrent:
            continue
        at = 2 if layer < len(sees_window) and sees_window[layer] else 0
        shape[at] += count * (number("attention.key_length_swa", keys) if at else keys)
        shape[at + 1] += count * (number("attention.value_length_swa", values) if at else values)
    state = 4 * (_convolved(number) + number("ssm.state_size") * number("ssm.inner_size"))
    return KVShape(shape[0], shape[1], shape[2], shape[3], window if any(shape[2:]) else 0, state * len(recurrent))


def of_config(config: Mapping[str, Any]) -> KVShape:
    """From the config.json of a folder, as transformers and mlx-lm read it."""
    text = text_settings.read(config)

    def number(*keys: str) -> int:
        values = (text.get(key) for key in keys)
        return next((value for value in values if isinstance(value, int) and 0 < value < 2**31), 0)

    layers = min(number("num_hidden_layers", "n_layers", "n_layer", "num_layers"), MAX_LAYERS)
    heads = number("num_attention_heads", "n_head", "num_heads")
    kv_heads = number("num_key_value_heads", "num_kv_heads") or heads
    head = number("head_dim") or number("hidden_size", "n_embd", "d_model") // max(heads, 1)
    if rank := number("kv_lora_rank"):  # the latent vector, and the part with positions, as mlx-lm keeps them
        return KVShape(layers * (rank + number("qk_rope_head_dim")), 0)
    kinds = text.get("layer_types")
    if isinstance(kinds, list) and kinds:
        kinds = kinds[:layers]
    else:
        pattern = number("sliding_window_pattern", "_sliding_window_pattern") if number("sliding_window") else 0
        period = pattern or 1  # of so many layers the last sees all
        kinds = ["full_attention" if n % period == period - 1 else "sliding_attention" for n in range(layers)]
    full, windowed = kinds.count("full_attention"), kinds.count("sliding_attention") + kinds.count("chunked_attention")
    each = kv_heads * head
    window = number("sliding_window") if windowed else 0
    return KVShape(full * each, full * each, windowed * each, windowed * each, window)


def _each(value: Any, layers: int) -> list[int]:
    """A number for each layer."""
    if isinstance(value, list):
        return [count if isinstance(count, int) and 0 <= count < 2**16 else 0 for count in value[:layers]]
    return [value] * layers if isinstance(value, int) and 0 < value < 2**16 else []


def _windowed(arch: str, pattern: Any, layers: int) -> list[bool]:
    """Which layers see a window."""
    if isinstance(pattern, list) and pattern:
        return [bool(sees) for sees in pattern[:layers]]
    period = pattern if isinstance(pattern, int) and pattern > 0 else WINDOW_PERIODS.get(arch, 1)
    return [layer % period < period - 1 for layer in range(layers)]


def _recurrent(arch: str, number: Any, layers: int, kv_heads: list[int]) -> set[int]:
    """The layers that have a state instead of a KV cache: of so many the last is none, or those without KV heads."""
    if not (number("ssm.state_size") or number("ssm.conv_kernel") or number("shortconv.l_cache")):
        return set()
    if period := number("full_attention_interval"):
        return {layer for layer in range(layers) if (layer + 1) % period}
    return {layer for layer in range(layers) if layer >= len(kv_heads) or not kv_heads[layer]}


def _convolved(number: Any) -> int:
    """Numbers in the state of a layer's convolution."""
    if length := number("shortconv.l_cache"):
        return int(number("embedding_length") * (length - 1))
    inner = number("ssm.inner_size") + 2 * number("ssm.group_count") * number("ssm.state_size")
    return int(max(number("ssm.conv_kernel") - 1, 0) * inner)
