"""Tiny random models that see or hear, as transformers writes them, and their GGUFs by llama.cpp's converter:
`make.py CONVERTER FOLDER KIND…`, in the converter's environment.

FOLDER has `tokenizer.json`, `tokenizer_config.json`, and `prompt.npz`: `before`, `after` (token ids) and, by the kind's
name, pictures (uint8 [pictures, height, width, 3]), which are as large as the model wants them, or sounds (int16
[sounds, samples], at 16 kHz). What transformers computes with these folders is compute.py's.
"""

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

CONVERTER, FOLDER, WANTED = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
VOCABULARY = 1024
TEXT = {
    **{"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048},
}
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # Qwen2-VL's
PATCH, MERGED = 14, 2
WHISPER = {
    **{"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128, "sampling_rate": 16000},
    **{"hop_length": 160, "chunk_length": 30, "n_fft": 400},
}
PREPROCESSORS: dict[str, dict[str, Any]] = {
    "qwen2vl": {
        **{"image_processor_type": "Qwen2VLImageProcessor", "image_mean": MEAN, "image_std": STD, "merge_size": MERGED},
        **{"min_pixels": 3136, "max_pixels": 1003520, "patch_size": PATCH, "temporal_patch_size": 2},
    },
    "gemma3": {
        **{"image_processor_type": "Gemma3ImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        **{"size": {"height": 224, "width": 224}, "image_seq_length": 16},
    },
    "smolvlm": {
        **{"image_processor_type": "SmolVLMImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        **{"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}, "do_image_splitting": True},
    },
    "qwen2audio": WHISPER,
}


def qwen2vl() -> Any:
    """M-RoPE. Its tower has three layers, since the converter leaves none out then."""
    rope = {"type": "mrope", "mrope_section": [2, 3, 3]}
    text = {**TEXT, **ENDS, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": rope}
    vision = {"depth": 3, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2, "patch_size": PATCH}
    vision |= {"spatial_merge_size": MERGED, "temporal_patch_size": 2, "in_channels": 3}
    ids = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4}
    config = transformers.Qwen2VLConfig(
        text_config={**text, "tie_word_embeddings": False}, vision_config=vision, **ids, **ENDS
    )
    return transformers.Qwen2VLForConditionalGeneration(config)


def gemma3() -> Any:
    """The rows of an image all see each other."""
    text = {**TEXT, "head_dim": 16, "sliding_window": 64, "query_pre_attn_scalar": 16}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"vision_use_head": False, "image_size": 224, "patch_size": PATCH}
    ids = {"boi_token_index": 11, "eoi_token_index": 12, "image_token_index": 13}
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=16, **ids)
    return transformers.Gemma3ForConditionalGeneration(config)


def smolvlm() -> Any:
    """SigLIP's tower, four of whose patches side by side are a row, and a layer on top."""
    text = {**TEXT, **ENDS, "model_type": "llama", "pad_token_id": 0, "tie_word_embeddings": False}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision |= {"image_size": 56, "patch_size": PATCH}
    config = transformers.SmolVLMConfig(
        text_config=text, vision_config=vision, image_token_id=5, scale_factor=2, tie_word_embeddings=False
    )
    return transformers.SmolVLMForConditionalGeneration(config)


def qwen2audio() -> Any:
    """Whisper's encoder, two of whose positions are a row. Its tower has three layers, as above."""
    tower = {"num_mel_bins": 128, "max_source_positions": 1500, "model_type": "qwen2_audio_encoder", "d_model": 32}
    tower |= {"encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    text = {**TEXT, **ENDS, "model_type": "qwen2", "tie_word_embeddings": False}
    config = transformers.Qwen2AudioConfig(audio_config=tower, text_config=text, audio_token_index=9)
    return transformers.Qwen2AudioForConditionalGeneration(config)


KINDS = {"qwen2vl": qwen2vl, "gemma3": gemma3, "smolvlm": smolvlm, "qwen2audio": qwen2audio}
TEXT_CLASSES = {"smolvlm": "VLlama3ForCausalLM"}  # as the hub's folders name them
SURE = {"gemma3": 0.25}  # of those whose last layer is the first: one of 1 would be sure of every token


def make(kind: str) -> None:
    """The checkpoint in a folder of its kind."""
    torch.manual_seed(0)
    model = KINDS[kind]().float().eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim >= 2:
                spread = SURE.get(kind, 1.0) if "embed_tokens" in name else (2.0 / weights[0].numel()) ** 0.5
                weights.normal_(0, spread)
            else:  # norms and biases
                weights.add_(torch.randn_like(weights) / 8)
    folder = FOLDER / kind
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    if kind in TEXT_CLASSES:
        config["text_config"]["architectures"] = [TEXT_CLASSES[kind]]
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [type(model).__name__]}))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSORS[kind]))
    for file in FOLDER.glob("tokenizer*.json"):
        shutil.copy(file, folder)


def convert(kind: str, *options: str) -> None:
    """By the converter's script, told a pre-tokenizer for the vocabulary that it does not know."""
    sys.argv = [str(CONVERTER / "convert_hf_to_gguf.py"), str(FOLDER / kind), "--outtype", "f32", *options]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    sys.path[:0] = [str(CONVERTER), str(CONVERTER / "gguf-py")]
    import conversion.base

    conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "smollm"
    for kind in WANTED:
        make(kind)
        convert(kind, "--outfile", str(FOLDER / f"{kind}.gguf"))
        convert(kind, "--mmproj", "--outfile", str(FOLDER / f"{kind}-mmproj.gguf"))
