"""What goes to an engine and what it answers: plain data, shared by the server process and the engine process.

Knows neither an engine library nor HTTP. Times are seconds, lengths are tokens.
"""

from typing import Literal

from msgspec import Struct

from nitro.engines.adapters import AdapterInfo, AdapterSource, parse
from nitro.engines.options import EngineOptions
from nitro.engines.sampling_defaults import NOTHING, SamplingDefaults
from nitro.engines.sampling_params import COLD as COLD
from nitro.engines.sampling_params import SAMPLERS as SAMPLERS
from nitro.engines.sampling_params import SamplingParams as SamplingParams

FinishReason = Literal["stop", "length", "error"]

MIN_LOGPROB = -9999.0  # stands for −∞ and for what is no number, neither of which JSON has

IMPOSSIBLE = 1e-30  # less likely than the best one by this factor: float32 knows no logarithm of such a share


class Place(Struct, frozen=True):
    """Where a request has a schema."""

    param: str  # what the request calls the whole of it
    pointer: str = ""  # a JSON pointer in it; "": the whole
    tool: str = ""  # the tool whose arguments it describes


class Schema(Struct, frozen=True):
    """A JSON schema in JSON. If not `strict`, what of it cannot be enforced is let through, and reported."""

    source: str
    param: str  # what the request calls it
    strict: bool = True
    places: list[Place] = []  # all that have it, the first of which is `param`'s; none: it is the whole of `param`

    @property
    def all_places(self) -> list[Place]:
        """One at least."""
        return self.places or [Place(self.param)]


class PlainText(Struct, frozen=True):
    """A text without quotes, up to the mark with this number, that keeps a schema as a string would."""

    schema: Schema
    mark: int
    excluded: str = ""  # what it does not contain


class GrammarText(Struct, frozen=True):
    """A text that matches a grammar in Lark. `quoted`: as JSON writes it between quotes."""

    source: str
    param: str  # what the request calls it
    quoted: bool


class Constraint(Struct, frozen=True):
    """What an answer must be. It sleeps until the byte strings in `after` were produced, one after the other.

    A "layout" is Lark that refers to rules named after its `marks`, `texts`, `schemas` and `grammars`: see
    text/tool_grammar.py.
    """

    kind: Literal["json_schema", "grammar", "regex", "choice", "layout"]
    source: str  # a schema or a list of texts in JSON; a grammar in GBNF or Lark; a regular expression
    param: str  # what the request calls it
    after: list[bytes] = []
    reasoning_tags: tuple[str, str] | None = (
        None  # the answer may begin with the first; then it is free up to the second
    )
    call_opening: bytes = b""  # ends a reasoning, too: what follows it is under the constraint
    marks: list[str] = []
    schemas: list[Schema] = []
    texts: list[PlainText] = []
    grammars: list[GrammarText] = []
    required: bool = True  # the sequence may not end before it was met; else an answer may do without


class ThinkingBudget(Struct, frozen=True):
    """How long an answer may reason: `max_tokens`. Then the model has to write `closing_text`, which ends it."""

    max_tokens: int
    open_tag: bytes  # empty: the prompt has opened it
    close_tag: bytes
    closing_text: str
    call_opening: bytes = b""  # ends it, too, where a constraint holds calls to their schemas


class GenerationParams(Struct, frozen=True):
    """What a request wants of an engine, for each of its sequences."""

    sampling: SamplingParams
    max_tokens: int | None = None  # None: all that is left of the context
    text_bias: dict[str, float] = {}  # of every token of a text, as `logit_bias` of ids: only the engine can tokenise
    echo: bool = False  # return the prompts' tokens
    prediction: str = ""  # text that the answer is expected to be like; it changes the speed only
    constraint: Constraint | None = None
    thinking: ThinkingBudget | None = None
    visible_special_tokens: list[str] = []  # control tokens whose text is part of the answer, by that text
    use_cache: bool = True  # False: use nothing that was computed for another sequence, or is being computed


Pooling = Literal["mean", "cls", "last", "max"]  # of which tokens' vectors: all, the first, the last; the largest
Overflow = Literal["error", "truncate", "mean"]  # what becomes of an input that is too long


