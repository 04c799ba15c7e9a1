"""The tiny Gemma 3 of tiny_vision.py as two GGUFs, as llama.cpp's converter writes them: the text, and the tower."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import tiny_vision
from tokenizers import pre_tokenizers

from nitro.gguf.families.gemma import GEMMA3
from nitro.gguf.projectors import KINDS

KIND = "gemma3"
MERGED = "ĀĀ"  # two bytes of zero: no text has them
CONTROL, NORMAL = 3, 1


def write(folder: Path, **clip: Any) -> tuple[Path, Path]:
    """Both files. `clip`: metadata of the tower, with "__" for ".", instead of the usual."""
    folder.mkdir(parents=True, exist_ok=True)
    known = tiny_vision.record()[KIND]
    values = {_plain(name): array for name, array in tiny_vision.weights(known["shapes"]).items()}
    return _text(folder / "tiny.gguf", known["config"]["text_config"], values), _tower(
        folder / "tiny-mmproj.gguf", known["config"], values, clip
    )


def _plain(name: str) -> str:
    """As the table of names has it."""
    name = name.replace("language_model.", "")
    return name.replace("vision_tower.", "vision_tower.vision_model.")


def _text(path: Path, config: dict[str, Any], values: dict[str, np.ndarray]) -> Path:
    writer = gguf.GGUFWriter(path, KIND)
    full, local = (config["rope_parameters"][f"{kind}_attention"]["rope_theta"] for kind in ("full", "sliding"))
    for key, number in {
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": config["head_dim"],
        "attention.value_length": config["head_dim"],
        "attention.sliding_window": config["sliding_window"],
        "attention.sliding_window_pattern": config["sliding_window_pattern"],
    }.items():
        writer.add_uint32(f"{KIND}.{key}", number)
    writer.add_float32(f"{KIND}.attention.layer_norm_rms_epsilon", config["rms_norm_eps"])
    writer.add_float32(f"{KIND}.rope.freq_base", full)
    writer.add_float32(f"{KIND}.rope.freq_base_swa", local)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *tiny_vision.MARKS, MERGED]
    tokens += [f"<unused{i}>" for i in range(tiny_vision.VOCABULARY - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if token in tiny_vision.MARKS else NORMAL for token in tokens])
    writer.add_token_merges([" ".join(MERGED)])
    writer.add_eos_token_id(tiny_vision.END)
    writer.add_chat_template(tiny_vision.template(KIND))
    for name, goal in GEMMA3.names.items():
        for layer in range(config["num_hidden_layers"]) if "N" in name else [0]:
            array = values.get(goal.replace("N", str(layer)))
            if array is not None:  # the output is the embedding
                stored = array + 1 if name in GEMMA3.values else array
                writer.add_tensor(name.replace("N", str(layer)), np.asarray(stored, np.float32))
    return close(writer, path)


def _tower(path: Path, config: dict[str, Any], values: dict[str, np.ndarray], changed: dict[str, Any]) -> Path:
    writer = gguf.GGUFWriter(path, "clip")
    vision, kind = config["vision_config"], KINDS[KIND]
    side = vision["image_size"] // vision["patch_size"]
    metadata = {
        "clip.projector_type": KIND,
        "clip.use_gelu": True,
        "clip.vision.image_size": vision["image_size"],
        "clip.vision.patch_size": vision["patch_size"],
        "clip.vision.embedding_length": vision["hidden_size"],
        "clip.vision.feed_forward_length": vision["intermediate_size"],
        "clip.vision.block_count": vision["num_hidden_layers"],
        "clip.vision.attention.head_count": vision["num_attention_heads"],
        "clip.vision.attention.layer_norm_epsilon": vision["layer_norm_eps"],
        "clip.vision.projection_dim": config["text_config"]["hidden_size"],
        "clip.vision.projector.scale_factor": side // round(config["mm_tokens_per_image"] ** 0.5),
        **{key.replace("__", "."): value for key, value in changed.items()},
    }
    adders = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
    for key, value in metadata.items():
        adders[type(value)](key, value)
    for key in ("image_mean", "image_std"):
        writer.add_array(f"clip.vision.{key}", [0.5] * 3)
    names = {f"{name}.{end}": f"{goal}.{end}" for name, goal in kind.names.items() for end in ("weight", "bias")}
    for name, goal in {**names, **kind.whole}.items():
        for layer in range(vision["num_hidden_layers"]) if "N" in name else [0]:
            array = values.get(goal.replace("N", str(layer)))
            if array is not None:
                writer.add_tensor(
                    name.replace("N", str(layer)), np.asarray(array + 1 if name in kind.values else array, np.float32)
                )
    return close(writer, path)


def close(writer: gguf.GGUFWriter, path: Path) -> Path:
    """The rest of a file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
