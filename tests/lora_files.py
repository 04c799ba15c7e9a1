"""LoRAs as PEFT and mlx-lm write them, made without what is under test. The numbers are random."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

Product = tuple[np.ndarray, np.ndarray]  # a [rank, in], b [out, rank]


def products(shapes: dict[str, tuple[int, int]], rank: int = 4, seed: int = 0, **ranks: int) -> dict[str, Product]:
    """A product for each layer. `shapes`: of the weights, by layer. `ranks`: of layers whose name ends so."""
    random = np.random.default_rng(seed)
    found = {}
    for name, (rows, columns) in shapes.items():
        size = next((value for end, value in ranks.items() if name.endswith(end)), rank)
        parts = random.standard_normal((size, columns)) / columns**0.5, random.standard_normal((rows, size)) / 2
        found[name] = tuple(part.astype(np.float32) for part in parts)
    return found


def write_peft(
    folder: Path, layers: dict[str, Product], tensors: dict[str, np.ndarray] | None = None, **settings: Any
) -> Path:
    """`tensors`: beside those of the layers."""
    folder.mkdir(parents=True)
    found = dict(tensors or {})
    for name, (a, b) in layers.items():
        if name.endswith("embed_tokens"):
            found |= {
                f"base_model.model.{name}.lora_embedding_A": b.T,
                f"base_model.model.{name}.lora_embedding_B": a.T,
            }
        else:
            found |= {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b}
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": False, "bias": "none", **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file({n: np.ascontiguousarray(v) for n, v in found.items()}, folder / "adapter_model.safetensors")
    return folder


def write_mlx(folder: Path, layers: dict[str, Product], scale: float = 2.0, **settings: Any) -> Path:
    folder.mkdir(parents=True)
    found = {}
    for name, (a, b) in layers.items():
        first, second = (b, a) if name.endswith("embed_tokens") else (a.T, b.T)
        found |= {f"{name}.lora_a": np.ascontiguousarray(first), f"{name}.lora_b": np.ascontiguousarray(second)}
    rank = max(a.shape[0] for a, _ in layers.values())
    config = {
        "fine_tune_type": "lora",
        "num_layers": 2,
        "lora_parameters": {"rank": rank, "scale": scale, "dropout": 0.0},
        **settings,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(found, folder / "adapters.safetensors")
    return folder
