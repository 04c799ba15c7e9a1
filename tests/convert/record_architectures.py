"""Makes tiny checkpoints of many architectures, converts them by llama.cpp's converter, compares what computes them,
and writes data/architectures.json: `python tests/convert/record_architectures.py [KIND…]`. test_architectures.py does
the same to check what is recorded."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

import numpy as np  # noqa: E402
from llama_scorer import LlamaScorer  # noqa: E402
from mlx_scorer import MlxScorer  # noqa: E402
from real_models import write_texts  # noqa: E402
from test_same_file import random_tokens  # noqa: E402
from tiny_models import CONTEXT, vocabulary  # noqa: E402

from bench.converted_families import RECORDED, recipe  # noqa: E402
from nitro.convert import environments, llama_cpp_converter  # noqa: E402
from nitro.engines.runner import LoadError  # noqa: E402
from nitro.gguf import header  # noqa: E402

# by the kind's name or by model_type
ON_THE_HUB: dict[str, dict[str, Any]] = {
    "qwen3_moe": {"num_experts": 8},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "qwen3_5_text": {"model_type": "qwen3_5"},
    "qwen3_5_moe_text": {"model_type": "qwen3_5_moe"},
    "exaone4": {"sliding_window_pattern": None},
    "exaone4-windows": {"sliding_window_pattern": "LLLG"},
    "gemma4_text": {"global_head_dim": 32, "num_global_key_value_heads": 1},
    "minimax_m2": {"shared_intermediate_size": 0},
    "olmo3": {"rope_theta": 500000.0},
    "lfm2": {"block_dim": 64, "block_ff_dim": 128, "block_multiple_of": 256, "block_ffn_dim_multiplier": 1.0},
}
TOKENS = random_tokens(200)
NOT_LOADED = "mlx-lm does not load what this version of transformers writes."


def make(folder: Path, kinds: list[str]) -> None:
    """Checkpoints of these kinds, or all, each with a GGUF beside its folder."""
    script = HERE / "architectures" / "make.py"
    python = environments.python("transformers", print)
    subprocess.run([python, "-P", script, folder, json.dumps(TOKENS), *kinds], check=True, capture_output=True)
    words = folder / "vocabulary.json"
    words.write_text(json.dumps(vocabulary()))
    script = HERE / "architectures" / "convert.py"
    converter = llama_cpp_converter.folder(print)
    python = environments.python("converter", print)
    subprocess.run([python, "-P", script, converter, folder, words], check=True, capture_output=True)


def measured(folder: Path, kind: str) -> dict[str, Any]:
    """What is recorded of a kind: its recipe, and the mean divergence in nats of what computes it. "llama.cpp": from
    transformers' own logits. "mlx": from llama.cpp's. "mlx, hf": of the checkpoint itself, from transformers'. A
    sentence in place of a number says why there is none."""
    file = folder / f"{kind}.gguf"
    original = _shares(np.load(folder / kind / "logits.npy"))
    theirs = _scored(LlamaScorer(file, context=CONTEXT, exact=True))
    config = json.loads((folder / kind / "config.json").read_text())
    write_texts(header.read(file), folder / kind, {})
    (folder / kind / "config.json").write_text(json.dumps(_as_before(kind, config)))
    return {
        **recipe(file),
        "model_type": config["model_type"],
        "llama.cpp": divergence(original, theirs),
        "mlx": _on_mlx(file, theirs),
        "mlx, hf": _on_mlx(folder / kind, original),
    }


def _on_mlx(model: Path, theirs: np.ndarray) -> float | str:
    """MLX's divergence, or why it does not open the model."""
    try:
        return divergence(theirs, _scored(MlxScorer(model, context=CONTEXT)))
    except LoadError as error:
        if not str(error).startswith("MLX cannot open"):
            return NOT_LOADED
        said = str(error).replace(f"{model}", "it").removeprefix("MLX cannot open ")
        said = said.removeprefix("it: ").removeprefix("it: ")
        return re.split(r" Serve it| Convert |; supported are", said)[0].removesuffix(".") + "."


def _as_before(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the keys that the Hub's checkpoints have, and transformers 5 no longer writes."""
    positions = config.get("rope_parameters") or {}
    scaling = None if positions.get("rope_type", "default") == "default" else positions
    return {
        "rope_scaling": scaling,
        **positions,
        **config,
        **ON_THE_HUB.get(kind, ON_THE_HUB.get(config["model_type"], {})),
    }


def divergence(theirs: np.ndarray, ours: np.ndarray) -> float:
    """Mean Kullback–Leibler divergence in nats, to two digits."""
    return float(f"{(np.exp(theirs) * (theirs - ours)).sum(axis=1).mean():.1e}")


def _scored(scorer: LlamaScorer | MlxScorer) -> np.ndarray:
    logits = scorer.logits(TOKENS, [1, len(TOKENS) - 1])
    scorer.close()
    return _shares(logits)


def _shares(logits: np.ndarray) -> np.ndarray:
    exact = logits.astype(np.float64)
    return exact - np.logaddexp.reduce(exact, axis=1, keepdims=True)


def main(kinds: list[str]) -> None:
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder, kinds)
        for file in sorted(folder.glob("*.gguf")):
            recorded[file.stem] = measured(folder, file.stem)
            print(file.stem, *(recorded[file.stem][key] for key in ("llama.cpp", "mlx", "mlx, hf")), flush=True)
    rows = (f"{json.dumps(name)}: {json.dumps(recorded[name], sort_keys=True)}" for name in sorted(recorded))
    RECORDED.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
