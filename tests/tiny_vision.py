"""Tiny random models that see or hear, in transformers' layout, one of each kind that MLX opens.

data/vision.json has, for each kind, its configurations, the shapes of its weights as transformers writes them, and what
transformers computes for CASES: `python tests/convert/record_vision.py` makes it. The values of the weights follow from
their names, pictures and sounds from their numbers.
"""

import json
import wave
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

RECORD = Path(__file__).parent / "data" / "vision.json"
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<|vision_start|>", "<|vision_end|>")
MARKS += ("<|image_pad|>", "<|video_pad|>", "<start_of_image>", "<end_of_image>", "<image_soft_token>")
MARKS += (
    "<fake_token_around_image>",
    "<global-img>",
    *(f"<row_{i}_col_{k}>" for i in range(1, 4) for k in range(1, 4)),
)
MARKS += ("<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>")
ID = {mark: 256 + i for i, mark in enumerate(MARKS)}
VOCABULARY = 288
END = ID["<|im_end|>"]

TEXT: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5}
TEXT |= {"bos_token_id": 0, "eos_token_id": END, "pad_token_id": 0}
SIGLIP: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SIGLIP |= {"image_size": 56, "patch_size": 14}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
QWEN: dict[str, Any] = {
    "text_config": {**TEXT, "rope_parameters": MROPE, "tie_word_embeddings": False},
    "image_token_id": ID["<|image_pad|>"],
    "video_token_id": ID["<|video_pad|>"],
    "vision_start_token_id": ID["<|vision_start|>"],
    "vision_end_token_id": ID["<|vision_end|>"],
}
QWEN_TOWER: dict[str, Any] = {"depth": 3, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2}
QWEN_TOWER |= {"temporal_patch_size": 2, "in_channels": 3}
QWEN_PICTURES = {"min_pixels": 3136, "max_pixels": 28 * 28 * 24, "patch_size": 14, "temporal_patch_size": 2}
QWEN_PICTURES |= {"merge_size": 2, "image_processor_type": "Qwen2VLImageProcessor"}
SQUARE = {"size": {"height": 56, "width": 56}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}

RATE = 16000  # samples of a sound in a second
WINDOW = 2  # seconds, where real models have 30
SOUNDS: dict[str, Any] = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 16, "n_fft": 400}
SOUNDS |= {"sampling_rate": RATE, "hop_length": 160, "chunk_length": WINDOW}

# by kind: transformers' class of the model, what its configuration is made of, and its preprocessor_config.json
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "qwen2_vl": (
        "Qwen2VLForConditionalGeneration",
        {**QWEN, "vision_config": {**QWEN_TOWER, "embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}},
        QWEN_PICTURES,
    ),
    "qwen2_5_vl": (
        "Qwen2_5_VLForConditionalGeneration",
        {
            **QWEN,
            "vision_config": {
                **QWEN_TOWER,
                "hidden_size": 32,
                "intermediate_size": 48,
                "out_hidden_size": 64,
                "window_size": 56,
                "fullatt_block_indexes": [2],
            },
        },
        QWEN_PICTURES,
    ),
    "gemma3": (
        "Gemma3ForConditionalGeneration",
        {
            "text_config": {
                **TEXT,
                "head_dim": 16,
                "num_hidden_layers": 3,
                "query_pre_attn_scalar": 16,
                "sliding_window": 24,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
                "sliding_window_pattern": 2,
            },
            "vision_config": {**SIGLIP, "vision_use_head": False},
            "mm_tokens_per_image": 4,
            "boi_token_index": ID["<start_of_image>"],
            "eoi_token_index": ID["<end_of_image>"],
            "image_token_index": ID["<image_soft_token>"],
        },
        {**SQUARE, "image_processor_type": "Gemma3ImageProcessor", "image_seq_length": 4},
    ),
    "llava, siglip": (
        "LlavaForConditionalGeneration",
        {
            "text_config": {**TEXT, "model_type": "llama", "tie_word_embeddings": False},
            "vision_config": {**SIGLIP, "model_type": "siglip_vision_model", "vision_use_head": False},
            "image_token_index": ID["<image>"],
            "vision_feature_select_strategy": "full",
            "vision_feature_layer": -1,
        },
        {**SQUARE, "image_processor_type": "SiglipImageProcessor"},
    ),
    "llava, clip": (
        "LlavaForConditionalGeneration",
        {
            "text_config": {**TEXT, "model_type": "qwen2", "tie_word_embeddings": True},
            "vision_config": {**SIGLIP, "model_type": "clip_vision_model", "projection_dim": 32},
            "image_token_index": ID["<image>"],
            "vision_feature_select_strategy": "default",
            "vision_feature_layer": -2,
        },
        {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": 56},
            "crop_size": {"height": 56, "width": 56},
        },
    ),
    "idefics3": (
        "Idefics3ForConditionalGeneration",
        {
            "text_config": {**TEXT, "model_type": "llama"},
            "vision_config": SIGLIP,
            "image_token_id": ID["<image>"],
            "scale_factor": 2,
        },
        {
            **SQUARE,
            "image_processor_type": "Idefics3ImageProcessor",
            "size": {"longest_edge": 112},
            "max_image_size": {"longest_edge": 56},
            "do_image_splitting": True,
        },
    ),
    "smolvlm": (
        "SmolVLMForConditionalGeneration",
        {
            "text_config": {**TEXT, "model_type": "llama"},
            "vision_config": SIGLIP,
            "image_token_id": ID["<image>"],
            "scale_factor": 2,
        },
        {
            **SQUARE,
            "image_processor_type": "SmolVLMImageProcessor",
            "size": {"longest_edge": 112},
            "max_image_size": {"longest_edge": 56},
            "do_image_splitting": True,
        },
    ),
    "qwen2_audio": (
        "Qwen2AudioForConditionalGeneration",
        {
            "text_config": {**TEXT, "model_type": "qwen2", "tie_word_embeddings": False},
            "audio_config": {
                "d_model": 32,
                "encoder_layers": 2,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 48,
                "num_mel_bins": 16,
                "max_source_positions": 100,
            },
            "audio_token_index": ID["<|AUDIO|>"],
        },
        SOUNDS,
    ),
}
# what a chat template writes for a medium, by model_type, and what transformers' processors put around that
PLACES = {"gemma3": "<start_of_image>", "qwen2_audio": "<|audio_bos|><|AUDIO|><|audio_eos|>"} | dict.fromkeys(
    ("qwen2_vl", "qwen2_5_vl"), "<|vision_start|><|image_pad|><|vision_end|>"
)
HEARING = ("qwen2_audio",)  # the others see
AROUND = {"gemma3": "\n\n"}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'KIND' %}PLACE{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    "<|im_start|>"
)
# what is computed: texts, and numbers of pictures or sounds
CASES: tuple[tuple[str | int, ...], ...] = (
    ("What is in ", 0, "? It is"),
    (1, "and", 2, "differ: the first one is tall, the second one is wide, and one of them is"),
    ("No picture at all, but a text that is longer than the window of some layers.",),
)
SIZES = ((112, 84), (70, 140), (154, 56))  # width, height of the pictures
SECONDS = (0.41, 1.3, 0.835)  # of the sounds