class EmbeddingInfo(Struct, frozen=True):
    """How a model makes vectors of texts. Lengths are tokens, and include those that are put around each input."""

    width: int  # numbers in a vector
    pooling: Pooling
    longest: int  # of an input
    step_tokens: int  # that `Embedder.embed` takes at a time of several inputs; a longer one comes alone
    step_inputs: int  # the same of inputs
    lanes: int = 1  # inputs that are computed side by side: so many may be longer together
    before: list[int] = []  # token ids that are put before each text: [CLS], say
    after: list[int] = []  # and after it
    dimensions: list[int] | None = None  # to which a vector may be cut; []: to any; None: it was not trained for that
    prefixes: dict[str, str] = {}  # text that goes before an input, by the type of the input
    default_prefix: str = ""  # for an input of no type
    encoder_only: bool = False  # the model generates no text
    pauses: bool = False  # whether `Embedder.embed` lets others compute in between


class RerankInfo(Struct, frozen=True):
    """How a model scores how well a document answers a query. Lengths are tokens, and include those that are put around
    both. It gives one number for each pair: the logit of "relevant".

    The pair is before + query + between + document + after or, with `text`, before + that text + after.
    """

    longest: int  # of a pair
    step_tokens: int  # that `Scorer.score` takes at a time of several pairs; a longer one comes alone
    step_inputs: int  # the same of pairs
    lanes: int = 1  # as in EmbeddingInfo
    before: list[int] = []  # token ids
    between: list[int] = []
    after: list[int] = []
    pauses: bool = False  # as in EmbeddingInfo: no scorer does
    text: str = ""  # the query stands for {query} in it, the document for {document}, which is its end
    encoder_only: bool = True  # the model generates no text


class MediaInfo(Struct, frozen=True):
    """Which media a model takes in its prompts."""

    image: bool = False
    audio: bool = False
    longest: int | None = None  # tokens that one medium takes at most; None: not known
    why_not: str = ""  # a sentence: why a model that has more takes text only


class EngineSpec(EngineOptions, frozen=True):
    """Which runner to start, and with what."""

    engine: str  # "auto", "mlx", "llama", or "module:Class" of any ModelRunner
    model: str  # a path
    kv_bytes: int | None = None  # that the KV cache may take; None: what is free
    projector: str | None = None  # the file that was found beside the model and may let it see or hear; a path
    adapters: list[AdapterSource] | None = None  # to be loaded with the model; None: those that `lora` says
    prefix_cache: str | None = None  # the folder where prefixes are kept; None: nowhere
    prefix_cache_bytes: int = 0  # that all prefixes in it may take
    stall_timeout: float | None = None  # seconds, of ranks (`hosts`): as the server has it

    @property
    def adapter_sources(self) -> list[AdapterSource]:
        """The adapters to be loaded with the model. Raises BadAdapters."""
        return parse(self.lora) if self.adapters is None else self.adapters


class ModelInfo(Struct, frozen=True):
    """What a loaded model reports of itself."""

    engine: str  # name and version
    device: str
    layers: str  # where they lie: "30 of 30 on the GPU", "all 30 on the CPU"
    slots: int
    parallel: int  # how many of the slots may run at once
    context: int  # tokens each sequence can use, prompt and answer together
    trained_context: int
    kv_tokens: int  # tokens the KV pool holds, all slots together but those offloaded
    kv_bytes: int  # with all of them; less may be allocated while fewer are used
    step_tokens: int  # the limit of tokens in a step
    vocabulary: int  # number of token ids
    eog: frozenset[int]  # end-of-generation token ids
    template: str | None = None  # the model's own chat template, Jinja
    tool_template: str | None = None  # the one that it has for requests with tools; None: there is one for all
    bos: str = ""
    eos: str = ""
    infill: tuple[str, str, str] | None = None  # what opens a text's beginning, its end, and the middle
    adds_bos: bool = False  # a text that no chat template made begins with `bos`
    sampling: SamplingDefaults = NOTHING  # the model's own
    samplers: frozenset[str] = frozenset()  # which of SAMPLERS it knows
    fingerprint: str = ""  # changes with the weights and the engine's version
    attention_tile_rows: int = 0  # rows that attention computes together: prompts fill them, decodes stay out; 0: none
    prompt_rows: int = 0  # rows of a prompt that take little more each than those of a long step; whole tiles, or 0
    can_truncate: bool = True  # whether a slot can be cut anywhere; else only a complete slot can be continued
    draft_tokens: int = 0  # draft tokens that all sequences of a step may have checked; 0: drafts do not pay
    draft_rows: int = 2**31  # where more sequences than that decode in a step, none has any checked
    has_draft_model: bool = False  # whether ModelRunner.guess may be called: a second model guesses, too
    offload_tokens: int = 0  # tokens that idle slots may offload beside the pool; 0: they cost nothing in the pool
    deterministic: bool = False  # whether it keeps what the option of that name promises
    prompt_grid: int = 0  # tokens: prompts are computed and reused in pieces of so many, see scheduling/prompt_grid.py
    embedding: EmbeddingInfo | None = None  # None: it makes no embeddings
    rerank: RerankInfo | None = None  # None: it is no reranker
    media: MediaInfo | None = None  # None: it takes text only
    workers: dict[str, int] = {}  # of its layers those on other machines, by HOST:PORT; the output is one
    kv_place: str = ""  # where the KV cache lies: "CUDA0", "CPU", "unified memory"
    takes_adapters: bool = False  # whether ModelRunner.load_adapter may be called
    mixes_adapters: bool = False  # whether a step may have chunks of several adapter sets
    adapters: list[AdapterInfo] = []  # that are loaded

    @property
    def generates(self) -> bool:
        """Whether it makes text."""
        about = self.embedding or self.rerank
        return about is None or not about.encoder_only


