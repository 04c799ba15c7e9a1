"""How fast conversions are: GGUF → MLX beside copying the file, HF → GGUF and HF → MLX beside the upstream commands.

The proof is left out. All take turns, round by round, on one disk, and what is written is synced each time. Each
upstream command runs in the environment that Nitro has made for it. Run: `python -m bench.convert`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

from bench import report
from nitro.bench.stats import Ratio, turns
from nitro.convert import checkpoint, environments, llama_cpp_converter, native, output, progress, routes
from nitro.convert.plan import ConversionPlan
from nitro.models import default_model

LAYER_COPIES = 14  # of the embedded model: 1 GB
Conversion = Callable[[Path], None]  # makes the target at this path


class HiddenBar:
    """A progress bar that is not shown."""

    def measure(self, path: Path) -> None:
        """Measure nothing."""


def enlarged(model: Path, target: Path, times: int) -> Path:
    """Write a model with its layers several times over. Of a small model's conversion most is the vocabulary."""
    reader = GGUFReader(model)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(target, architecture)
    blocks = reader.fields[f"{architecture}.block_count"].contents()
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            value = blocks * times if name.endswith(".block_count") else field.contents()
            writer.add_key_value(name, value, field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        kind, _, rest = tensor.name.partition(".")
        number, _, name = rest.partition(".")
        copies = range(times) if kind == "blk" else [0]
        names = [f"blk.{int(number) + blocks * copy}.{name}" if kind == "blk" else tensor.name for copy in copies]
        for each in names:
            writer.add_tensor(each, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def ours(source: Path, to: str) -> Conversion:
    """Nitro's conversion, without its proof."""

    def make(target: Path) -> None:
        plan = ConversionPlan(checkpoint.read(source), to, target)
        ((_, step),) = routes.STEPS[plan.source.kind, to]
        step(plan, source, target, HiddenBar())  # type: ignore[arg-type]

    return make


def copy(source: Path) -> Conversion:
    """Copying the file."""
    return lambda target: shutil.copyfile(source, target) and None


def converter(source: Path) -> Conversion:
    """llama.cpp's own converter."""
    script = llama_cpp_converter.folder(progress.notify) / "convert_hf_to_gguf.py"
    return lambda target: command("converter", [str(script), str(source), "--outfile", str(target), "--outtype", "f32"])


def mlx_lm(source: Path) -> Conversion:
    """mlx-lm's own converter."""
    return lambda target: command(
        "mlx", ["-m", "mlx_lm", "convert", "--hf-path", str(source), "--mlx-path", str(target)]
    )


def command(backend: str, arguments: list[str]) -> None:
    """Run Python in a backend's environment. Raises CalledProcessError."""
    interpreter = environments.python(backend, progress.notify)
    subprocess.run(
        [str(interpreter), *arguments], check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )


def measure(conversion: Conversion, target: Path) -> float:
    """Seconds until the result is on the disk; it is removed afterwards."""
    os.sync()  # so that writes of others are not counted
    began = time.perf_counter()
    conversion(target)
    output.sync(target)
    seconds = time.perf_counter() - began
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return seconds


@dataclass(frozen=True)
class Comparison:
    """A row of the table: Nitro's conversion, and what it is compared with. `size`: bytes of the source."""

    title: str
    other_title: str
    size: int
    ours: Conversion
    other: Conversion

    def row(self, folder: Path, rounds: int) -> list[str]:
        """Measure both in turn. The cells have the best of the rounds, and the ratio."""
        conversions = (self.ours, self.other)
        times: list[list[float]] = [[], []]
        for order in turns(rounds):
            for side in order:
                times[side].append(measure(conversions[side], folder / "made"))
        best = [f"{min(of_side):.2f} s" for of_side in times]
        return [self.title, self.other_title, f"{self.size / 1e6:.0f} MB", *best, str(Ratio.of(*times))]


def main() -> None:
    """Measure all conversions, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m bench.convert", description=__doc__)
    parser.add_argument(
        "--model", type=Path, default=default_model.path(), help="a GGUF file; default: the embedded model"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nitro-bench-") as scratch:
        folder = Path(scratch)
        mlx = folder / "mlx"
        hf = folder / "hf"
        native.convert("gguf_to_mlx", options.model, mlx, lambda: None)
        native.convert("mlx_to_hf", mlx, hf, lambda: None)
        large = enlarged(options.model, folder / "large.gguf", LAYER_COPIES)
        hf_size = output.size(hf)
        comparisons = [
            *(
                Comparison("GGUF → MLX", "copying the file", output.size(file), ours(file, "mlx"), copy(file))
                for file in (options.model, large)
            ),
            Comparison("HF → GGUF", "llama.cpp's converter", hf_size, ours(hf, "gguf"), converter(hf)),
            Comparison("HF → MLX", "mlx_lm.convert", hf_size, ours(hf, "mlx"), mlx_lm(hf)),
        ]
        rows = [comparison.row(folder, options.rounds) for comparison in comparisons]
    table = report.table(["conversion", "compared with", "source", "Nitro", "the other", "ratio of times"], rows)
    print(table)
    if not options.no_write:
        setting = f"{report.setting('bench.convert')}\n- {options.model.name}; the best of {options.rounds} rounds"
        note = "Seconds until the result is synced, including the start of the process; without the proof."
        report.write(
            "Conversion",
            f"{setting}\n\n{note} Ratios are Nitro ÷ the other within a round: median (lowest–highest).\n\n{table}",
        )


if __name__ == "__main__":
    sys.exit(main())
