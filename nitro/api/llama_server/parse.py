"""llama-server's requests for tokens become `GenerationRequest`s of which nothing is generated. Runs in an intake
process."""

from nitro.api import json_body
from nitro.api.llama_server.requests import DetokenizeRequest, TokenizeRequest
from nitro.engines.sampling_params import INT32, SamplingParams
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.parameters import check_count
from nitro.service.requests import GenerationRequest, Texts
from nitro.service.token_options import TokenOptions, encode

MAX_PARTS = 100_000  # of a content


def read_tokenize(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /tokenize`: one prompt for each part of the content. Raises ApiError 400 with `param`."""
    request, told, given = json_body.decode(body, TokenizeRequest)
    name = given.get("content", "content")
    content = request.content
    parts: list[str | int] = [content] if isinstance(content, str) else content
    check_count(name, parts, MAX_PARTS, "parts")
    options = TokenOptions(bool(request.with_pieces), request.parse_special is not False)
    return GenerationRequest(
        prompt=Texts(texts=_joined(parts, name), bos="first" if request.add_special else "none"),
        sampling=SamplingParams(),
        only_tokens=True,
        model=request.model,
        reply_options=encode(options),
        ignored=told,
        param_names={"prompt": name},
    )


def _joined(parts: list[str | int], name: str) -> list[str | list[int]]:
    """Token ids that follow one another are one prompt. Raises ApiError 400."""
    prompts: list[str | list[int]] = []
    for i, part in enumerate(parts):
        if isinstance(part, str):
            prompts.append(part)
            continue
        _check_token(part, f"{name}[{i}]")
        if prompts and isinstance(prompts[-1], list):
            prompts[-1].append(part)
        else:
            prompts.append([part])
    return prompts


def read_detokenize(body: bytes, setup: ModelSetup) -> GenerationRequest:
    """The Reader of `POST /detokenize`. Raises ApiError 400 with `param`."""
    request, told, _ = json_body.decode(body, DetokenizeRequest)
    for i, token in enumerate(request.tokens):
        _check_token(token, f"tokens[{i}]")
    return GenerationRequest(
        prompt=Texts(texts=[request.tokens], bos="none"),
        sampling=SamplingParams(),
        only_tokens=True,
        model=request.model,
        ignored=told,
        param_names={"prompt": "tokens"},
    )


def _check_token(token: int, where: str) -> None:
    if not 0 <= token <= INT32:
        raise ApiError.invalid(where, "a token id")
