"""Checks Nitro on this machine's GPU, in under eight minutes. Run: `python -m scripts.gpu_check`.

llama.cpp must be built with CUDA or Metal (`make install` does that), and llama-server too (`--llama-server`, or it is
built). Each part is a paragraph or a table of the section "On a GPU" in bench/results.md. A part that fails says why
and does not keep the others from running; the exit status is then 1.

`--dry-run` runs every part on the CPU, with tiny models, to see that the script itself works.
"""

import argparse
import asyncio
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench import attention, peers, processes, random_gguf, report, serve, timed_llama
from bench.build_llama_server import ROOT
from bench.measures import rows
from bench.workloads import DRAFTED, SERVER, UNFLAGGED, Workload
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import WARM, independent, real_texts
from nitro.models import default_model

LIMIT = 460.0  # seconds; a part that would begin later is left out
SECTION = "On a GPU"
NO_GPU = 2  # exit status
MAX_KL = 0.05  # nats, in the mean; kernels of an H200 for Q4_1 were 0.016 away
SEEDED_REQUESTS = 12
REFUSAL_TIMEOUT = 60.0  # seconds
SHOWN_FAILURES = 20  # names of failed tests
CONTEXT = 512  # tokens of each request of the workloads
# A draft model of 3 of the large model's 32 layers draws what it draws at 0.81 of all places (temperature 0.7).
AGREEING = {"layer_scale": 0.003, "certainty": 6.0}
DRAFT_LAYERS = 3
MLX_TESTS = ("tests/test_mlx.py", "tests/test_mlx_folder.py", "tests/test_mlx_layout.py", "tests/test_sampling.py")

INTRODUCTION = """\
Nothing but this section was measured on a GPU. The large model has random weights (Q4_0) in the shape of a model of
8 billion parameters, so its speed is real and its text is not. What is equal for llama-server is said under "Serving".
Answers of both end after so many tokens."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m scripts.gpu_check", description=__doc__)
    peers.add_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, with tiny models")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of %(default)s")
    parser.add_argument("--output", type=Path, default=report.RESULTS, help="the file whose section is replaced")
    parser.set_defaults(rounds=2)
    return parser.parse_args(arguments)


# --- Parts: each returns Markdown, and raises where what must hold does not ---


def doctor(options: argparse.Namespace) -> str:
    """What `nitro doctor` says. It must find nothing to fix."""
    done = subprocess.run([sys.executable, "-P", "-m", "nitro", "doctor"], capture_output=True, text=True)
    if done.returncode and not options.dry_run:
        raise RuntimeError(f"nitro doctor ends with status {done.returncode}:\n{done.stdout}{done.stderr}")
    report_text = re.sub(r"\S*/site-packages/", "", done.stdout.strip())  # nothing of where this machine keeps things
    return f"`nitro doctor`:\n\n```\n{report_text}\n```"


def placement(options: argparse.Namespace) -> str:
    """Where layers and KV cache lie, and what the GPU's memory says about it."""
    before = _gpu_memory()
    info, during = _apart(_load, str(options.model), options.dry_run)
    used = "" if before is None or during is None else f" nvidia-smi: {during - before} MiB more while it is loaded."
    if not options.dry_run and ("CPU" in info.layers or "CPU" in info.kv_place):
        raise RuntimeError(f"layers: {info.layers}; KV cache: {info.kv_place}")
    mib = f"{info.kv_bytes / 2**20:.0f} MiB for {info.kv_tokens} tokens"
    return f"Device: {info.device}. Layers: {info.layers}. KV cache: {info.kv_place or 'CPU'}, {mib}.{used}"


def require_gpu(options: argparse.Namespace) -> str:
    """With every GPU hidden, --require-gpu must end the server with a sentence."""
    command = [sys.executable, "-P", "-m", "nitro", "serve", str(options.model), "--require-gpu", "--port", "0"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=REFUSAL_TIMEOUT)
    (*_, sentence) = (done.stdout + done.stderr).strip().splitlines() or [""]
    if done.returncode == 0 or "require-gpu" not in done.stdout + done.stderr:
        raise RuntimeError(f"status {done.returncode}: {sentence}")
    return f"`--require-gpu` with `CUDA_VISIBLE_DEVICES=` ends with status {done.returncode}: {sentence.strip()}"


