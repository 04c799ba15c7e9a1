"""Names in a request for a response that are not ours: what becomes of each. The sources are those of chat's tables.

What another server calls a parameter of chat completions means the same here, where there is that parameter.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nitro.api.names import Harmless, Known, Mapped, Opened, Refused, Translate
from nitro.api.openai.names import harmless, mapped, refused
from nitro.api.openai.names.refused import NONE, OFF, ON
from nitro.api.openai.names.sources import ANTHROPIC, LLAMA_SERVER, OLLAMA, OPENAI, OPENROUTER, OTHERS, VLLM
from nitro.api.openai.names.translations import no_object

# Parameters of chat that have another place here
MOVED = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}
_NO_PLACE = ("n", "logprobs", "include_reasoning", "reasoning_format")  # and those that have none
_HANDED_BACK = "Part of a reply that is handed back."


def _moved(row: Mapped) -> Mapped:
    """A row of chat's, which sets the same here."""
    if isinstance(row, Opened):
        return replace(row, inside={name: moved for name, each in row.inside.items() if (moved := _known(each))})
    translate = _renaming(row.translate) if row.translate else None
    return replace(row, to=MOVED.get(row.to, row.to), translate=translate)


def _renaming(translate: Translate) -> Translate:
    def moved(value: Any, where: str) -> Mapping[str, Any]:
        return {MOVED.get(name, name): each for name, each in translate(value, where).items()}

    return moved


def _known(row: Known) -> Known | None:
    """The row as it is here; None: there is no such parameter."""
    if not isinstance(row, Mapped):
        return row
    return None if row.to in _NO_PLACE else _moved(row)


_OPENAI: dict[str, Known] = {
    "prompt": Refused(sources=(OPENAI,), note="A template of a prompt is kept at its provider: send `instructions`."),
    "context_management": Refused(sources=(OPENAI,), neutral=NONE, note="A prompt that does not fit is a 400."),
    "moderation": Refused(sources=(OPENAI,)),
    "background_options": Opened(
        sources=(OPENAI,),
        inside={
            "completion_window": Harmless(sources=(OPENAI,), note="It begins as soon as it can, at one price."),
            "continuation_id": Harmless(sources=(OPENAI,), note="A hint for the order of requests."),
        },
        translate=no_object,
    ),
    "image": Harmless(sources=(OPENAI,), note="How images are shrunk, of which there are none."),
    "access_programs": Harmless(sources=(OPENAI,), note="For the provider's books."),
    "client_metadata": Harmless(sources=(OPENAI,), note="Codex's: who asks."),
}
_OF_CHAT: dict[str, Known] = {
    "messages": Refused(sources=(OPENAI,), note="The conversation goes into `input`."),
    "max_tokens": Mapped(sources=(OPENAI, OTHERS), to="max_output_tokens", neutral=(-1,)),
    "max_completion_tokens": Mapped(sources=(OPENAI,), to="max_output_tokens", neutral=(-1,)),
    "reasoning_effort": Mapped(sources=(OPENAI,), to="reasoning.effort"),
    "response_format": Mapped(sources=(OPENAI,), to="text.format"),
    "verbosity": Mapped(sources=(OPENAI, OPENROUTER), to="text.verbosity"),
    "n": Refused(sources=(OPENAI,), neutral=(1,), note="A response is one answer."),
    "logprobs": Refused(sources=(OPENAI,), neutral=OFF, note='Use `include`: ["message.output_text.logprobs"].'),
    "functions": Refused(sources=(OPENAI,), neutral=NONE, note="Use `tools`."),
    "function_call": Refused(sources=(OPENAI,), neutral=("none", "auto"), note="Use `tool_choice`."),
    "return_tokens": Refused(sources=(LLAMA_SERVER,), neutral=OFF, note="Chat completions have it."),
    "timings_per_token": Refused(sources=(LLAMA_SERVER,), neutral=OFF, note="Chat completions have it."),
    "include_reasoning": Refused(sources=(VLLM, OPENROUTER), neutral=ON, note="A response has its reasoning."),
    "reasoning_format": Refused(sources=(LLAMA_SERVER,), neutral=("auto",), note="Use `reasoning.summary`."),
}
_MOVED: dict[str, Known] = {
    name: row for name, each in {**mapped.COMMON, **mapped.CHAT}.items() if (row := _known(each))
}
_OPTIONS: dict[str, Known] = {name: row for name, each in mapped.OPTIONS.items() if (row := _known(each))}

