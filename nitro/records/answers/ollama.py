"""Ollama's chat and generate: a reply, or lines of it, with a message or a response."""

import json

from nitro.records.answers.draft import Draft, Json, count, error_of, table, tables, text


def read(draft: Draft, reply: Json) -> None:
    """Add a reply, or a line."""
    if isinstance(reply.get("error"), str):
        draft.error = draft.error or error_of(reply)
        return
    choice = draft.choice()
    message = table(reply.get("message"))
    choice.text += text(reply.get("response")) + text(message.get("content"))
    choice.reasoning += text(reply.get("thinking")) + text(message.get("thinking"))
    for found in tables(message.get("tool_calls")):
        function = table(found.get("function"))
        call = choice.call(len(choice.calls))
        call.name = text(function.get("name"))
        call.arguments = json.dumps(function.get("arguments"), ensure_ascii=False, separators=(",", ":"))
    choice.finish = text(reply.get("done_reason")) or choice.finish
    draft.prompt_tokens = count(reply.get("prompt_eval_count"), draft.prompt_tokens)
    draft.completion_tokens = count(reply.get("eval_count"), draft.completion_tokens)