class ScoredToken(Struct, frozen=True, array_like=True, gc=False):
    """A token and how likely the model finds it by itself: before bias, penalties, grammar and temperature."""

    token: int
    logprob: float  # natural logarithm, at least MIN_LOGPROB
    text: bytes = b""  # its bytes or, where it is special, how the vocabulary writes it; the worker fills it in
    is_special: bool = False  # it adds nothing to the text


class Logprobs(Struct, frozen=True, array_like=True, gc=False):
    """The logprobs of one place in a sequence: of the token there, and of the likeliest, best first."""

    chosen: ScoredToken
    top: list[ScoredToken]


class Output(Struct, array_like=True, omit_defaults=True, gc=False):
    """The new tokens of one sequence. `pieces` are their bytes, filled in by the worker; the end-of-generation token's
    piece is empty."""

    id: int
    tokens: list[int]
    pieces: list[bytes]
    finish: FinishReason | None = None
    error: str | None = None  # with finish "error"
    param: str | None = None  # the parameter of the request that is at fault, if any is
    logprobs: list[Logprobs] = []  # one per token, if requested
    prompt_logprobs: list[Logprobs] = []  # of the prompt's next tokens, from its second on, if requested
    drafted: int = 0  # tokens of the draft that was checked
    accepted: int = 0  # of these, how many the model drew itself
    predicted: bool = False  # whether they came from the client's prediction
    modelled: bool = False  # whether they came from the draft model
    schema_violated: bool = False  # with "error": the model's value breaks the schema `param`; no fault of the request
    too_large: bool = False  # with "error": the device has no memory for it, even alone

    @property
    def weight(self) -> int:
        """Bytes of memory, about, as CPython lays it out: 200 for itself and its lists, 100 for a token. Without the
        prompt's logprobs, which come once, however fast they are read."""
        tokens = len(self.tokens) + sum(1 + len(each.top) for each in self.logprobs)
        return 200 + 100 * tokens + sum(map(len, self.pieces))


class ChunkRecord(Struct, frozen=True, array_like=True, gc=False):
    """One chunk of a step: tokens [start, stop) of a sequence, in a slot."""

    id: int
    slot: int
    start: int
    stop: int


class Admission(Struct, frozen=True, array_like=True, gc=False):
    """A sequence got its slot: for the first time, or again after a preemption."""

    id: int
    cached: int  # tokens the slot held already
    queued: float  # seconds since it arrived
    written: int = 0  # tokens that it computes, and that stay in the prefix cache because the request says so


class SlotState(Struct, frozen=True, array_like=True):
    """What one slot of the KV cache holds. An idle one is a cached prefix: it has no `id`."""

    slot: int
    held: int  # tokens
    id: int | None = None  # the sequence that has it
    prompt: int = 0  # tokens of its prompt; once the slot holds so many it decodes
    cached: int = 0  # tokens that the slot held when the sequence got it
    offloaded: bool = False  # beside the pool


class LoadProgress(Struct, frozen=True):
    """How far a load has come: bytes of weights."""

    read: int
    total: int


class StepRecord(Struct, frozen=True, array_like=True):
    """What the engine did in one step, and how things stand after it.

    Made for every step, and when the last sequences are aborted, or a step of embeddings takes long: then it has
    computed nothing.
    """

    step: int
    seconds: float
    rows: list[ChunkRecord]  # what was computed
    lost: list[int]  # the sequences of a batch that failed: nothing of it was computed
    admitted: list[Admission]
    preempted: list[int]
    waiting: int
    running: int
    idle: int  # slots without a sequence
    kv_used: int = 0  # tokens in the KV pool, those of idle slots too
    embedded: int = 0  # inputs that were embedded, instead of rows
    inputs: int = 0  # that wait to be embedded
    kv_running: int = 0  # of `kv_used`, without those of idle slots
