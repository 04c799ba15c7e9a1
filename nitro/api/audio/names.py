"""Names in a form with speech that are not ours: what becomes of each. All values of a form are texts."""

from collections.abc import Mapping
from typing import Any

from nitro.api.names import Harmless, Known, Mapped, Refused
from nitro.api.openai.names import harmless
from nitro.api.openai.names.sources import FIRST_NITRO, LLAMA_SERVER, OPENAI, VLLM

_OFF = (False, "false", "0")
_NO_SPEAKERS = "A transcript does not say who speaks."


def words(value: Any, where: str) -> Mapping[str, Any]:
    """A text of words."""
    return {"keywords": [value]}


_BOTH: Mapping[str, Known] = {
    "model_id": Mapped(sources=(FIRST_NITRO,), to="model"),
    "max_tokens": Mapped(sources=(LLAMA_SERVER,), to="max_completion_tokens"),
    "hotwords": Mapped(sources=(VLLM,), to="keywords", translate=words),
    "stream_include_usage": Harmless(sources=(VLLM,), note="The last event of a stream has the usage."),
    "stream_continuous_usage_stats": Refused(
        sources=(VLLM,), neutral=_OFF, note="The last event of a stream has the usage."
    ),
    "n": Refused(sources=(VLLM,), neutral=(1, "1"), note="There is one transcript."),
    "use_beam_search": Refused(sources=(VLLM,), neutral=_OFF),
    "length_penalty": Refused(sources=(VLLM,), neutral=(1, "1", "1.0")),
    "include_stop_str_in_output": Harmless(sources=(VLLM,), note="No stop string ends a transcript."),
    "vllm_xargs": Refused(sources=(VLLM,), neutral=({}, "{}")),
    **{
        name: row
        for name, row in harmless.COMMON.items()
        if name in ("user", "metadata", "store", "service_tier", "safety_identifier", "session_id", "request_id", "rid")
    },
}
TRANSCRIPTION: Mapping[str, Known] = {
    **_BOTH,
    "timestamp_granularities": Refused(
        sources=(OPENAI, VLLM), neutral=([],), note="The model says what was said, not when."
    ),
    "chunking_strategy": Refused(
        sources=(OPENAI,),
        neutral=("auto",),
        note="The model gets the sound whole, divided as it is used to.",
    ),
    "known_speaker_names": Refused(sources=(OPENAI,), neutral=([],), note=_NO_SPEAKERS),
    "known_speaker_references": Refused(sources=(OPENAI,), neutral=([],), note=_NO_SPEAKERS),
    "to_language": Refused(sources=(VLLM,), note="Use POST /v1/audio/translations."),
}
TRANSLATION: Mapping[str, Known] = _BOTH
