"""One generation as the engine process keeps it, from the queue to its last token."""

from dataclasses import dataclass, field

from nitro.engines.adapters import AdapterSet
from nitro.engines.media_encoder import EncodedRuns
from nitro.engines.runner import Matcher
from nitro.engines.scheduling.kept_prefixes import KeptPrefix
from nitro.engines.scheduling.speculation import Drafter
from nitro.engines.shares import NOBODYS, Share
from nitro.engines.types import SamplingParams

ALL = 2**62  # tokens; more than there can be
KV_RESERVE = 256  # tokens of KV that are kept free for what a sequence may yet generate


@dataclass(slots=True, eq=False)
class Sequence:
    """One generation in the engine. `tokens` are prompt and answer so far.

    `tokens` begins as the prompt, and the scheduler appends to it. `max_tokens`, of the answer, fits into the context
    beside the prompt.
    """

    id: int
    tokens: list[int]
    max_tokens: int
    sampling: SamplingParams
    arrived: float = 0.0  # time.monotonic()
    matcher: Matcher | None = None
    drafter: Drafter = field(default_factory=Drafter)
    snapshot_points: tuple[int, ...] = ()  # ascending positions in the prompt at which a copy of its slot is to be kept
    keeps: tuple[KeptPrefix, ...] = ()  # prefixes of the prompt that are to stay in the cache
    visible_special_tokens: frozenset[int] = frozenset()  # control tokens whose text is part of the answer
    bypass_cache: bool = False  # nothing of it may come from a cache
    media: EncodedRuns = field(default_factory=dict)  # those that its prompt has
    adapters: AdapterSet = ()  # that are applied
    share: Share = NOBODYS  # for whom it is computed
    prompt_length: int = field(init=False)
    computed: int = field(init=False, default=0)  # tokens that its slot holds
    cached: int = field(init=False, default=0)  # tokens that its slot held when it got it
    written: int = field(init=False, default=0)  # tokens that it computes, and that stay in the cache
    slot: int | None = field(init=False, default=None)  # None: it waits
    scored: int = field(init=False, default=0)  # tokens of the prompt whose logprobs have gone out
    overtaken: int = field(init=False, default=0)  # times that a younger one went first
    leader: int | None = field(init=False, default=None)  # the sequence whose prefix it has waited for
    alone: bool = field(init=False, default=False)  # there is no memory to compute it beside others
    denied: bool = field(init=False, default=False)  # the host had no memory for its KV beside others, the last time
    longest_chunk: int = field(init=False, default=ALL)  # tokens of its prompt that there is memory for at a time
    age: tuple[int, int] = field(init=False, default=(0, 0))  # round and number; smaller is older

    def __post_init__(self) -> None:
        self.prompt_length = len(self.tokens)
        self.bypass_cache = self.bypass_cache or self.sampling.prompt_logprobs  # what is to be scored must be computed

    @property
    def pending(self) -> int:
        """Tokens that are yet to be computed; 1: it decodes."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.prompt_length

    @property
    def reserve(self) -> int:
        """KV tokens to keep free for it: what it has, and some of what it may yet generate; all if it is `alone`."""
        if self.alone:
            return ALL
        return len(self.tokens) + min(self.max_tokens - self.generated, KV_RESERVE)

    @property
    def next_snapshot(self) -> int:
        """The position of the next snapshot, or the end of its tokens."""
        for point in self.snapshot_points:
            if point > self.computed:
                return point
        return len(self.tokens)
