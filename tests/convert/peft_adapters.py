"""Random LoRAs on a model as PEFT writes them, and what PEFT computes with each:

    peft_adapters.py BASE FOLDER IDS.json

in an environment that has PEFT. FOLDER gets a folder for each, and logits.npz: float32 [tokens, vocabulary] by name.
"""

import json
import sys
from pathlib import Path

import numpy as np

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "plain": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"]},
    "rslora": {"r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": LINEAR},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "use_rslora": True,
        "target_modules": LINEAR,
        "rank_pattern": {"q_proj": 2, r"model\.layers\.1\.mlp\.\w+": 8},
        "alpha_pattern": {"layers.0.self_attn.k_proj": 20, "down_proj": 5},
    },
    "some layers": {"r": 4, "target_modules": ["o_proj"], "layers_to_transform": [1]},
    "embeddings": {"r": 4, "lora_alpha": 6, "target_modules": ["embed_tokens", "lm_head", "k_proj"]},
}


def main(base: Path, folder: Path, ids: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    tokens = torch.tensor([json.loads(ids.read_text())])
    logits = {}
    with torch.no_grad():
        for name, settings in {"base": None, **ADAPTERS}.items():
            model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
            if settings:
                model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
                for parameter_name, parameter in model.named_parameters():
                    if "lora_" in parameter_name:
                        parameter.normal_(0, 0.3 / parameter.shape[-1] ** 0.5 if "_A" in parameter_name else 0.3)
                model.save_pretrained(folder / name)
            model.eval()
            logits[name] = model(tokens).logits[0].numpy()
    np.savez(folder / "logits.npz", **logits)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
