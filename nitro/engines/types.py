"""What an engine is told and what it answers: plain data, shared by the server process and the engine process.

Knows neither an engine library nor HTTP. Times are seconds, lengths are tokens.
"""

from typing import Literal

from msgspec import Struct

from nitro.engines.sampling_defaults import NOTHING, SamplingDefaults

FinishReason = Literal["stop", "length", "error"]

MIN_LOGPROB = -9999.0  # stands for −∞ and for what is no number, neither of which JSON has

IMPOSSIBLE = 1e-30  # less likely than the best one by this factor: float32 knows no logarithm of such a share
COLD = 1e-6  # a temperature below this is greedy: logits divided by it are no numbers any more


class SamplingParams(Struct, frozen=True):
    """How the next token is drawn. The defaults leave the model's distribution as it is.

    Applied in the order: logit bias, penalties, DRY, top_n_sigma, top_k, typical_p, top_p, min_p, XTC, temperature,
    draw. Mirostat takes the place of the filters and of the draw.
    """

    temperature: float = 1.0  # 0: the best token, always
    top_n_sigma: float = 0.0  # the logits' standard deviations that a token's may be below the best; 0: off
    top_k: int = 0  # 0: off
    typical_p: float = 1.0  # the share of those whose surprise is nearest to the mean
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_last_n: int = 64  # how many tokens back the penalties look, the prompt included; -1: all, 0: none
    xtc_probability: float = 0.0  # with which those with a share of the threshold are out, but the least likely of them
    xtc_threshold: float = 0.1  # above 0.5: off
    dynatemp_range: float = 0.0  # the temperature goes so far down and up, with the entropy
    dynatemp_exponent: float = 1.0
    mirostat: int = 0  # its version, 1 or 2
    mirostat_tau: float = 5.0  # the surprise to keep to, in bits
    mirostat_eta: float = 0.1  # how fast it gets there
    dry_multiplier: float = 0.0  # of the penalty for a token that makes a repetition longer; 0: off
    dry_base: float = 1.75  # to the power of its length beyond the allowed one
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1  # how many tokens back it looks; -1: all
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")  # no repetition goes beyond
    logit_bias: dict[int, float] = {}  # -inf bans a token
    ignore_eos: bool = False  # the worker bans the end-of-generation tokens by logit_bias; runners need not look
    min_tokens: int = 0  # before which no end-of-generation token comes; the scheduler sees to it
    seed: int = 0  # 0 to 2³¹−1
    logprobs: int | None = None  # tell how likely each drawn token was, and so many of the likeliest; None: nothing
    prompt_logprobs: bool = False  # with `logprobs`: of the prompt's tokens, too

    @property
    def penalises(self) -> bool:
        neutral = self.repetition_penalty == 1 and self.frequency_penalty == 0 and self.presence_penalty == 0
        return not neutral and self.repeat_last_n != 0


# Samplers that not every engine has, by the parameter that turns each on; 0 turns it off.
SAMPLERS = ("dry_multiplier", "dynatemp_range", "mirostat", "xtc_probability")


class Schema(Struct, frozen=True):
    """A JSON schema in JSON. Not `strict`: what of it cannot be enforced is let through, and told."""

    source: str
    param: str  # what the request calls it
    strict: bool = True


class Constraint(Struct, frozen=True):
    """What an answer must be. It sleeps until the byte strings in `after` were produced, one after the other.

    `owed`: it has to come, so that the sequence may not end before. Else an answer may do without it.
    `thinks`: the answer may begin with the first of these, and then is free up to the second.
    A "layout" is Lark that refers to rules named after its `marks`, `texts` and `schemas`: see text/tool_grammar.py.
    """

    kind: Literal["json_schema", "grammar", "regex", "choice", "layout"]
    source: str  # a schema or a list of texts in JSON; a grammar in GBNF or Lark; a regular expression
    param: str  # what the request calls it
    after: list[bytes] = []
    thinks: tuple[str, str] | None = None
    marks: list[str] = []
    schemas: list[Schema] = []
    texts: list[tuple[str, int]] = []
    owed: bool = True


class ThinkingBudget(Struct, frozen=True):
    """How long an answer may reason: `budget` tokens. Then `forced` is said, which ends it."""

    budget: int
    opens: bytes  # empty: the prompt has opened it
    closes: bytes
    forced: str


class GenerationParams(Struct, frozen=True):
    """What a request wants of an engine, for each of its sequences."""

    sampling: SamplingParams
    max_tokens: int | None = None  # None: all that is left of the context
    text_bias: dict[str, float] = {}  # of every token of a text, as `logit_bias` of ids: only the engine can tokenise
    echo: bool = False  # tell the prompts' tokens
    prediction: str = ""  # what the answer may well be; it changes the speed only
    constraint: Constraint | None = None
    thinking: ThinkingBudget | None = None
    visible_special_tokens: list[str] = []  # control tokens whose text is part of the answer, by that text
    use_cache: bool = True  # else nothing that was computed for another sequence, or is being computed, is taken


