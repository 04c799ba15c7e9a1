"""Records what transformers computes with the models of tiny_vision.py: `python tests/convert/record_vision.py` writes
data/vision.json, in the environment "transformers" of nitro/convert/environments.py, to which Pillow is added."""

import json
import sys
import tempfile
import wave
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import tiny_vision  # noqa: E402
from recording import record  # noqa: E402

# by transformers' name of the model: its processor, and what that is made with beside its parts
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2VL": ("Qwen2VLProcessor", {}),
    "Qwen2_5_VL": ("Qwen2_5_VLProcessor", {}),
    "Gemma3": ("Gemma3Processor", {"image_seq_length": 4}),
    "Llava": ("LlavaProcessor", {"patch_size": 14}),
    "Idefics3": ("Idefics3Processor", {"image_seq_len": 4}),
    "SmolVLM": ("Idefics3Processor", {"image_seq_len": 4}),
    "Qwen2Audio": ("Qwen2AudioProcessor", {}),
}


def make() -> None:
    """In an environment that has transformers, torch and Pillow: print the record as JSON."""
    found = {kind: _recorded(*parts) for kind, parts in tiny_vision.KINDS.items()}
    print(json.dumps(found))


def _recorded(name: str, settings: dict[str, Any], pictures: dict[str, Any]) -> dict[str, Any]:
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
        save_file(tiny_vision.weights(shapes), folder / "model.safetensors", {"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
        tiny_vision.write_tokenizer(folder, config["model_type"])
        model, report = kind.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
        assert not any(report.values()), report
        processor = _processor(folder, name.partition("For")[0], pictures, config)
    model.eval()
    mark = tiny_vision.place(config["model_type"])
    with torch.inference_mode():
        cases = [_computed(model, processor, mark, case) for case in tiny_vision.CASES]
    return {"config": config, "pictures": pictures, "shapes": shapes, "cases": cases}


def _processor(folder: Path, name: str, pictures: dict[str, Any], config: dict[str, Any]) -> Any:
    import transformers

    names = {"image_token": "<image>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    if name == "Gemma3":
        names["image_token"] = "<image_soft_token>"
    elif name.startswith("Qwen"):
        names = {}
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<|endoftext|>", extra_special_tokens=names
    )
    kind, more = PROCESSORS[name]
    if name == "Llava":
        clip = config["vision_config"]["model_type"] == "clip_vision_model"
        more = {**more, "num_additional_image_tokens": int(clip)}
        more["vision_feature_select_strategy"] = config["vision_feature_select_strategy"]
    parts: dict[str, Any] = {"tokenizer": words}
    if extractor := pictures.get("feature_extractor_type"):
        parts["feature_extractor"] = getattr(transformers, extractor).from_dict(pictures)
    else:
        images = getattr(transformers, pictures["image_processor_type"] + "Pil")
        parts["image_processor"] = images.from_dict(pictures)
    processor_class = getattr(transformers, kind)
    processor = processor_class.__new__(processor_class)  # those with videos want torchvision
    processor_class.check_argument_for_proper_class = lambda self, name, argument: type(argument)
    try:
        processor.__init__(**parts, **more)
    except (TypeError, ImportError, ValueError):
        processor.__init__(**parts, video_processor=None, **more)
    return processor


def _computed(model: Any, processor: Any, mark: str, case: tuple[str | int, ...]) -> dict[str, Any]:
    from PIL import Image

    text = "".join(mark if isinstance(part, int) else part for part in case)
    numbers = [part for part in case if isinstance(part, int)]
    if not numbers:
        inputs = processor.tokenizer([text], return_tensors="pt")
    elif hasattr(processor, "feature_extractor"):
        sounds = [_samples(tiny_vision.medium(number, hears=True)) for number in numbers]
        inputs = processor(text=[text], audio=sounds, sampling_rate=tiny_vision.RATE, return_tensors="pt")
    else:
        images = [Image.open(BytesIO(tiny_vision.picture(number))) for number in numbers]
        inputs = processor(text=[text], images=[images], return_tensors="pt")
    logits = model(**inputs).logits[0, -1]
    return {"ids": inputs["input_ids"][0].tolist(), "logits": [round(x, 6) for x in logits.tolist()]}


def _samples(file: bytes) -> np.ndarray:
    with wave.open(BytesIO(file)) as sound:
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32) / 2**15


if __name__ == "__main__":
    record(__file__, make, tiny_vision.RECORD)
