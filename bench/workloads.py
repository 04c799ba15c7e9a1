"""The workloads of bench.serve: what is played, with how much room, and beside whom. Which servers there are: peers."""

from dataclasses import dataclass, replace
from typing import Any

from nitro.bench.scenarios import Play, alone, beside, conversations, long_prompt, rewrite, shared_prefix

SERVER, EXAMPLE, MLX, OURSELVES = "llama-server", "example server", "mlx_lm.server", "without"


@dataclass(frozen=True)
class Workload:
    """`slots`: requests that the servers take at once, each with `context` tokens. `theirs`: what is played to
    ourselves, to compare with. `type`: of the weights, unless the model's own. `engine`: ours."""

    title: str
    slots: int
    context: int
    play: Play
    peers: tuple[str, ...] = (SERVER,)
    theirs: Play | None = None
    type: str | None = None
    engine: str = "llama"


BOTH = (SERVER, EXAMPLE)
REWRITE = Workload("rewrite", 8, 1024, rewrite(2, 300, True), (OURSELVES,), theirs=rewrite(2, 300, False))

_NOTE = {"type": "object", "properties": {"name": {"type": "string"}, "number": {"type": "integer"}}}
_NOTE |= {"required": ["name", "number"], "additionalProperties": False}
# 500 notes are more than any of its answers has
KEPT: dict[str, Any] = {"json_schema": {"type": "array", "items": _NOTE, "minItems": 500}}
FREE: dict[str, Any] = {"ignore_eos": True}

WORKLOADS = {
    "1": Workload("1 client", 8, 1024, alone(1, 96), BOTH),
    "8": Workload("8 clients", 8, 1024, alone(8, 96), BOTH),
    "32": Workload("32 clients", 32, 512, alone(32, 64, words=100, requests=1)),
    "shared": Workload("600-word prefix shared by 8 clients", 8, 2048, shared_prefix(8, 16, 600, 16), BOTH),
    "talk": Workload("4 conversations of 5 turns", 8, 2048, conversations(4, 5, 60, 48), BOTH),
    "long": Workload("4,000-token prompt among 6 streams", 8, 4608, long_prompt(6, 160, 3900)),
    "rewrite": REWRITE,
    "rewrite-q4_0": replace(REWRITE, title="rewrite, weights as Q4_0", type="Q4_0"),
    "grammar": Workload(
        *("7 streams beside one that keeps a schema", 8, 1024, beside(7, 96, KEPT), (OURSELVES,)),
        theirs=beside(7, 96, FREE),
    ),
    "mlx-1": Workload("MLX, 1 client", 8, 512, alone(1, 24, words=12), (MLX,), engine="mlx"),
    "mlx-4": Workload("MLX, 4 clients", 8, 512, alone(4, 24, words=12), (MLX,), engine="mlx"),
    "mlx-grammar": Workload(
        *("MLX, 3 streams beside one that keeps a schema", 8, 512, beside(3, 24, KEPT), (OURSELVES,)),
        theirs=beside(3, 24, FREE),
        engine="mlx",
    ),
    "mlx-seeds": Workload(
        "MLX, 4 clients with seeds", 8, 512, alone(4, 24, words=12, seeded=True), (MLX,), engine="mlx"
    ),
}
