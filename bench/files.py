"""The measured model in other forms, kept under build/: weights of another type, or mlx-lm's layout."""

import shutil
from pathlib import Path

import llama_cpp.llama_cpp as lib

from bench.build_llama_server import ROOT
from nitro.convert import gguf_to_mlx

TYPES = {"F32": lib.LLAMA_FTYPE_ALL_F32, "Q4_0": lib.LLAMA_FTYPE_MOSTLY_Q4_0}


def quantized(model: Path, type: str) -> Path:
    """The model as a GGUF of this type. What its weights have lost to quantisation stays lost."""
    made = ROOT / "build" / "models" / f"{model.stem}-as-{type}.gguf"
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


def mlx_folder(model: Path) -> Path:
    """A folder in mlx-lm's layout with the GGUF's weights as float32, made by our own converter without its proof."""
    made = ROOT / "build" / "models" / f"{model.stem}-as-mlx"
    if not made.is_dir():
        plain = quantized(model, "F32")
        part = made.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        gguf_to_mlx.convert(plain, part)
        part.rename(made)
    return made
