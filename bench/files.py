"""The measured model in other forms, kept under build/: weights of another type, or mlx-lm's layout. And a model that
is 256 numbers wide, with random weights."""

import shutil
from pathlib import Path

import llama_cpp.llama_cpp as lib

from bench import random_adapter, random_gguf, random_projector
from bench.build_llama_server import ROOT
from nitro.gguf import header
from nitro.models import default_model

TYPES = {
    "F32": lib.LLAMA_FTYPE_ALL_F32,
    "F16": lib.LLAMA_FTYPE_MOSTLY_F16,
    "BF16": lib.LLAMA_FTYPE_MOSTLY_BF16,
    "Q8_0": lib.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q4_0": lib.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q4_K_M": lib.LLAMA_FTYPE_MOSTLY_Q4_K_M,
}
MODELS = ROOT / "build" / "models"


def quantized(model: Path, type: str) -> Path:
    """The model as a GGUF of this type. What its weights have lost to quantisation stays lost."""
    made = MODELS / f"{model.stem}-as-{type}.gguf"
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(".part")
        parameters = lib.llama_model_quantize_default_params()
        parameters.ftype = TYPES[type]
        parameters.allow_requantize = True
        if lib.llama_model_quantize(str(model).encode(), str(part).encode(), parameters):
            raise RuntimeError(f"llama.cpp cannot make {type} of {model}")
        part.rename(made)
    return made


def narrow(type: str) -> Path:
    """A GGUF of this type, 256 wide, whose kernels multiply several rows at once."""
    made = MODELS / "narrow.gguf"
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        random_gguf.write(made.with_suffix(".part"), random_gguf.SHAPES["tiny"]).rename(made)
    return quantized(made, type)


def projector() -> Path:
    """A projector for the embedded model, with random weights."""
    made = MODELS / "random-mmproj.gguf"
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        width = header.read(default_model.path()).get("{arch}.embedding_length")
        random_projector.write(made.with_suffix(".part"), width).rename(made)
    return made


def adapter(model: Path, number: int) -> Path:
    """A LoRA of this number for a GGUF, with random numbers."""
    made = MODELS / f"{model.stem}-lora-{number}.gguf"
    if not made.is_file():
        made.parent.mkdir(parents=True, exist_ok=True)
        random_adapter.write(made.with_suffix(".part"), model, number).rename(made)
    return made


def mlx_folder(model: Path, type: str = "F32") -> Path:
    """A folder in mlx-lm's layout with the GGUF's weights as F32 or BF16, made by our own converter without its
    proof."""
    made = MODELS / (f"{model.stem}-as-mlx" if type == "F32" else f"{model.stem}-as-mlx-{type}")
    if not made.is_dir():
        plain = quantized(model, type)
        part = made.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        from nitro.convert import gguf_to_mlx  # needs MLX, which not every machine has

        gguf_to_mlx.convert(plain, part)
        part.rename(made)
    return made
