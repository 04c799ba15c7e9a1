"""How fast conversions are: GGUF → MLX beside copying the file; HF → GGUF and HF → MLX beside the upstream commands.

The proof is left out. All in turn, round by round, on one disk, what is written synced each time; each upstream command
runs in the environment that Nitro has made for it. Run: `python -m bench.convert`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

from bench import report
from nitro.bench.stats import Ratio, turns
from nitro.convert import checkpoint, environments, llama_cpp_converter, native, output, progress, routes
from nitro.convert.plan import Plan
from nitro.models import default_model

TIMES = 14  # the embedded model's layers, so often, are 1 GB
Way = Callable[[Path], None]  # makes the target


class Silent:
    """A bar that nobody sees."""

    def look(self, path: Path) -> None:
        pass


def enlarged(model: Path, target: Path, times: int) -> Path:
    """A model with its layers several times over: of a small one's conversion the vocabulary is most."""
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


def ours(source: Path, to: str) -> Way:
    def make(target: Path) -> None:
        plan = Plan(checkpoint.read(source), to, target)
        ((_, step),) = routes.STEPS[plan.source.kind, to]
        step(plan, source, target, Silent())  # type: ignore[arg-type]

    return make


def copy(source: Path) -> Way:
    return lambda target: shutil.copyfile(source, target) and None


def converter(source: Path) -> Way:
    script = llama_cpp_converter.converter(progress.say) / "convert_hf_to_gguf.py"
    return lambda target: command("converter", [str(script), str(source), "--outfile", str(target), "--outtype", "f32"])


def mlx_lm(source: Path) -> Way:
    return lambda target: command(
        "mlx", ["-m", "mlx_lm", "convert", "--hf-path", str(source), "--mlx-path", str(target)]
    )


def command(backend: str, arguments: list[str]) -> None:
    interpreter = environments.python(backend, progress.say)
    subprocess.run(
        [str(interpreter), *arguments], check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )


def taken(way: Way, target: Path) -> float:
    """Seconds until the result is on the disk."""
    os.sync()  # what others wrote is not ours to pay
    began = time.perf_counter()
    way(target)
    output.sync(target)
    seconds = time.perf_counter() - began
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return seconds


def row(what: str, beside: str, size: int, ways: tuple[Way, Way], folder: Path, rounds: int) -> list[str]:
    times: tuple[list[float], list[float]] = [], []
    for order in turns(rounds):
        for which in order:
            times[which].append(taken(ways[which], folder / "made"))
    ratio = Ratio.of(*times)
    best = [f"{min(each):.2f} s" for each in times]
    return [what, beside, f"{size / 1e6:.0f} MB", *best, str(ratio)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.convert", description=__doc__)
    parser.add_argument(
        "--model", type=Path, default=default_model.path(), help="a GGUF file; default: the embedded model"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nitro-bench-") as scratch:
        folder = Path(scratch)
        mlx, hf = folder / "mlx", folder / "hf"
        native.convert("gguf_to_mlx", options.model, mlx, lambda: None)
        native.convert("mlx_to_hf", mlx, hf, lambda: None)
        large = enlarged(options.model, folder / "large.gguf", TIMES)
        whole = output.size(hf)
        arguments = folder, options.rounds
        rows = [
            *(
                row("GGUF → MLX", "copying the file", output.size(file), (ours(file, "mlx"), copy(file)), *arguments)
                for file in (options.model, large)
            ),
            row("HF → GGUF", "llama.cpp's converter", whole, (ours(hf, "gguf"), converter(hf)), *arguments),
            row("HF → MLX", "mlx_lm.convert", whole, (ours(hf, "mlx"), mlx_lm(hf)), *arguments),
        ]
    made = report.table(["what", "beside", "source", "Nitro", "the other", "ratio of times"], rows)
    print(made)
    if not options.no_write:
        setting = f"{report.setting('bench.convert')}\n- {options.model.name}; the best of {options.rounds} rounds"
        note = "Seconds until the result is synced, the process's start included; without the proof."
        report.write(
            "Conversion",
            f"{setting}\n\n{note} Ratios are Nitro ÷ the other within a round: median (least–most).\n\n{made}",
        )


if __name__ == "__main__":
    sys.exit(main())
