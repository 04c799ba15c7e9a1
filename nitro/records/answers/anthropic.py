"""Anthropic's Messages: a message of blocks, or events that begin them and make them grow."""

import json

from nitro.records.answers.draft import Draft, Json, count, error_of, table, tables, text


def read(draft: Draft, reply: Json) -> None:
    """Add a message, or an event."""
    kind = reply.get("type")
    if kind == "error":
        draft.error = error_of(reply) or "an error"
    elif kind == "message":
        _message(draft, reply)
    elif kind == "message_start":
        _message(draft, table(reply.get("message")))
    elif kind == "content_block_start":
        _block(draft, reply.get("index"), table(reply.get("content_block")), streamed=True)
    elif kind == "content_block_delta":
        _delta(draft, reply.get("index"), table(reply.get("delta")))
    elif kind == "message_delta":
        choice = draft.choice()
        choice.finish = text(table(reply.get("delta")).get("stop_reason")) or choice.finish
        _usage(draft, table(reply.get("usage")))


def _message(draft: Draft, message: Json) -> None:
    choice = draft.choice()
    for place, block in enumerate(tables(message.get("content"))):
        _block(draft, place, block, streamed=False)
    choice.finish = text(message.get("stop_reason")) or choice.finish
    _usage(draft, table(message.get("usage")))


def _block(draft: Draft, place: object, block: Json, streamed: bool) -> None:
    choice = draft.choice()
    choice.text += text(block.get("text"))
    choice.reasoning += text(block.get("thinking"))
    if block.get("type") == "tool_use":
        call = choice.call(place)
        call.name = text(block.get("name"))
        if not streamed:
            call.arguments = json.dumps(block.get("input"), ensure_ascii=False, separators=(",", ":"))


def _delta(draft: Draft, place: object, delta: Json) -> None:
    choice = draft.choice()
    choice.text += text(delta.get("text"))
    choice.reasoning += text(delta.get("thinking"))
    if delta.get("type") == "input_json_delta":
        choice.call(place).arguments += text(delta.get("partial_json"))


def _usage(draft: Draft, usage: Json) -> None:
    """Anthropic counts what was cached, or is to be, apart."""
    parts = [count(usage.get(f"{name}input_tokens")) for name in ("", "cache_read_", "cache_creation_")]
    if parts[0] is not None:
        draft.prompt_tokens = sum(part or 0 for part in parts)
        draft.cached_tokens = count(parts[1], draft.cached_tokens)
    draft.completion_tokens = count(usage.get("output_tokens"), draft.completion_tokens)
