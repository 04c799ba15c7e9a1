"""Records what transformers computes with the encoders of tiny_encoders.py: `python tests/convert/record_encoders.py`
writes data/encoders.json, in the environment "transformers" of nitro/convert/environments.py."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import tiny_encoders  # noqa: E402
from recording import record  # noqa: E402


def make() -> None:
    """In an environment that has transformers and torch: print the record as JSON."""
    found = {kind: _recorded(*parts) for kind, parts in tiny_encoders.KINDS.items()}
    print(json.dumps(found))


def _recorded(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    import torch
    import transformers
    from safetensors import safe_open
    from safetensors.numpy import save_file

    kind = getattr(transformers, name)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        kind(kind.config_class(**settings)).save_pretrained(folder)
        with safe_open(folder / "model.safetensors", "np") as file:
            keys = list(file.keys())
            shapes = {key: file.get_slice(key).get_shape() for key in keys}
        save_file(tiny_encoders.weights(shapes), folder / "model.safetensors", {"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        model, report = kind.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
    assert not any(report.values()), report
    model.eval()
    with torch.inference_mode():
        return {"config": config, "shapes": shapes, **_computed(model, name, config)}


def _computed(model: Any, name: str, config: dict[str, Any]) -> dict[str, Any]:
    import torch

    rows = []
    for first, second in tiny_encoders.PAIRS:
        ids = torch.tensor([first + second])
        types = {"token_type_ids": torch.tensor([[0] * len(first) + [1] * len(second)])}
        if config.get("type_vocab_size", 0) < 2 or "istil" in name or "odern" in name or "MPNet" in name:
            types = {}
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), **types)
        rows.append(out.logits[0] if "logits" in out else out.last_hidden_state[0].mean(dim=0))
    return {"logits" if "Classification" in name else "mean": [[round(x, 7) for x in row.tolist()] for row in rows]}


if __name__ == "__main__":
    record(__file__, make, tiny_encoders.RECORD)