def picture(number: int) -> bytes:
    """A PNG."""
    return png(*SIZES[number], number)


def medium(number: int, hears: bool) -> bytes:
    """A picture or, for who hears, a sound."""
    return wav(SECONDS[number], number) if hears else picture(number)


def wav(seconds: float, seed: int = 0) -> bytes:
    """A sound of tones that come and go, and noise."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    loud = sum(np.sin(2 * np.pi * tone * time) for tone in random.uniform(80, 4000, 4))
    loud = loud * np.sin(np.pi * random.uniform(1, 4) * time + 1) + random.normal(0, 0.3, time.size)
    return wave_file(np.int16(loud * 6000))


def wave_file(samples: np.ndarray, rate: int = RATE) -> bytes:
    """WAV. `samples`: int16 [n], or [n, channels]."""
    file = BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((samples[0].size, 2, rate, 0, "NONE", ""))
        written.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def png(width: int, height: int, seed: int = 0) -> bytes:
    """A picture of soft patches."""
    random = np.random.default_rng(seed)
    rough = random.integers(0, 256, (-(-height // 7), -(-width // 7), 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(rough).resize((width, height), Image.Resampling.BILINEAR).save(file, "PNG")
    return file.getvalue()


def record() -> dict[str, Any]:
    """By kind: "config", "pictures" (preprocessor_config.json), "shapes", and "cases": of each of CASES its "ids" as
    transformers has them, and the "logits" behind the last."""
    found: dict[str, Any] = json.loads(RECORD.read_text())
    return found


def weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Values that follow from the names, of a size at which the layers do something."""
    return {name: _values(name, shape) for name, shape in shapes.items()}


def _values(name: str, shape: list[int]) -> np.ndarray:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    values = random.standard_normal(shape).astype(np.float32)
    if name.endswith("weight") and len(shape) == 1:  # of a norm
        return 1 + values / 4
    return values / 4 if len(shape) == 1 else values * np.float32(1.5 / np.prod(shape[1:]) ** 0.5)


def write(folder: Path, kind: str, config: dict[str, Any] | None = None) -> Path:
    """A folder with all that a model's has. `config`: settings over the recorded ones."""
    known = record()[kind]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**known["config"], **(config or {})}))
    (folder / "preprocessor_config.json").write_text(json.dumps(known["pictures"]))
    save_file(weights(known["shapes"]), folder / "model.safetensors", {"format": "pt"})
    write_tokenizer(folder, known["config"]["model_type"])
    return folder


def place(model_type: str) -> str:
    """What its chat template writes for a medium."""
    return PLACES.get(model_type, "<image>")


def template(model_type: str) -> str:
    """Its chat template."""
    return TEMPLATE.replace("PLACE", place(model_type)).replace("KIND", "audio" if model_type in HEARING else "image")


def write_tokenizer(folder: Path, model_type: str) -> None:
    """A token for each byte, and MARKS; and a chat template."""
    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    words = Tokenizer(models.BPE(vocab=letters, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    words.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": MARKS[0], "eos_token": "<|im_end|>"}
    about["chat_template"] = template(model_type)
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
