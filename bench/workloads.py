"""The workloads: a scenario, the room that servers have for it, and the peers it is compared with."""

from dataclasses import dataclass
from typing import Any

from nitro.bench.scenarios import (
    WARM,
    Scenario,
    beside_request,
    conversations,
    independent,
    long_prompt,
    real_conversations,
    real_texts,
    rewrite,
    shared_prefix,
)

SERVER = "llama-server"
TUNED = "llama-server tuned"  # with the options that its users know to be fastest
DRAFTED = "llama-server --model-draft"
EXAMPLE = "example server"
MLX = "mlx_lm.server"
OLD = "Nitro before"  # our own server from an older source tree
OURSELVES = "Nitro asked without"  # our own server with another scenario
UNFLAGGED = "Nitro without it"  # our own server without the workload's flags
FLOAT32 = "Nitro in float32"  # our own server with the weights as float32


@dataclass(frozen=True)
class Workload:
    """One comparison of servers. `slots`: requests that they take at once, each with `context` tokens. `baseline`: the
    scenario of OURSELVES, to compare with. `type`: of the weights, unless the model's own. `draft`: the type of the
    draft model, which is the same model. `narrow`: the 256-wide model. `engine`: our server's, and `flags` more of its
    options; `other_flags` are those of UNFLAGGED."""

    title: str
    slots: int
    context: int
    scenario: Scenario
    peers: tuple[str, ...] = (SERVER,)
    baseline: Scenario | None = None
    type: str | None = None
    engine: str = "llama"
    flags: tuple[str, ...] = ()
    other_flags: tuple[str, ...] = ()
    draft: str | None = None
    narrow: bool = False

    @property
    def room(self) -> tuple[object, ...]:
        """What the servers are started with: workloads of one room can share servers."""
        fields = {name: value for name, value in vars(self).items() if name not in ("title", "scenario", "baseline")}
        return tuple(fields.values())


PAIR = (SERVER, TUNED)
USUAL: dict[str, Any] = {"slots": 8, "context": 2048, "peers": PAIR}
MANY: dict[str, Any] = {"slots": 32, "context": 512, "peers": PAIR}
DETERMINISTIC: dict[str, Any] = {**USUAL, "peers": (UNFLAGGED,), "flags": ("--deterministic",)}
LOOKUP: dict[str, Any] = {**USUAL, "peers": (UNFLAGGED,), "other_flags": ("--lookup", "off")}
DRAFT: dict[str, Any] = {**USUAL, "peers": (UNFLAGGED, DRAFTED), "type": "F16", "draft": "Q4_0"}
ON_MLX: dict[str, Any] = {"slots": 8, "context": 512, "peers": (MLX,), "engine": "mlx"}
BFLOAT16: dict[str, Any] = {**ON_MLX, "type": "BF16", "peers": (MLX, FLOAT32)}

# As short as they can be: bench.table is to take 25 minutes on two cores.
SWEEP = (1, 2, 4, 8, 16, 32)  # clients
WORDS_1 = independent(1, 48, requests=2)
WORDS_8 = independent(8, 48, words=100, requests=1)
TEXTS_1 = real_texts(1, 40, requests=4)
TEXTS_8 = real_texts(8, 48, requests=1)
TEXTS_FAST = real_texts(8, 160, requests=2)  # where a token takes a millisecond
TALK_WORDS = conversations(4, 5, 60, 24)
TALK_TEXTS = real_conversations(4, 5, 24)
REWRITE: dict[str, Any] = {
    **USUAL,
    "peers": (OURSELVES,),
    "scenario": rewrite(1, 160, True),
    "baseline": rewrite(1, 160, False),
}

_NOTE: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}, "number": {"type": "integer"}}}
_NOTE |= {"required": ["name", "number"], "additionalProperties": False}
# 500 notes are more than any of its answers holds
WITH_SCHEMA: dict[str, Any] = {"json_schema": {"type": "array", "items": _NOTE, "minItems": 500}}
WITHOUT_SCHEMA: dict[str, Any] = {"ignore_eos": True}

