"""The workloads of bench.serve: a scenario, the room that servers have for it, and the peers it is compared with."""

from dataclasses import dataclass, replace
from typing import Any

from nitro.bench.scenarios import (
    Scenario,
    beside_request,
    conversations,
    independent,
    long_prompt,
    rewrite,
    shared_prefix,
)

SERVER = "llama-server"
EXAMPLE = "example server"
MLX = "mlx_lm.server"
OURSELVES = "without"  # our own server with another scenario
UNFLAGGED = "without the flag"  # our own server without the workload's flags


@dataclass(frozen=True)
class Workload:
    """One comparison of servers. `slots`: requests that they take at once, each with `context` tokens. `baseline`: the
    scenario of OURSELVES, to compare with. `type`: of the weights, unless the model's own. `engine`: our server's, and
    `flags` more of its options."""

    title: str
    slots: int
    context: int
    scenario: Scenario
    peers: tuple[str, ...] = (SERVER,)
    baseline: Scenario | None = None
    type: str | None = None
    engine: str = "llama"
    flags: tuple[str, ...] = ()


BOTH = (SERVER, EXAMPLE)
DETERMINISTIC: dict[str, Any] = {"peers": (UNFLAGGED,), "flags": ("--deterministic",)}
REWRITE = Workload("rewrite", 8, 1024, rewrite(2, 300, True), (OURSELVES,), baseline=rewrite(2, 300, False))

_NOTE = {"type": "object", "properties": {"name": {"type": "string"}, "number": {"type": "integer"}}}
_NOTE |= {"required": ["name", "number"], "additionalProperties": False}
# 500 notes are more than any of its answers holds
WITH_SCHEMA: dict[str, Any] = {"json_schema": {"type": "array", "items": _NOTE, "minItems": 500}}
WITHOUT_SCHEMA: dict[str, Any] = {"ignore_eos": True}

WORKLOADS = {
    "1": Workload("1 client", 8, 1024, independent(1, 96), BOTH),
    "8": Workload("8 clients", 8, 1024, independent(8, 96), BOTH),
    "32": Workload("32 clients", 32, 512, independent(32, 64, words=100, requests=1)),
    "shared": Workload("600-word prefix shared by 8 clients", 8, 2048, shared_prefix(8, 16, 600, 16), BOTH),
    "talk": Workload("4 conversations of 5 turns", 8, 2048, conversations(4, 5, 60, 48), BOTH),
    "long": Workload("4,000-token prompt among 6 streams", 8, 4608, long_prompt(6, 160, 3900)),
    "rewrite": REWRITE,
    "rewrite-q4_0": replace(REWRITE, title="rewrite, weights as Q4_0", type="Q4_0"),
    "deterministic-1": Workload("--deterministic, 1 client", 8, 1024, independent(1, 96), **DETERMINISTIC),
    "deterministic-8": Workload("--deterministic, 8 clients", 8, 1024, independent(8, 96), **DETERMINISTIC),
    "deterministic-talk": Workload(
        "--deterministic, 4 conversations of 5 turns", 8, 2048, conversations(4, 5, 60, 48), **DETERMINISTIC
    ),
    "grammar": Workload(
        "7 streams beside one that follows a schema",
        slots=8,
        context=1024,
        scenario=beside_request(7, 96, WITH_SCHEMA),
        peers=(OURSELVES,),
        baseline=beside_request(7, 96, WITHOUT_SCHEMA),
    ),
    "mlx-1": Workload("MLX, 1 client", 8, 512, independent(1, 24, words=12), (MLX,), engine="mlx"),
    "mlx-4": Workload("MLX, 4 clients", 8, 512, independent(4, 24, words=12), (MLX,), engine="mlx"),
    "mlx-grammar": Workload(
        "MLX, 3 streams beside one that follows a schema",
        slots=8,
        context=512,
        scenario=beside_request(3, 24, WITH_SCHEMA),
        peers=(OURSELVES,),
        baseline=beside_request(3, 24, WITHOUT_SCHEMA),
        engine="mlx",
    ),
    "mlx-seeds": Workload(
        "MLX, 4 clients with seeds", 8, 512, independent(4, 24, words=12, seeded=True), (MLX,), engine="mlx"
    ),
}