def same_answer(options: argparse.Namespace) -> str:
    """How far the GPU's distributions are from the CPU's, over a text, in one batch and token by token."""
    on_gpu = 0 if options.dry_run else None
    reference = _apart(_log_probabilities, options.model, 0)
    other = _apart(_log_probabilities, options.model, on_gpu)
    lines = []
    farthest = 0.0
    for how in reference:
        kl = attention.divergence(reference[how], other[how])
        same = (reference[how].argmax(axis=1) == other[how].argmax(axis=1)).mean()
        lines.append([how, f"{kl.mean():.1e}", f"{kl.max():.1e}", f"{same:.1%}"])
        farthest = max(farthest, kl.mean())
    table = report.table(["computed", "mean KL, nats", "highest", "same best token"], lines)
    if farthest > MAX_KL:
        raise RuntimeError(f"mean KL(CPU ‖ GPU) is more than {MAX_KL} nats:\n\n{table}")
    return f"KL(CPU ‖ GPU) of the embedded model at {len(kl)} positions:\n\n{table}"


def seeds(options: argparse.Namespace) -> str:
    """The same seeded requests alone, alone once more, and all at once: how many texts differ."""
    command = processes.nitro(str(options.model), "--ctx", "1024", "--engine", "llama", *_gpu_flags(options))
    with processes.running(command) as server:
        prompts = Prompts(77)
        sampling = {"temperature": 0.8, "ignore_eos": True}
        endpoint = replace(server.endpoint, fields={})
        bodies = [endpoint.chat_body(prompts.story(), 48, seed=seed, **sampling) for seed in range(SEEDED_REQUESTS)]

        async def ask(body: bytes) -> str:
            return (await client.chat(endpoint, body, keep_text=True)).text

        async def together() -> list[str]:
            return await asyncio.gather(*map(ask, bodies))

        alone, again = ([client.run(ask(body)) for body in bodies] for _ in range(2))
        beside = client.run(together())
    if not all(alone):
        raise RuntimeError("an answer is empty")
    differing = [sum(a != b for a, b in zip(alone, others, strict=True)) for others in (again, beside)]
    return (
        f"Of {SEEDED_REQUESTS} seeded texts of 48 tokens (temperature 0.8), asked for alone, {differing[0]} differ "
        f"when asked for alone again, with their prompts cached, and {differing[1]} when all run at once."
    )


def clients(options: argparse.Namespace) -> str:
    """Tokens per second and waiting times of many clients, beside llama-server."""
    scenarios = _scenarios(options)
    with _large_model(options) as model:
        workload = Workload("", max(scenarios), CONTEXT, scenarios[1], (SERVER,))
        options = argparse.Namespace(**{**vars(options), "model": model})
        sides = peers.sides(options, workload)
        lines = []
        with processes.running(sides[0].command) as ours, processes.running(sides[1].command) as theirs:
            for count, scenario in scenarios.items():
                turned = [replace(side, scenario=scenario) for side in sides]
                named = replace(workload, title=_clients(count))
                turns = client.run(serve.measure([ours, theirs], turned, named, options.rounds, options.seed))
                lines += rows(named.title, turns)
    return report.table(["workload", "", "Nitro", SERVER, "ratio"], lines)


