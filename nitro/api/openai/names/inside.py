"""Names inside messages, their parts and calls, tools, and other objects of a request.

Clients send back what they got from servers: much of it is harmless here. `Opening` is for objects that no struct
describes, since they go to templates and grammars as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nitro.api.media_parts import not_taken
from nitro.api.names import Harmless, Known, Mapped, Refused
from nitro.api.openai.names.sources import (
    ANTHROPIC,
    OLLAMA,
    OPENAI,
    OPENROUTER,
    OTHERS,
    SGLANG,
    VLLM,
)
from nitro.errors import ApiError

_CACHE: dict[str, Known] = {
    "cache_control": Mapped(
        sources=(ANTHROPIC, OPENROUTER), to="", note="The prompt up to here stays in the prefix cache."
    ),
}
_SENT_BACK = "Part of a reply that is sent back."


@dataclass(frozen=True, slots=True, kw_only=True)
class Media(Refused):
    """What a part has that is neither text nor an image nor a sound."""

    def refusal(self, where: str) -> ApiError:
        """400, as for the part's `type`."""
        part, _, name = where.rpartition(".")
        return not_taken(name, part)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherTool(Refused):
    """What a tool, a call or a choice has that is not a function's."""

    def refusal(self, where: str) -> ApiError:
        """400, as for its `type`."""
        place, _, name = where.rpartition(".")
        message = f"Unsupported value: '{place}.type' is '{name}'; only functions can be called here."
        return ApiError(400, message, param=f"{place}.type", code="unsupported_value")


_CUSTOM = OtherTool(sources=(OPENAI,), note="Only functions can be called here.")

_USUAL = ("annotations", "audio", "reasoning_details", "provider_specific_fields")
MESSAGE: dict[str, Known] = {
    "thinking": Mapped(sources=(OLLAMA,), to="reasoning_content"),
    "tool_name": Mapped(sources=(OLLAMA,), to="name"),
    **{
        name: Harmless(sources=sources, note=_SENT_BACK, usual=name in _USUAL)
        for name, sources in {
            "annotations": (OPENAI, VLLM),
            "audio": (OPENAI, VLLM, OPENROUTER),
            "reasoning_details": (OPENROUTER,),
            "thinking_blocks": (OTHERS,),
            "thinking_signature": (OTHERS,),
            "provider_specific_fields": (OTHERS,),
            "extra_content": (OTHERS,),
            "citations": (OTHERS,),
            "parsed": (OPENAI,),
            "id": (OPENAI,),
            "status": (OPENAI,),
            "type": (OPENAI,),
            "model": (OPENROUTER,),
            "metadata": (OTHERS,),
            "created_at": (OTHERS,),
            "timestamp": (OTHERS,),
        }.items()
    },
    "prefix": Harmless(sources=(OTHERS,), note="DeepSeek's and Mistral's: a last assistant message is continued."),
    "weight": Harmless(sources=(OPENAI,), note="Of data for fine-tuning."),
    "images": Refused(sources=(OLLAMA, OPENROUTER), neutral=([],), note="This model takes text only."),
    "tools": Refused(sources=(SGLANG,), neutral=([],), note="Offer `tools` at the top of the request."),
    "documents": Refused(sources=(OTHERS,), neutral=([],), note="Use `chat_template_kwargs`."),
}

PART: dict[str, Known] = {
    **{
        name: Media(sources=sources, note="Texts, images and sounds are taken.")
        for name, sources in {
            "file": (OPENAI,),
            "file_id": (OPENAI,),
            "file_data": (OPENAI,),
            "file_url": (OPENAI,),
            "video_url": (VLLM, SGLANG, OPENROUTER),
            "image_pil": (VLLM,),
            "image_embeds": (VLLM,),
            "audio_embeds": (VLLM,),
        }.items()
    },
    **{
        name: Harmless(sources=sources, note=_SENT_BACK)
        for name, sources in {
            "annotations": (OPENAI,),
            "logprobs": (OPENAI,),
            "id": (OPENAI,),
            "index": (OTHERS,),
            "citations": (ANTHROPIC,),
            "signature": (ANTHROPIC,),
            "metadata": (OTHERS,),
            "provider_specific_fields": (OTHERS,),
            "extra_content": (OTHERS,),
        }.items()
    },
    "uuid": Harmless(sources=(VLLM,), note="Images and sounds are known by what is in them."),
}
IMAGE_URL: dict[str, Known] = {
    "format": Harmless(sources=(OTHERS,), note="A file is known by its first bytes."),
    "uuid": PART["uuid"],
}

