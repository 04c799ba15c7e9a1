"""What is told of a running server: a snapshot, then changes. Times are seconds, lengths tokens, sizes bytes."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from nitro.models.pool_entry import State
from nitro.text.deltas import Channel

Phase = Literal["reading", "queued", "prompt", "answer", "done", "failed", "left"]


class LiveSlot(Struct, frozen=True, omit_defaults=True):
    """A slot of the KV cache. Without a `request` it is a cached prefix. While `held` is less than `prompt` the prompt
    is computed, `cached` of which were there before; then tokens are generated."""

    slot: int
    held: int
    request: str | None = None
    prompt: int = 0
    cached: int = 0
    offloaded: bool = False


class LiveLoad(Struct, frozen=True):
    """How far a load is: bytes of the weights."""

    read: int
    total: int


class LiveCounts(Struct):
    """Since somebody began to look: tokens generated, tokens of prompts computed, and found in the cache."""

    generated: int = 0
    computed: int = 0
    cached: int = 0


class LiveModel(Struct, frozen=True, kw_only=True):
    """A model that was wanted so far. `bytes`: what is set aside for it while it is loaded, else the size of its files.
    `inputs`: that wait to be embedded. `kv_tokens`: what the KV pool holds at most."""

    id: str
    state: State
    reason: str | None
    bytes: int
    loaded: bool
    loading: LiveLoad | None
    engine: str | None
    device: str | None
    context: int | None
    parallel: int
    running: int
    waiting: int
    inputs: int
    kv_used: int
    kv_tokens: int
    counts: LiveCounts
    slots: list[LiveSlot]


class LiveSpan(Struct, frozen=True):
    """Where a part of an answer begins, in seconds after the request."""

    channel: Channel
    since: float


class LiveRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request, of its whole life. `began`: Unix time; the other times are seconds after that. `accepted`: by the
    engine; `started`: the first of its sequences has a slot; `first`: its first tokens; `last`: its latest. `spans`: of
    its first choice. `reason`: why it failed."""

    id: str
    route: str
    model: str
    phase: Phase
    began: float
    accepted: float | None = None
    started: float | None = None
    first: float | None = None
    last: float | None = None
    ended: float | None = None
    spans: list[LiveSpan] = []
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    inputs: int = 0
    finish: list[str] = []
    reason: str | None = None


class Snapshot(Struct, frozen=True, kw_only=True, tag_field="type", tag="snapshot"):
    """How things stand. `time`: Unix time. `memory`: bytes for models. `requests`: those that are under way, and the
    last that have ended."""

    time: float
    version: str
    memory: int
    models: list[LiveModel]
    requests: list[LiveRequest]


class Change(Struct, frozen=True, kw_only=True, tag_field="type", tag="change"):
    """What is otherwise since the event before: all models, if any is, and the requests that are new or have gone on.
    A request that is under way no more comes once with its end."""

    time: float
    models: list[LiveModel] | UnsetType = UNSET
    requests: list[LiveRequest] | UnsetType = UNSET
