"""Checkpoints → GGUF in float32 by llama.cpp's own converter, in its environment: `convert.py CONVERTER FOLDER
VOCABULARY`. VOCABULARY is a JSON file with the tokenizer that all get, whatever the architecture's own is."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

CONVERTER, FOLDER, VOCABULARY = map(Path, sys.argv[1:4])
sys.path[:0] = [str(CONVERTER), str(CONVERTER / "gguf-py")]

import gguf  # noqa: E402
import torch  # noqa: E402
from conversion import get_model_class  # noqa: E402
from conversion.base import ModelBase, ModelType, get_model_architecture  # noqa: E402

# what transformers 5 writes, as the releases did that these classes were written for: by the checkpoint's name
SIGMOID = {"scoring_func": "sigmoid"}
FORMER: dict[str, dict[str, Any]] = {
    "minimax-m2": SIGMOID,
    "deepseek-v3": SIGMOID,
    "glm4moelite": SIGMOID,
    "granitehybrid": {"layer_types": ["mamba", "attention"] * 2, "num_experts_per_tok": None},
    "granitehybrid-moe": {"layer_types": ["mamba", "attention"] * 2},
    "nemotron_h": {
        "hybrid_override_pattern": "M*-M",
        **dict.fromkeys(("num_experts_per_tok", "n_routed_experts", "n_group", "topk_group")),  # absent
    },
}


def set_vocab(model: Any) -> None:
    """In place of the class's own."""
    words = json.loads(VOCABULARY.read_text())
    writer = model.gguf_writer
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words["tokens"])
    writer.add_token_types(words["token_type"])
    writer.add_token_merges(words["merges"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def settings(folder: Path) -> dict[str, Any]:
    """The configuration, as the converter reads it."""
    config: dict[str, Any] = ModelBase.load_hparams(folder, False)
    config |= FORMER.get(folder.name, {})
    return {key: value for key, value in config.items() if value is not None}


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    for folder in sorted(path for path in FOLDER.iterdir() if path.is_dir()):
        config = settings(folder)
        kind = get_model_class(get_model_architecture(config, ModelType.TEXT))
        kind.no_mtp = True  # transformers saves no layers that draft
        words = {"model": {"vocab": json.loads(VOCABULARY.read_text())["tokens"]}, "added_tokens": []}
        (folder / "tokenizer.json").write_text(json.dumps(words))  # some classes count the tokens in it
        with torch.inference_mode():
            file = FOLDER / f"{folder.name}.gguf"
            model = kind(folder, gguf.LlamaFileType.ALL_F32, file, hparams=config, model_name="tiny")
            for part in {id(each): each for each in (model, getattr(model, "impl", model))}.values():
                part.set_vocab = set_vocab.__get__(part)
            model.write()


if __name__ == "__main__":
    main()
