"""Replies of the routes of batches. Shapes: `openai/types/batch*.py` of the Python SDK 3.54."""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from nitro.batches.line_form import Fault
from nitro.state import batches

Status = Literal["validating", "failed", "in_progress", "completed", "expired", "cancelling", "cancelled"]


class RequestCounts(Struct):
    """Lines."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(Struct):
    """Of the prompts' tokens."""

    cached_tokens: int


class OutputTokensDetails(Struct):
    """Of the answers' tokens."""

    reasoning_tokens: int


class BatchUsage(Struct):
    """Tokens of all answers together."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class BatchErrors(Struct):
    """What is wrong with the lines of a batch that failed: the first hundred faults."""

    data: list[Fault]
    object: Literal["list"] = "list"


class Batch(Struct):
    """A batch. Times are seconds since 1970. `model`: that answered, where it was one."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: Status
    created_at: int
    expires_at: int
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: Raw
    model: str | None = None
    errors: BatchErrors | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    object: Literal["batch"] = "batch"


class BatchList(Struct):
    """Some batches. `has_more`: there are others behind them."""

    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


_faults = msgspec.json.Decoder(list[Fault]).decode


def described(found: batches.Batch) -> Batch:
    """A batch as clients see it."""
    batch = Batch(
        id=found.id,
        endpoint=found.endpoint,
        input_file_id=found.input,
        completion_window=found.window,
        status=found.status,  # type: ignore[arg-type]
        created_at=found.created,
        expires_at=found.expires,
        request_counts=RequestCounts(found.total, found.completed, found.failed),
        usage=_usage(found),
        metadata=Raw(found.metadata),
        model=found.model or None,
        errors=BatchErrors(_faults(found.errors)) if found.errors else None,
        output_file_id=found.output,
        error_file_id=found.failures,
        in_progress_at=found.in_progress_at,
        cancelling_at=found.cancelling_at,
    )
    if found.ended_at is not None:
        setattr(batch, f"{found.status}_at", found.ended_at)
    if found.status == "completed":
        batch.finalizing_at = found.ended_at
    return batch


def _usage(found: batches.Batch) -> BatchUsage:
    return BatchUsage(
        input_tokens=found.input_tokens,
        input_tokens_details=InputTokensDetails(found.cached_tokens),
        output_tokens=found.output_tokens,
        output_tokens_details=OutputTokensDetails(found.reasoning_tokens),
        total_tokens=found.input_tokens + found.output_tokens,
    )
