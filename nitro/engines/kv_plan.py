"""How much KV cache an engine makes of free memory: arithmetic, which the server's estimate shares with the engines."""

from dataclasses import dataclass, field, replace

MIN_CONTEXT = 256  # tokens; a model that cannot have this much is of no use
MIB = 2**20
SPARE_SLOTS = 8  # idle slots beyond the parallel ones, each a cached prefix


class DoesNotFit(Exception):
    """There is not enough memory. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes."""

    token: int  # of one token, in layers that see all
    window_token: int = 0  # of one token, in layers that see a window; they keep as many tokens as that is long
    state: int = 0  # of one sequence, in recurrent layers


@dataclass(frozen=True, slots=True)
class KVPlan:
    """How the KV cache is divided."""

    context: int  # tokens each sequence can use
    pool: int  # tokens in all
    full_windows: bool = True  # whether layers that see a window only keep all tokens, as the others do
    token_bytes: int = field(default=0, compare=False)  # KV cache of each


def plan(requested: int | None, trained: int, parallel: int, token_bytes: int, free_bytes: int) -> KVPlan:
    """The context each sequence gets, and the pool they share.

    The pool is context × parallel where that fits into half of the free memory, else what fits there, and never less
    than one context. Where no context is requested, it is the trained length, or as much as half of the free memory
    holds. Raises DoesNotFit where the context does not fit at all.
    """
    room = free_bytes // token_bytes
    if requested is not None and requested > room:
        raise DoesNotFit(
            f"--ctx {requested} needs {requested * token_bytes / MIB:.0f} MiB for the KV cache of one request; "
            f"{free_bytes / MIB:.0f} MiB are free, enough for --ctx {room}."
        )
    context = requested if requested is not None else min(trained, room // 2)
    minimum = min(trained, MIN_CONTEXT)
    if requested is None and context < minimum:
        raise DoesNotFit(
            f"There is no memory for a KV cache: {free_bytes / MIB:.0f} MiB are free, of which half may be used, "
            f"and {minimum} tokens need {minimum * token_bytes / MIB:.0f} MiB."
        )
    return KVPlan(context, max(context, min(context * parallel, room // 2)), token_bytes=token_bytes)


def plan_windows(
    needs: Footprint, window_tokens: int, free: int, requested: int | None, parallel: int, trained: int
) -> KVPlan:
    """As `plan`, for models with windows and states. Layers with a window keep all tokens, so that they can be cut
    anywhere, where the pool that is wanted fits so into half of what is `free`; else they keep `window_tokens` in all.
    Raises DoesNotFit."""
    free -= needs.state * (parallel + SPARE_SLOTS)
    whole = needs.token + needs.window_token
    if not needs.window_token:
        return plan(requested, trained, parallel, whole, max(free, 0))
    try:
        made = plan(requested, trained, parallel, whole, max(free, 0))
    except DoesNotFit:
        made = None
    wanted = (requested or trained) * parallel
    if made is not None and made.pool >= wanted:
        return made
    free -= needs.window_token * window_tokens
    small = plan(requested, trained, parallel, needs.token, max(free, 0))
    return replace(small, full_windows=False)