class EngineSpec(Struct, frozen=True):
    """Which runner to start, and with what. None: the runner decides."""

    engine: str  # "auto", "mlx", "llama", or "module:Class" of any ModelRunner
    model: str  # a path
    context: int | None = None  # tokens each sequence can use
    parallel: int = 8  # sequences that run at once
    threads: int | None = None
    gpu_layers: int | None = None
    require_gpu: bool = False  # rather fail than compute on the CPU
    wired_limit: str | None = None  # "off", "recommended", or MiB
    log_level: str = "info"


class ModelInfo(Struct, frozen=True):
    """What a loaded model says of itself."""

    engine: str  # name and version
    device: str
    layers: str  # where they lie: "30 of 30 on CUDA0", "30 on the CPU"
    slots: int
    parallel: int  # how many of the slots may run at once
    context: int  # tokens each sequence can use, prompt and answer together
    trained_context: int
    kv_tokens: int  # tokens the KV pool holds, all slots together but those offloaded
    kv_bytes: int
    step_tokens: int  # the most tokens one step takes
    vocabulary: int  # number of token ids
    eog: frozenset[int]  # end-of-generation token ids
    template: str | None = None  # the model's own chat template, Jinja
    bos: str = ""
    eos: str = ""
    infill: tuple[str, str, str] | None = None  # what opens a text's beginning, its end, and the middle
    adds_bos: bool = False  # a text that no chat template made begins with `bos`
    sampling: SamplingDefaults = NOTHING  # the model's own
    samplers: frozenset[str] = frozenset()  # which of SAMPLERS it knows
    fingerprint: str = ""  # changes with the weights and the engine's version
    attention_tile_rows: int = (
        0  # rows that attention computes together, 0: no such tiles. Prompts fill them, decodes stay out
    )
    can_truncate: bool = True  # whether a slot can be cut anywhere; else only a whole slot can be gone on from
    draft_tokens: int = 0  # guessed tokens that all sequences of a step may have checked; 0: it does not pay
    draft_rows: int = 2**31  # where more sequences than that decode in a step, none has any checked
    offload_tokens: int = 0  # tokens that idle slots may offload beside the pool; 0: they cost nothing where they are
    kv_place: str = ""  # where the KV cache lies: "CUDA0", "CPU", "unified memory"


class Scored(Struct, frozen=True, array_like=True):
    """A token and how likely the model finds it by itself: before bias, penalties, grammar and temperature."""

    token: int
    logprob: float  # natural logarithm, at least MIN_LOGPROB
    text: bytes = b""  # its bytes or, where it is special, how the vocabulary writes it; the worker fills it in
    is_special: bool = False  # it adds nothing to the text


class Logprobs(Struct, frozen=True, array_like=True):
    """What was asked for of one place in a sequence: the token there, and the likeliest, best first."""

    chosen: Scored
    top: list[Scored]


class Output(Struct, frozen=True, array_like=True, omit_defaults=True):
    """The new tokens of one sequence. `pieces` are their bytes; the end-of-generation token's piece is empty."""

    id: int
    tokens: list[int]
    pieces: list[bytes]
    finish: FinishReason | None = None
    error: str | None = None  # with finish "error"
    param: str | None = None  # what in the request is at fault, if anything is
    logprobs: list[Logprobs] = []  # one per token, if asked for
    prompt_logprobs: list[Logprobs] = []  # of the prompt's next tokens, from its second on, if asked for
    drafted: int = 0  # tokens of the draft that was checked
    accepted: int = 0  # of these, how many were as guessed
    predicted: bool = False  # whether the client had predicted them
    schema_violated: bool = (
        False  # with finish "error": the model's value breaks the schema `param`; the request is not at fault
    )


class Row(Struct, frozen=True, array_like=True, gc=False):
    """One chunk of a step: tokens [start, stop) of a sequence, in a slot."""

    id: int
    slot: int
    start: int
    stop: int


class Admission(Struct, frozen=True, array_like=True):
    """A sequence got its slot: for the first time, or again after a preemption."""

    id: int
    cached: int  # tokens the slot held already
    queued: float  # seconds since it arrived


class StepRecord(Struct, frozen=True, array_like=True):
    """What the engine did in one step, and what it left behind. Made for every step, and where the last sequences are
    aborted: then nothing was done."""

    step: int
    seconds: float
    rows: list[Row]  # what was computed
    lost: list[int]  # the sequences of a batch that failed: nothing of it was computed
    admitted: list[Admission]
    preempted: list[int]
    waiting: int
    running: int
    idle: int  # slots without a sequence
    kv_used: int = 0  # tokens in the KV pool, those of idle slots too
