"""Chat and text completions: replies and chunks alike, whose choices have a message, a delta, or a text."""

from typing import Any

from nitro.records.answers.draft import ChoiceDraft, Draft, Json, count, error_of, table, tables, text


def read(draft: Draft, reply: Json) -> None:
    """Add a reply, or a chunk."""
    draft.error = draft.error or error_of(reply)
    draft.fingerprint = text(reply.get("system_fingerprint")) or draft.fingerprint
    for place, found in enumerate(tables(reply.get("choices"))):
        choice = draft.choice(count(found.get("index"), place) or 0)
        choice.text += text(found.get("text"))
        for part in (table(found.get("message")), table(found.get("delta"))):
            _add(choice, part)
        choice.finish = text(found.get("finish_reason")) or choice.finish
    usage = table(reply.get("usage"))
    draft.prompt_tokens = count(usage.get("prompt_tokens"), draft.prompt_tokens)
    draft.completion_tokens = count(usage.get("completion_tokens"), draft.completion_tokens)
    cached = table(usage.get("prompt_tokens_details")).get("cached_tokens")
    draft.cached_tokens = count(cached, draft.cached_tokens)


def _add(choice: ChoiceDraft, part: Json) -> None:
    choice.text += _content(part.get("content"))
    choice.reasoning += text(part.get("reasoning_content")) or text(part.get("reasoning"))
    for place, found in enumerate(tables(part.get("tool_calls"))):
        _call(choice, count(found.get("index"), place), table(found.get("function")))
    if function := table(part.get("function_call")):  # as it was before tools
        _call(choice, None, function)


def _call(choice: ChoiceDraft, key: Any, function: Json) -> None:
    call = choice.call(key)
    call.name = call.name or text(function.get("name"))
    call.arguments += text(function.get("arguments"))


def _content(content: Any) -> str:
    if isinstance(content, list):
        return "".join(text(part.get("text")) for part in tables(content))
    return text(content)
