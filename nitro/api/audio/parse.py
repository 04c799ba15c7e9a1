"""A form with speech becomes a `GenerationRequest`: a conversation of one message, with the sound and an instruction.

Runs in an intake process. The sound itself is looked at where those of all protocols are (service/media).
"""

from typing import Any

import msgspec

from nitro.api import json_body
from nitro.api.audio import form
from nitro.api.audio.requests import (
    FORMATS,
    INCLUDABLE,
    MAX_LANGUAGES,
    MAX_WORDS,
    TIMED_FORMATS,
    ReplyOptions,
    SpeechRequest,
    TranscriptionRequest,
    TranslationRequest,
    encode_options,
)
from nitro.api.openai.logit_bias import parse_bias
from nitro.api.openai.model_name import seconds_of
from nitro.api.openai.parse import THINKING, check_min_tokens, unlimited
from nitro.api.openai.sampling import inert, parse_sampling
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.sampling_params import SamplingParams
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.parameters import check_count, check_request
from nitro.service import ignored_parameters
from nitro.service.asked import Asked
from nitro.service.media.checks import NAMES, check_kind
from nitro.service.media.sources import MediaSource
from nitro.service.requests import Conversation, GenerationRequest, media_part, text_part
from nitro.text import speech_tasks, spoken_languages
from nitro.text.speech_tasks import Hints, Task

OBJECTS = ("logit_bias",)  # fields that may be JSON
# A transcript is what was said, and not what might have been said: OpenAI's default
GREEDY = SamplingDefaults(temperature=0.0)


class _Named(msgspec.Struct):
    model: str | None = None
    model_id: str | None = None
    stream: bool | None = None


def name(body: bytes) -> Asked:
    """The Namer of both routes. Raises ApiError 400."""
    named = json_body.glance(msgspec.json.encode(form.read(body).fields), _Named)
    return Asked(named.model or named.model_id, bool(named.stream))


def read_transcription(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /v1/audio/transcriptions`. Raises ApiError 400 with `param`."""
    return _read(body, TranscriptionRequest, setup)


def read_translation(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /v1/audio/translations`. Raises ApiError 400 with `param`."""
    return _read(body, TranslationRequest, setup)


def _read(body: bytes, type: type[SpeechRequest], setup: ModelSetup) -> GenerationRequest:
    fields, file = form.read(body, OBJECTS)
    there = {form.FILE: ""} if file is not None else {}  # it is no text, and no field like the others
    request, told, given = json_body.decode(msgspec.json.encode({**fields, **there}), type)
    assert file is not None
    try:
        check_kind("audio", NAMES["audio"], form.FILE, setup.info.media)
        check_request(request)
        options = _reply_options(request)
        conversation = _conversation(request, file, setup)
        sampling = _sampling(request, setup, options.logprobs)
        biases = parse_bias(request.logit_bias or {})[1]
        max_tokens = unlimited(request.max_completion_tokens)
        check_min_tokens(request.min_tokens, max_tokens)
        keep_alive = seconds_of(request.keep_alive)
    except ApiError as error:
        raise error.renamed(given) if given else error from None
    unused = [ignored_parameters.escaped(given.get(each, each)) for each in inert(request, setup.info.samplers)]
    return GenerationRequest(
        prompt=conversation,
        sampling=sampling,
        model=request.model,
        max_tokens=max_tokens,
        text_bias=biases,
        stream=bool(request.stream),
        keep_alive=keep_alive,
        reply_options=encode_options(options),
        ignored=[*told, *unused],
        param_names={"prompt": form.FILE, "max_tokens": "max_completion_tokens", **given},
    )


def _sampling(request: SpeechRequest, setup: ModelSetup, logprobs: bool) -> SamplingParams:
    biases = parse_bias(request.logit_bias or {})[0]
    sampling = parse_sampling(request, GREEDY.over(setup.sampling), biases, setup.info.samplers)
    return msgspec.structs.replace(sampling, logprobs=0) if logprobs else sampling


def _conversation(request: SpeechRequest, file: bytes, setup: ModelSetup) -> Conversation:
    """The sound, and what is to be done with it."""
    media: list[MediaSource] = []
    sound = media_part(MediaSource(kind="audio", part="", field=form.FILE, data=file), media)
    task: Task = "transcribe" if isinstance(request, TranscriptionRequest) else "translate"
    words = speech_tasks.wording(task, _hints(request), setup.template or "")
    messages: list[dict[str, Any]] = []
    if words.system:
        messages.append({"role": "system", "content": [text_part(words.system)]})
    parts = [sound, *([text_part(words.user)] if words.user else [])]
    messages.append({"role": "user", "content": parts})
    return Conversation(
        messages=messages,
        media=media,
        variables=dict.fromkeys(THINKING, False),
        places=[form.FILE] * len(messages),
    )


def _hints(request: SpeechRequest) -> Hints:
    keywords = _listed(request.keywords)
    check_count("keywords", keywords, MAX_WORDS, "words")
    languages = [_language(request.language, "language")] if request.language else []
    into = ""
    if isinstance(request, TranscriptionRequest):
        others = _listed(request.languages)
        check_count("languages", others, MAX_LANGUAGES, "languages")
        possible = [_language(each, f"languages[{place}]") for place, each in enumerate(others)]
        if languages and possible and languages[0] not in possible:
            raise ApiError.same("language", "languages")
        languages = languages or possible
    elif isinstance(request, TranslationRequest) and request.to_language:
        into = _language(request.to_language, "to_language")
    return Hints(languages, into or speech_tasks.ENGLISH, request.prompt or "", keywords)


def _language(given: str, param: str) -> str:
    found = spoken_languages.name(given)
    if found is None:
        most = f"of at most {spoken_languages.LONGEST} letters"
        raise ApiError.invalid(param, f"the code of a language, as in de, or a name {most}")
    return found


def _reply_options(request: SpeechRequest) -> ReplyOptions:
    wanted = request.response_format
    if wanted in TIMED_FORMATS:
        why = f"is '{wanted}', which says when something was said, or by whom: this model says what. Use json or text"
        raise ApiError.unsupported("response_format", why)
    if wanted not in (None, *FORMATS):
        raise ApiError.invalid("response_format", f"one of {', '.join(FORMATS)}, got '{wanted}'")
    included = _listed(request.include) if isinstance(request, TranscriptionRequest) else []
    for place, each in enumerate(included):
        if each not in INCLUDABLE:
            raise ApiError.invalid(f"include[{place}]", f"one of {', '.join(INCLUDABLE)}, got '{each}'")
    if included and wanted == "text":
        raise ApiError.invalid("include", "nothing beside the format 'text', which has no place for it")
    return ReplyOptions("text" if wanted == "text" else "json", bool(included))


def _listed(value: list[str] | str | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []
