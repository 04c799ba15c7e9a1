"""What transformers computes with the folders of make.py: `compute.py FOLDER KIND…`, in the environment "transformers"
of nitro/convert/environments.py.

It reads FOLDER's `prompt.npz` (see make.py), and `squares` there: of each picture of SmolVLM its pixels as the image
processor cuts them, float32 [pictures, squares, colours, height, width]. In a kind's folder it writes `logits.npy`,
float32 [ids of `after`, vocabulary], and of sounds `rows.npy`, float32 [sounds, rows, width], what the encoder makes
of them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

FOLDER, WANTED = Path(sys.argv[1]), sys.argv[2:]
PROMPT = np.load(FOLDER / "prompt.npz")
QWEN2VL, GEMMA3, SMOLVLM, QWEN2AUDIO = 5, 13, 5, 9  # the token that stands in each row of a medium

Asked = tuple[list[int], dict[str, torch.Tensor]]  # the ids of all media, and what the model gets beside ids


def qwen2vl(pictures: np.ndarray, about: dict[str, Any]) -> Asked:
    """Every picture as two frames, in patches, of which four become a row and follow each other."""
    size, merged = about["patch_size"], about["merge_size"]
    values = normalised(pictures, about)
    count, colours, height, width = values.shape
    rows, columns = height // size, width // size
    shape = (count, colours, rows // merged, merged, size, columns // merged, merged, size)
    patches = values.reshape(shape).transpose(0, 2, 5, 3, 6, 1, 4, 7)
    patches = np.repeat(patches[..., None, :, :], 2, axis=-3).reshape(count * rows * columns, -1)
    ids = [3, *[QWEN2VL] * (rows * columns // merged**2), 4] * count
    grid = torch.tensor([[1, rows, columns]] * count)
    return ids, {"pixel_values": torch.tensor(patches), "image_grid_thw": grid}


def gemma3(pictures: np.ndarray, about: dict[str, Any]) -> Asked:
    """A picture is sixteen rows."""
    ids = [11, *[GEMMA3] * about["image_seq_length"], 12] * len(pictures)
    return ids, {"pixel_values": torch.tensor(normalised(pictures, about))}


def smolvlm(pictures: np.ndarray, about: dict[str, Any]) -> Asked:
    """Two squares and the whole, of four rows each, between the texts that transformers' processor writes."""
    squares = torch.tensor(PROMPT["squares"]).flatten(0, 1)
    rows = [SMOLVLM] * 4
    ids = [14, 16, *rows, 14, 10, *rows, 6, 14, 15, *rows, 14] * len(pictures)
    return ids, {"pixel_values": squares[None]}


def qwen2audio(sounds: np.ndarray, about: dict[str, Any]) -> Asked:
    """Two positions of the encoder are a row. All 30 seconds are heard, however long a sound is, as in llama.cpp."""
    extract = transformers.WhisperFeatureExtractor(**{k: v for k, v in about.items() if isinstance(v, int)})
    samples = [sound.astype(np.float32) / 2**15 for sound in sounds]
    features = extract(samples, sampling_rate=about["sampling_rate"], return_tensors="pt").input_features
    whole = torch.ones(len(sounds), features.shape[-1], dtype=torch.long)
    ids = [7, *[QWEN2AUDIO] * (features.shape[-1] // 4), 8] * len(sounds)
    return ids, {"input_features": features, "feature_attention_mask": whole}


def normalised(pictures: np.ndarray, about: dict[str, Any]) -> np.ndarray:
    """float32 [pictures, colours, height, width]."""
    values = pictures.astype(np.float32) / 255
    values = (values - np.float32(about["image_mean"])) / np.float32(about["image_std"])
    return values.transpose(0, 3, 1, 2)


KINDS = {"qwen2vl": qwen2vl, "gemma3": gemma3, "smolvlm": smolvlm, "qwen2audio": qwen2audio}
TYPES = {"qwen2vl": ("mm_token_type_ids", QWEN2VL), "gemma3": ("token_type_ids", GEMMA3)}  # 1 where a picture is


def compute(kind: str) -> None:
    """Write the logits after each token of `after`."""
    folder = FOLDER / kind
    about = json.loads((folder / "preprocessor_config.json").read_text())
    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    media, more = KINDS[kind](PROMPT[kind], about)
    ids = torch.tensor([[*map(int, PROMPT["before"]), *media, *map(int, PROMPT["after"])]])
    if kind in TYPES:
        more[TYPES[kind][0]] = (ids == TYPES[kind][1]).long()
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).logits[0]
        np.save(folder / "logits.npy", logits[-len(PROMPT["after"]) :].numpy())
        if kind == "qwen2audio":
            heard = model.model.audio_tower(more["input_features"]).last_hidden_state
            np.save(folder / "rows.npy", model.model.multi_modal_projector(heard).numpy())


if __name__ == "__main__":
    for kind in WANTED:
        compute(kind)