STREAM_OPTIONS: dict[str, Known] = {
    "include_obfuscation": Harmless(sources=(OPENAI,), note="Chunks are never padded."),
}


@dataclass(frozen=True, slots=True)
class Opening:
    """An object of a request that no struct describes: its names that are `own`, or `known`; and, by name, the
    objects in it, or in a list in it."""

    own: frozenset[str]
    known: Mapping[str, Known]
    inside: Mapping[str, "Opening"]
    names: frozenset[str]  # `own`, and what is harmless


def _opening(own: str, known: Mapping[str, Known] | None = None, **inside: Opening) -> Opening:
    known = known or {}
    ours = frozenset(own.split())
    return Opening(ours, known, inside, ours | {name for name, row in known.items() if isinstance(row, Harmless)})


_FUNCTION: dict[str, Known] = {
    **_CACHE,
    "defer_loading": Refused(sources=(VLLM, SGLANG, ANTHROPIC), neutral=(False,), note="Every tool is shown."),
    "input_examples": Harmless(sources=(ANTHROPIC,), note="The description is what the model sees."),
}
# `return`, `returns`, `response`: some templates read them
FUNCTION = _opening("name description parameters strict return returns response", _FUNCTION)
TOOL = _opening(
    "type function",
    {
        **_CACHE,
        "custom": _CUSTOM,
        "defer_loading": _FUNCTION["defer_loading"],
        "strict": Refused(sources=(OTHERS,), neutral=(False,), note="It goes into `function`."),
        "allowed_callers": Harmless(sources=(ANTHROPIC,), note="Every call is the model's own."),
        "eager_input_streaming": Harmless(sources=(ANTHROPIC,)),
        "id": Harmless(sources=(OTHERS,)),
        "metadata": Harmless(sources=(OTHERS,)),
    },
    function=FUNCTION,
)
_CALLED: dict[str, Known] = {"custom": _CUSTOM} | {
    name: Harmless(sources=sources, note=_SENT_BACK)
    for name, sources in {
        "index": (OPENAI, SGLANG, OLLAMA),
        "provider_specific_fields": (OTHERS,),
        "extra_content": (OTHERS,),
        "thought_signature": (OTHERS,),
        "caller": (ANTHROPIC,),
        "status": (OPENAI,),
        "call_id": (OPENAI,),
        "metadata": (OTHERS,),
    }.items()
}
_CALLED_FUNCTION: dict[str, Known] = {
    "parsed_arguments": Harmless(sources=(OPENAI,), note=_SENT_BACK),
    "id": Harmless(sources=(VLLM,), note=_SENT_BACK),
    "index": Harmless(sources=(OLLAMA,), note=_SENT_BACK),
    "description": Harmless(sources=(OTHERS,), note=_SENT_BACK),
    "thought_signature": Harmless(sources=(OTHERS,), note=_SENT_BACK),
    "provider_specific_fields": Harmless(sources=(OTHERS,), note=_SENT_BACK),
}
CALLED_FUNCTION = _opening("name arguments", _CALLED_FUNCTION)
TOOL_CALL = _opening("id type function", _CALLED, function=CALLED_FUNCTION)

RESPONSE_FORMAT = _opening(
    "type json_schema schema",
    json_schema=_opening("name description schema strict"),
)
_NAME = _opening("name")
_ALLOWED = _opening("mode tools", tools=_opening("type function name", function=_opening("name")))
TOOL_CHOICE = _opening(
    "type function name allowed_tools mode tools",
    {
        "custom": _CUSTOM,
        "disable_parallel_tool_use": Refused(sources=(ANTHROPIC,), neutral=(False,), note="Use `parallel_tool_calls`."),
    },
    function=_NAME,
    allowed_tools=_ALLOWED,
    tools=_ALLOWED.inside["tools"],
)

# of a request, by field
REQUEST: dict[str, Opening] = {
    "tools": TOOL,
    "functions": FUNCTION,
    "tool_choice": TOOL_CHOICE,
    "function_call": _NAME,
    "response_format": RESPONSE_FORMAT,
}
