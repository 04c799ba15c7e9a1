"""Makes tiny checkpoints of many architectures, converts them by llama.cpp's converter, compares what computes them,
and writes data/architectures.json: `python tests/convert/record_architectures.py [KIND…]`. test_architectures.py does
the same to check what is recorded."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

import numpy as np  # noqa: E402
from converted_families import RECORDED, recipe  # noqa: E402
from llama_scorer import LlamaScorer  # noqa: E402
from mlx_scorer import MlxScorer  # noqa: E402
from test_same_file import random_tokens  # noqa: E402
from tiny_models import CONTEXT, vocabulary  # noqa: E402

from nitro.convert import environments, llama_cpp_converter  # noqa: E402
from nitro.engines.runner import CannotOpen, LoadError  # noqa: E402

TOKENS = random_tokens(200)


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
    """What is recorded of a kind: its recipe, and by what computes it the mean divergence in nats. "llama.cpp": from
    transformers' own logits. "mlx": from llama.cpp's. A sentence in place of a number: why there is none."""
    file = folder / f"{kind}.gguf"
    original = _shares(np.load(folder / kind / "logits.npy"))
    theirs = _scored(LlamaScorer(file, context=CONTEXT, exact=True))
    config = json.loads((folder / kind / "config.json").read_text())
    found: dict[str, Any] = {
        **recipe(file),
        "model_type": config["model_type"],
        "llama.cpp": divergence(original, theirs),
    }
    try:
        found["mlx"] = divergence(theirs, _scored(MlxScorer(file, context=CONTEXT)))
    except (CannotOpen, LoadError) as error:
        found["mlx"] = (
            str(error).replace(f"{file}", "It").removeprefix("MLX cannot open it: ").partition(" Serve it")[0]
        )
    return found


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
            print(file.stem, recorded[file.stem]["llama.cpp"], recorded[file.stem]["mlx"], flush=True)
    rows = (f"{json.dumps(name)}: {json.dumps(recorded[name], sort_keys=True)}" for name in sorted(recorded))
    RECORDED.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