_OTHERS: dict[str, Known] = {
    **_MOVED,
    **harmless.COMMON,
    **harmless.OPTIONS,
    **refused.COMMON,
    **refused.CHAT,
    **_OF_CHAT,
    "options": Opened(
        sources=(OLLAMA,),
        inside={**harmless.OPTIONS, **refused.OPTIONS, **_OPTIONS},
        translate=no_object,
        note="Sampling parameters, `seed` and `stop` have the meaning that they have at the top.",
    ),
    **_OPENAI,
}
OWN = (  # names that chat's tables know, and that are fields here
    *("input", "instructions", "text", "truncation", "include", "previous_response_id", "conversation", "background"),
    *("max_tool_calls", "reasoning", "metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
    *("service_tier", "store", "user", "max_output_tokens"),
)
RESPONSE: Mapping[str, Known] = {name: row for name, row in _OTHERS.items() if name not in OWN}

REASONING: Mapping[str, Known] = {
    "generate_summary": Mapped(sources=(OPENAI,), to="summary", note="Its older name."),
    "mode": Refused(sources=(OPENAI, OPENROUTER), neutral=("standard",)),
    "context": Refused(
        sources=(OPENAI,), neutral=("auto", "all_turns"), note="The model's template says which reasoning it is shown."
    ),
    "max_tokens": Refused(sources=(OPENROUTER,), note="Use `thinking_budget`."),
    "enabled": Refused(sources=(OPENROUTER,), neutral=ON, note="Use `enable_thinking`."),
    "exclude": Refused(sources=(OPENROUTER,), neutral=OFF, note="A response has its reasoning."),
}
STREAM_OPTIONS: Mapping[str, Known] = {
    "include_obfuscation": Harmless(sources=(OPENAI,), note="Events are never padded."),
    "include_usage": Harmless(sources=(OPENAI,), note="The last event has it."),
}

# Names in an item, a part of its content or a tool that have no effect on the answer
_CACHE: dict[str, Known] = {
    "prompt_cache_breakpoint": Harmless(sources=(OPENAI,), note="It counts in the parts of messages."),
    "cache_control": Harmless(sources=(ANTHROPIC, OPENROUTER), note="It counts in the parts of messages."),
}
ITEM: Mapping[str, Known] = {
    **_CACHE,
    **{
        name: Harmless(sources=sources, note=_HANDED_BACK)
        for name, sources in {
            "id": (OPENAI,),
            "status": (OPENAI,),
            "phase": (OPENAI,),
            "caller": (OPENAI,),
            "async": (OPENAI,),
            "created_by": (OPENAI,),
            "agent": (OPENAI,),
            "parsed_arguments": (OPENAI,),
            "metadata": (OTHERS,),
            "provider_data": (OTHERS,),
            "internal_chat_message_metadata_passthrough": (OPENAI,),
        }.items()
    },
}
PART: Mapping[str, Known] = {
    **_CACHE,
    **{
        name: Harmless(sources=(OPENAI,), note=_HANDED_BACK)
        for name in ("annotations", "logprobs", "parsed", "id", "index")
    },
}
MEDIA_PART: Mapping[str, Known] = {
    **PART,
    "file_url": Refused(sources=(OPENAI,), note="Only texts, images and sounds are taken."),
    "file_data": Refused(sources=(OPENAI,), note="Only texts, images and sounds are taken."),
    "filename": Harmless(sources=(OPENAI,), note="A file is known by its first bytes."),
}
TOOL: Mapping[str, Known] = {
    **_CACHE,
    "allowed_callers": Harmless(sources=(OPENAI,), note="Every call is the model's own."),
    "output_schema": Harmless(sources=(OPENAI,), note="The description is what the model sees."),
    "defer_loading": Harmless(sources=(OPENAI,), note="Every tool is shown at once, so that none has to be found."),
    "async": Refused(sources=(OPENAI,), neutral=OFF, note="A call ends the answer until its output is sent."),
}