def drafts(options: argparse.Namespace) -> str:
    """A draft model beside none, and beside llama-server with the same one."""
    shape = replace(_shape(options), **AGREEING)
    tokens = 8 if options.dry_run else 160
    scenarios = {
        count: real_texts(count, tokens, 2, sampling=WARM) for count in ((1, 2) if options.dry_run else (1, 4, 16))
    }
    most = max(scenarios)
    with tempfile.TemporaryDirectory() as folder:
        model = random_gguf.write(Path(folder) / "large.gguf", shape)
        draft = random_gguf.write(Path(folder) / "draft.gguf", replace(shape, layers=min(DRAFT_LAYERS, shape.layers)))
        workload = Workload("", most, 2 * CONTEXT, scenarios[1], (UNFLAGGED, DRAFTED), draft="Q4_0")
        options = argparse.Namespace(**{**vars(options), "model": model, "draft": draft})
        sides = peers.sides(options, workload)
        lines = []
        with processes.all_running([side.command for side in sides if side.command]) as servers:
            for count, scenario in scenarios.items():
                turned = [replace(side, scenario=scenario) for side in sides]
                named = replace(workload, title=_clients(count))
                lines += rows(named.title, client.run(serve.measure(servers, turned, named, 1, options.seed)))
    table = report.table(["workload", "", "Nitro --draft", UNFLAGGED, "ratio", DRAFTED, "ratio"], lines)
    return f"A draft model of {DRAFT_LAYERS} of the large model's layers, temperature 0.7:\n\n{table}"


def share(options: argparse.Namespace) -> str:
    """What is neither the device nor the samplers, while clients wait."""
    scenarios = _scenarios(options)
    lines = []
    with _large_model(options) as model, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "times"
        os.environ[timed_llama.FILE] = str(file)
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
        )  # the engine process imports the runner from there
        flags = ["--ctx", str(CONTEXT), "--parallel", str(max(scenarios)), "--engine", "bench.timed_llama:TimedRunner"]
        with processes.running(processes.nitro(str(model), *flags)) as server:
            endpoint = replace(server.endpoint, fields={"ignore_eos": True})
            for count, scenario in scenarios.items():
                file.write_bytes(b"")
                client.run(scenario(endpoint, Prompts(count)))
                _wait_for_line(file)
                times = max(timed_llama.read(file), key=lambda times: times.steps)
                per_step = [1000 * value / times.steps for value in (times.device, times.sampling, times.total)]
                lines.append(
                    [_clients(count), f"{times.steps}", *(f"{v:.2f}" for v in per_step), f"{times.between:.1%}"]
                )
    header = ["workload", "steps", "device, ms a step", "sampling", "all", "share of the rest"]
    return f"Where a step's time goes, the same model:\n\n{report.table(header, lines)}"


