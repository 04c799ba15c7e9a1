"""config.json of a folder → the settings of its text layers. Pure.

What has a tower keeps them under "text_config", and on the Hub that leaves out what transformers takes by default.
"""

from collections.abc import Mapping
from typing import Any

# By the model_type of the text: its sizes. Source: transformers 5, Qwen2Config, LlamaConfig and Gemma3TextConfig
DEFAULTS: dict[str, dict[str, Any]] = {
    "qwen2": {
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
        "vocab_size": 151936,
    },
    "llama": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    },
    "gemma3_text": {
        "hidden_size": 2304,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "vocab_size": 262208,
    },
}
# The text's model_type, where only the whole one's is said
TEXTS = {"qwen2_audio": "qwen2", "llava": "llama", "idefics3": "llama", "smolvlm": "llama", "gemma3": "gemma3_text"}


def read(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those that are said, wherever, and those that are meant."""
    inner = config.get("text_config")
    if not isinstance(inner, dict):
        return config
    kind = str(inner.get("model_type") or TEXTS.get(str(config.get("model_type"))))
    return {**DEFAULTS.get(kind, {}), **config, **inner}
