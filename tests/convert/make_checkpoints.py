"""Tiny random checkpoints as transformers writes them: `make_checkpoints.py FOLDER`, in transformers' environment.

The weights are larger than a model is initialised with, so that some tokens are clearly better than others.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

COMMON = {
    "vocab_size": 49152,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
KINDS = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"tie_word_embeddings": True},
    "olmo2": {},
    "gemma3_text": {
        "num_hidden_layers": 6,
        "sliding_window": 32,
        "query_pre_attn_scalar": 16,
        "tie_word_embeddings": True,
    },
}


def main(folder: Path) -> None:
    for number, (kind, changes) in enumerate(KINDS.items()):
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**COMMON, **changes}), dtype=torch.float32)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "norm" in name or name.endswith("bias"):
                    weight += 0.3 * torch.randn_like(weight)
        model.save_pretrained(folder / kind)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