def mlx(options: argparse.Namespace) -> str:
    """The MLX engine's tests, on MLX's build for this GPU."""
    code = "import mlx.core as mx; print(mx.default_device())"
    device = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if device.returncode:
        return f"MLX is not installed: {device.stderr.strip().splitlines()[-1]}"
    tests = MLX_TESTS[2:3] if options.dry_run else MLX_TESTS
    seconds = max(LIMIT - (time.monotonic() - STARTED), 30)
    command = ["-m", "pytest", "-vv", "-p", "no:cacheprovider", "--no-header", "--tb=line", "-W", "default", *tests]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=output, start_new_session=True)
        try:
            process.wait(seconds)
            end = ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            end = f" The time was up after {seconds:.0f} s; the rest did not run."
        output.seek(0)
        text = output.read()
    outcomes = dict(re.findall(r"^(tests/\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)\b", text, re.MULTILINE))
    counts = {kind: sum(outcome == kind for outcome in outcomes.values()) for kind in ("PASSED", "FAILED", "ERROR")}
    failed = [f"- {name}" for name, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")][:SHOWN_FAILURES]
    if not outcomes:
        raise RuntimeError(f"no test ran:\n{text[-1500:]}")
    said = ", ".join(f"{count} {kind.lower()}" for kind, count in counts.items())
    reasons = re.findall(r"^\S+:\d+: .*$", text, re.MULTILINE)[:SHOWN_FAILURES]
    return "\n".join([f"MLX on {device.stdout.strip()}: {said}.{end}", "", *failed, *(f"- {r[:200]}" for r in reasons)])


PARTS: dict[str, Callable[[argparse.Namespace], str]] = {
    "doctor": doctor,
    "placement": placement,
    "require-gpu": require_gpu,
    "same-answer": same_answer,
    "seeds": seeds,
    "clients": clients,
    "drafts": drafts,
    "share": share,
    "mlx": mlx,
}
STARTED = time.monotonic()


# --- What they share ---


def _scenarios(options: argparse.Namespace) -> dict[int, Any]:
    """By the number of clients."""
    if options.dry_run:
        return {1: independent(1, 8, words=20), 2: independent(2, 8, words=20)}
    many = partial(independent, words=100, requests=1)
    return {1: independent(1, 128), 8: independent(8, 96), 32: many(32, 96), 128: many(128, 96)}


def _clients(count: int) -> str:
    return f"{count} client" if count == 1 else f"{count} clients"


def _shape(options: argparse.Namespace) -> random_gguf.Shape:
    return random_gguf.SHAPES["tiny" if options.dry_run else "8b"]


class _large_model:
    """The path of a model that is removed afterwards."""

    def __init__(self, options: argparse.Namespace):
        self._shape = _shape(options)
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Path:
        return random_gguf.write(Path(self._folder.name) / "random.gguf", self._shape)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _gpu_flags(options: argparse.Namespace) -> list[str]:
    return [] if options.dry_run else ["--require-gpu"]


def _apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, from a process of its own: its memory on the GPU is free again afterwards."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _load(model: str, dry_run: bool) -> tuple[Any, int | None]:
    from nitro.engines.backends.llama.runner import LlamaRunner
    from nitro.engines.types import EngineSpec

    spec = EngineSpec("llama", model, context=4096, parallel=8, require_gpu=not dry_run)
    runner = LlamaRunner(spec)
    used = _gpu_memory()
    runner.close()
    return runner.info, used


def _log_probabilities(model: Path, gpu_layers: int | None) -> dict[str, Any]:
    import llama_cpp.llama_cpp as lib

    scorer = attention.Scorer(model, lib.LLAMA_FLASH_ATTN_TYPE_AUTO, gpu_layers)
    tokens = scorer.tokenizer.encode(attention.TEXT)[: attention.POSITIONS]
    steps = {"in one batch": len(tokens), "token by token": 1}
    found = {how: scorer.log_probabilities(tokens, step) for how, step in steps.items()}
    scorer.close()
    return found


def _gpu_memory() -> int | None:
    """MiB in use on the first GPU; None where nvidia-smi cannot say."""
    try:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _wait_for_line(file: Path) -> None:
    """The engine writes when it is idle, which is a moment after the last answer."""
    end = time.monotonic() + 30
    while not file.read_bytes().endswith(b"\n") and time.monotonic() < end:
        time.sleep(0.01)


def _has_gpu() -> bool:
    from nitro.engines.backends.llama import library

    return library.build().has_gpu


def run(options: argparse.Namespace) -> tuple[str, bool]:
    """The section's text, and whether every part did what it must."""
    texts = []
    well = True
    for name in options.parts.split(","):
        began = time.monotonic()
        if began - STARTED > LIMIT:
            texts.append(f"**{name}**: no time was left for it.")
            continue
        try:
            text = PARTS[name](options)
        except Exception as error:
            traceback.print_exc()
            well = False
            text = f"**{name} failed.** {error}"
        texts.append(text)
        print(f"--- {name}, {time.monotonic() - began:.0f} s\n{text}\n", flush=True)
    return "\n\n".join(texts), well


def main() -> None:
    """Run the parts, and write the section."""
    options = parse(sys.argv[1:])
    options.seed = 1
    options.model = options.model or default_model.path()
    if not options.dry_run and not _apart(_has_gpu):
        print("llama.cpp has no GPU here; nitro doctor says why", file=sys.stderr)
        sys.exit(NO_GPU)
    if options.dry_run:
        options.nitro_args = shlex.join([*shlex.split(options.nitro_args), "--gpu-layers", "0"])
    body, well = run(options)
    if not options.no_write:
        setting = report.setting("scripts.gpu_check")
        report.write(SECTION, f"{setting}\n\n{INTRODUCTION}\n\n{body}", options.output)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
