"""OpenAI's Responses: the last event of a stream has the whole response in it, as a reply has."""

from nitro.records.answers.draft import Draft, Json, count, error_of, table, tables, text


def read(draft: Draft, reply: Json) -> None:
    """Add a response, or an event."""
    if reply.get("object") == "response":
        return _response(draft, reply)
    kind = text(reply.get("type"))
    if kind == "error":
        draft.error = text(reply.get("message")) or error_of(reply) or "an error"
    elif isinstance(reply.get("response"), dict):
        _response(draft, table(reply["response"]))
    elif kind == "response.output_text.delta":  # for a stream that is cut
        draft.choice().text += text(reply.get("delta"))
    elif not kind:
        draft.error = draft.error or error_of(reply)


def _response(draft: Draft, response: Json) -> None:
    choice = draft.choice()
    items = tables(response.get("output"))
    ended = response.get("status") in ("completed", "incomplete", "failed", "cancelled")
    if ended or items:
        choice.text, choice.reasoning, choice.calls = "", "", {}
    for place, item in enumerate(items):
        kind = item.get("type")
        if kind == "message":
            choice.text += "".join(text(part.get("text")) for part in tables(item.get("content")))
        elif kind == "reasoning":
            parts = tables(item.get("summary")) + tables(item.get("content"))
            choice.reasoning += "".join(text(part.get("text")) for part in parts)
        elif kind in ("function_call", "custom_tool_call"):
            call = choice.call(place)
            call.name = text(item.get("name"))
            call.arguments = text(item.get("arguments")) or text(item.get("input"))
    choice.finish = _finish(response) if ended else choice.finish
    if response.get("status") == "failed":
        draft.error = error_of(response) or "the response has failed"
    usage = table(response.get("usage"))
    draft.prompt_tokens = count(usage.get("input_tokens"), draft.prompt_tokens)
    draft.completion_tokens = count(usage.get("output_tokens"), draft.completion_tokens)
    cached = table(usage.get("input_tokens_details")).get("cached_tokens")
    draft.cached_tokens = count(cached, draft.cached_tokens)


def _finish(response: Json) -> str:
    return text(table(response.get("incomplete_details")).get("reason")) or text(response.get("status"))
