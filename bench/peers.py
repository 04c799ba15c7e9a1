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
from bench.workloads import DRAFTED, EXAMPLE, FLOAT32, MLX, OLD, OURSELVES, SERVER, TUNED, UNFLAGGED, Workload
from nitro.bench.scenarios import Scenario
from nitro.engines.hardware import memory
from nitro.gguf import header, tokenizer
from nitro.models import default_model

OURS = "Nitro"
BAN = -100.0  # the logit bias that bans a token

# What llama-server's users set to be fast. At 8 clients a KV cache that is not unified saved 11 % of the CPU time of a
# token (five rounds), `--load-mode none` 4 %, GOMP_SPINCOUNT 9 %, all together 13 to 14 %; rounds differ as much.
TUNED_FLAGS: dict[str, object] = {"flash-attn": "on", "ubatch-size": 512, "load-mode": "none"}
TUNED_SWITCHES = ("--no-kv-unified",)
TUNED_VARIABLES = {"GOMP_SPINCOUNT": "1000"}
DRAFT_LENGTH = 8  # tokens; its default is 3


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
    parser.add_argument("--old", type=Path, help="an older source tree of Nitro, measured as one more server")
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")


def sides(options: argparse.Namespace, workload: Workload) -> list[Side]:
    """Our server and the others of one workload, with equal settings."""
    if workload.engine == "llama":
        options = argparse.Namespace(**{**vars(options), "model": model_file(options.model, workload)})
    others = [PEERS[name](options, workload) for name in workload.peers]
    return [_ours(options, workload), *others]


def at_defaults(options: argparse.Namespace) -> dict[str, processes.Command]:
    """Our server, an older one of ours where there is one, and llama-server, each with no option but the model."""
    model = str(options.model)
    binary = options.llama_server or build_llama_server.build()
    old = {OLD: processes.nitro(model, tree=options.old.resolve())} if options.old else {}
    return {OURS: processes.nitro(model), **old, SERVER: processes.listening([str(binary), "--model", model])}


def model_file(model: Path, workload: Workload) -> Path:
    """The GGUF that a workload is about; made unless it exists."""
    if workload.narrow:
        assert workload.type
        return files.narrow(workload.type)
    return files.quantized(model, workload.type) if workload.type else model


def draft_file(options: argparse.Namespace, workload: Workload) -> Path:
    """The GGUF of the draft model: `options.draft` where a caller has one, or the same model in the workload's type."""
    assert workload.draft
    return getattr(options, "draft", None) or files.quantized(options.model, workload.draft)


def _ours(options: argparse.Namespace, workload: Workload, tree: Path | None = None) -> Side:
    """Our server; of another source tree, if one is given."""
    ours: dict[str, object] = {"ctx": workload.context, "parallel": workload.slots, "engine": workload.engine}
    if workload.engine == "mlx":
        model = files.mlx_folder(options.model, workload.type or "F32")
    else:
        model = options.model
        ours["threads"] = options.threads
    if workload.draft:
        ours["draft"] = draft_file(options, workload)
    flags = [*_flags(ours), *workload.flags, *shlex.split(options.nitro_args)]
    return Side(OURS, processes.nitro(str(model), *flags, tree=tree), workload.scenario)


def _llama_server(options: argparse.Namespace, workload: Workload) -> Side:
    command = _llama_command(options, workload, {}, ("--kv-unified",))
    return Side(SERVER, processes.listening(command), workload.scenario)


def _tuned(options: argparse.Namespace, workload: Workload) -> Side:
    command = processes.listening(_llama_command(options, workload, TUNED_FLAGS, TUNED_SWITCHES))
    return Side(TUNED, processes.with_variables(command, **TUNED_VARIABLES), workload.scenario)


def _drafted(options: argparse.Namespace, workload: Workload) -> Side:
    draft = {"model-draft": draft_file(options, workload), "spec-draft-n-max": DRAFT_LENGTH}
    command = _llama_command(options, workload, draft, ("--kv-unified",))
    return Side(DRAFTED, processes.listening(command), workload.scenario)


def _llama_command(
    options: argparse.Namespace, workload: Workload, more: dict[str, object], switches: tuple[str, ...]
) -> list[str]:
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
    return [str(binary), *_flags({**theirs, **more}), *switches, *shlex.split(options.llama_args)]


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
    folder = str(files.mlx_folder(options.model, workload.type or "F32"))
    command = processes.listening([sys.executable, "-P", "-m", "mlx_lm", "server", "--model", folder])
    return Side(MLX, command, workload.scenario, _without_ends(options.model))


def _ourselves(options: argparse.Namespace, workload: Workload) -> Side:
    assert workload.baseline
    return Side(OURSELVES, None, workload.baseline)


def _unflagged(options: argparse.Namespace, workload: Workload) -> Side:
    return replace(_ours(options, replace(workload, flags=workload.other_flags, draft=None)), name=UNFLAGGED)


def _old(options: argparse.Namespace, workload: Workload) -> Side:
    assert options.old
    return replace(_ours(options, workload, tree=options.old.resolve()), name=OLD)


def _float32(options: argparse.Namespace, workload: Workload) -> Side:
    return replace(_ours(options, replace(workload, type="F32")), name=FLOAT32)


PEERS: dict[str, Callable[[argparse.Namespace, Workload], Side]] = {
    OLD: _old,
    SERVER: _llama_server,
    TUNED: _tuned,
    DRAFTED: _drafted,
    EXAMPLE: _example_server,
    MLX: _mlx_server,
    OURSELVES: _ourselves,
    UNFLAGGED: _unflagged,
    FLOAT32: _float32,
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
