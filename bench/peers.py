"""The servers that are measured, ours and others: how each is started for a workload, and what its requests contain."""

import argparse
import importlib.util
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench import build_llama_server, example_server, files, processes
from bench.workloads import EXAMPLE, MLX, OURSELVES, SERVER, UNFLAGGED, Workload
from nitro.bench.scenarios import Scenario
from nitro.engines.hardware import memory
from nitro.gguf import header, tokenizer
from nitro.models import default_model

OURS = "Nitro"
BAN = -100.0  # the logit bias that bans a token


@dataclass(frozen=True)
class Side:
    """One column of a table: a server, and the scenario that runs against it."""

    name: str
    command: processes.Command | None  # None: uses the first side's process
    scenario: Scenario
    fields: dict[str, Any] = field(default_factory=dict)  # of each request, instead of the usual ones


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `sides` reads, and how many rounds to measure."""
    parser.add_argument(
        "--model", type=Path, default=default_model.path(), help="a GGUF file; default: the embedded model"
    )
    parser.add_argument(
        "--llama-server", type=Path, help="path of llama-server; default: build it, which takes a few minutes"
    )
    parser.add_argument("--rounds", type=int, default=3, help="in each, every server has a turn (%(default)s)")
    parser.add_argument("--threads", type=int, default=memory.physical_cores(), help="default: the physical cores")
    parser.add_argument("--nitro-args", default="", help="more options for nitro serve")
    parser.add_argument("--llama-args", default="", help="more options for llama-server")
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")


def sides(options: argparse.Namespace, workload: Workload) -> list[Side]:
    """Our server and the others of one workload, with equal settings."""
    if workload.type:
        options = argparse.Namespace(**{**vars(options), "model": files.quantized(options.model, workload.type)})
    others = [PEERS[name](options, workload) for name in workload.peers]
    return [_ours(options, workload), *others]


def _ours(options: argparse.Namespace, workload: Workload) -> Side:
    nitro = _nitro_mlx(options, workload) if workload.engine == "mlx" else _nitro(options, workload)
    return Side(OURS, nitro, workload.scenario)


def _nitro(options: argparse.Namespace, workload: Workload) -> processes.Command:
    ours = {"ctx": workload.context, "parallel": workload.slots, "threads": options.threads, "engine": "llama"}
    return processes.nitro(str(options.model), *_flags(ours), *workload.flags, *shlex.split(options.nitro_args))


def _nitro_mlx(options: argparse.Namespace, workload: Workload) -> processes.Command:
    ours = {"ctx": workload.context, "parallel": workload.slots, "engine": "mlx"}
    folder = str(files.mlx_folder(options.model))
    return processes.nitro(folder, *_flags(ours), *workload.flags, *shlex.split(options.nitro_args))


def _llama_server(options: argparse.Namespace, workload: Workload) -> Side:
    binary = options.llama_server or build_llama_server.build()
    theirs = {
        "model": options.model,
        "ctx-size": workload.context * workload.slots,
        "parallel": workload.slots,
        "threads": options.threads,
        "threads-batch": options.threads,
        "batch-size": 2048,
        "ubatch-size": 512,
        "flash-attn": "auto",
        "gpu-layers": "all",
        "fit": "off",
    }
    command = [str(binary), *_flags(theirs), "--kv-unified", *shlex.split(options.llama_args)]
    return Side(SERVER, processes.listening(command), workload.scenario)


def _example_server(options: argparse.Namespace, workload: Workload) -> Side:
    theirs = {
        "path": str(options.model),
        "n_ctx": workload.context * workload.slots,
        "max_seq_len": workload.context,
        "n_seq_max": workload.slots,
        "threads": options.threads,
        "threads_batch": options.threads,
        "n_batch": 2048,
        "n_ubatch": 512,
        "kv_unified": True,
    }
    return Side(EXAMPLE, example_server.command(theirs), workload.scenario, _without_ends(options.model))


def _mlx_server(options: argparse.Namespace, workload: Workload) -> Side:
    folder = str(files.mlx_folder(options.model))
    command = processes.listening([sys.executable, "-P", "-m", "mlx_lm", "server", "--model", folder])
    return Side(MLX, command, workload.scenario, _without_ends(options.model))


def _ourselves(options: argparse.Namespace, workload: Workload) -> Side:
    assert workload.baseline
    return Side(OURSELVES, None, workload.baseline)


def _unflagged(options: argparse.Namespace, workload: Workload) -> Side:
    return replace(_ours(options, replace(workload, flags=())), name=UNFLAGGED)


PEERS: dict[str, Callable[[argparse.Namespace, Workload], Side]] = {
    SERVER: _llama_server,
    EXAMPLE: _example_server,
    MLX: _mlx_server,
    OURSELVES: _ourselves,
    UNFLAGGED: _unflagged,
}


def obstacle(workload: Workload) -> str | None:
    """What is missing on this machine to measure the workload; None: nothing."""
    missing = workload.engine == "mlx" and not importlib.util.find_spec("mlx_lm")
    return "mlx-lm is not installed" if missing else None


@cache
def _without_ends(model: Path) -> dict[str, Any]:
    """A logit_bias that bans the tokens that end an answer, for servers without ignore_eos."""
    return {"logit_bias": {str(token): BAN for token in sorted(tokenizer.ends(header.read(model)))}}


def _flags(values: dict[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]
