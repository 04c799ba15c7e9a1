"""Embeddings and scores: lists of numbers, in the order of the inputs."""

import base64
import binascii
from array import array
from typing import Any

from nitro.records.answers.draft import Draft, Json, count, error_of, table, tables


def read(draft: Draft, reply: Json | list[Any]) -> None:
    """Add a reply."""
    if isinstance(reply, list):  # text-embeddings-inference's
        draft.vectors = _scores(tables(reply), "score")
        return
    draft.error = error_of(reply)
    usage = table(reply.get("usage"))
    draft.prompt_tokens = count(usage.get("prompt_tokens"), count(reply.get("prompt_eval_count")))
    if "results" in reply:
        draft.vectors = _scores(tables(reply["results"]), "relevance_score")
    elif "data" in reply:
        found = tables(reply["data"])
        scored = found and "score" in found[0]
        draft.vectors = _scores(found, "score") if scored else [_vector(each.get("embedding")) for each in found]
    elif "embeddings" in reply:
        draft.vectors = [_vector(each) for each in reply["embeddings"] or []]
    elif "embedding" in reply:
        draft.vectors = [_vector(reply["embedding"])]


def _scores(found: list[Json], name: str) -> list[list[float]]:
    """By the documents' places: their order follows from the scores."""
    placed = sorted(found, key=lambda each: count(each.get("index")) or 0)
    return [_vector([each.get(name)]) for each in placed]


def _vector(value: Any) -> list[float]:
    """A list of numbers, or float32 in base64."""
    if isinstance(value, str):
        try:
            return list(array("f", base64.b64decode(value, validate=True)))
        except (binascii.Error, ValueError):
            return []
    return [float(each) for each in value if isinstance(each, int | float)] if isinstance(value, list) else []