WORKLOADS = {
    "1": Workload("1 client, words", scenario=WORDS_1, **USUAL),
    "1-text": Workload("1 client, texts", scenario=TEXTS_1, **USUAL),
    "8": Workload("8 clients, words", scenario=WORDS_8, **USUAL),
    "8-text": Workload("8 clients, texts", scenario=TEXTS_8, **USUAL),
    "shared": Workload("600-word prefix shared by 8 clients", scenario=shared_prefix(8, 16, 600, 16), **USUAL),
    "talk": Workload("4 conversations of 5 turns, words", scenario=TALK_WORDS, **USUAL),
    "talk-text": Workload("4 conversations of 5 turns, texts", scenario=TALK_TEXTS, **USUAL),
    "1-q8_0": Workload("1 client, words, Q8_0", scenario=WORDS_1, type="Q8_0", **USUAL),
    "1-text-q8_0": Workload("1 client, texts, Q8_0", scenario=TEXTS_1, type="Q8_0", **USUAL),
    "8-text-q8_0": Workload("8 clients, texts, Q8_0", scenario=TEXTS_8, type="Q8_0", **USUAL),
    "8-text-f16": Workload("8 clients, texts, F16", scenario=TEXTS_8, type="F16", **USUAL),
    "8-narrow-q4_0": Workload("8 clients, 256 wide, Q4_0", scenario=TEXTS_FAST, type="Q4_0", narrow=True, **USUAL),
    "8-narrow-q4_k": Workload("8 clients, 256 wide, Q4_K_M", scenario=TEXTS_FAST, type="Q4_K_M", narrow=True, **USUAL),
    "32": Workload("32 clients, words", scenario=independent(32, 24, words=100, requests=1), **MANY),
    "32-text": Workload("32 clients, texts", scenario=real_texts(32, 24, requests=1), **MANY),
    **{
        f"clients-{n}": Workload(
            f"{n} of 32 clients, texts", scenario=real_texts(n, 24, requests=max(1, 8 // n)), **MANY
        )
        for n in SWEEP
    },
    "long": Workload("4,000-token prompt among 6 streams", 8, 4608, long_prompt(6, 96, words=3900), PAIR),
    "draft-1": Workload("draft, 1 client, greedy", scenario=real_texts(1, 64, 2, sampling={}), **DRAFT),
    "draft-1-sampled": Workload("draft, 1 client, sampled", scenario=real_texts(1, 64, 2, sampling=WARM), **DRAFT),
    "draft-4": Workload("draft, 4 clients, greedy", scenario=real_texts(4, 48, 1, sampling={}), **DRAFT),
    "draft-4-sampled": Workload("draft, 4 clients, sampled", scenario=real_texts(4, 48, 1, sampling=WARM), **DRAFT),
    "rewrite": Workload("rewrite with a prediction", **REWRITE),
    "rewrite-q4_0": Workload("rewrite with a prediction, Q4_0", type="Q4_0", **REWRITE),
    "rewrite-q8_0": Workload("rewrite with a prediction, Q8_0", type="Q8_0", **REWRITE),
    "rewrite-f16": Workload("rewrite with a prediction, F16", type="F16", **REWRITE),
    "lookup-1": Workload("look-up, 1 client, texts", scenario=TEXTS_1, **LOOKUP),
    "lookup-8": Workload("look-up, 8 clients, texts", scenario=TEXTS_8, **LOOKUP),
    "lookup-talk": Workload("look-up, 4 conversations of 5 turns, texts", scenario=TALK_TEXTS, **LOOKUP),
    "deterministic-1": Workload("--deterministic, 1 client", scenario=WORDS_1, **DETERMINISTIC),
    "deterministic-8": Workload("--deterministic, 8 clients", scenario=WORDS_8, **DETERMINISTIC),
    "deterministic-talk": Workload("--deterministic, 4 conversations", scenario=TALK_WORDS, **DETERMINISTIC),
    "grammar": Workload(
        "7 streams beside one that follows a schema",
        slots=8,
        context=1024,
        scenario=beside_request(7, 96, WITH_SCHEMA),
        peers=(OURSELVES,),
        baseline=beside_request(7, 96, WITHOUT_SCHEMA),
    ),
    "mlx-1": Workload("MLX, 1 client", scenario=independent(1, 16, 12, 1), **ON_MLX),
    "mlx-4": Workload("MLX, 4 clients", scenario=independent(4, 12, 12, 1), **ON_MLX),
    "mlx-seeds": Workload("MLX, 4 clients with seeds", scenario=independent(4, 12, 12, 1, seeded=True), **ON_MLX),
    "mlx-bf16": Workload("MLX, 1 client, bfloat16", scenario=independent(1, 16, 12, 1), **BFLOAT16),
    "mlx-grammar": Workload(
        "MLX, 3 streams beside one that follows a schema",
        slots=8,
        context=512,
        scenario=beside_request(3, 24, WITH_SCHEMA),
        peers=(OURSELVES,),
        baseline=beside_request(3, 24, WITHOUT_SCHEMA),
        engine="mlx",
    ),
}
