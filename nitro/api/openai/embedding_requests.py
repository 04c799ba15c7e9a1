"""The body of `POST /v1/embeddings`, and how it becomes an `EmbeddingRequest`. Runs in an intake process.

Shape: the OpenAI API reference; `input_type` and `truncate` are Cohere's and NVIDIA NIM's.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Struct

from nitro.api import json_body
from nitro.api.names import Known
from nitro.api.openai.model_name import seconds_of
from nitro.api.openai.names.embeddings import EMBEDDINGS, TRUNCATE
from nitro.engines.sampling_params import INT32
from nitro.engines.types import Overflow
from nitro.errors import ApiError
from nitro.models.setup import ModelSetup
from nitro.parameters import Param, check_count, check_request
from nitro.service.embedding_request import MAX_INPUTS, EmbeddingRequest

FORMATS = ("float", "base64")


class EmbeddingsRequest(Struct, frozen=True, kw_only=True):
    """`POST /v1/embeddings`."""

    known: ClassVar[Mapping[str, Known]] = EMBEDDINGS

    input: Annotated[
        str | list[str | int | list[int]],
        Param("A text, a list of texts, token ids, or a list of lists of them.", capability="embeddings"),
    ]
    model: Annotated[
        str | None,
        Param(
            "The name of a model. Where one is offered, any name is answered, and listed in the header x-nitro-ignored."
        ),
    ] = None
    encoding_format: Annotated[
        str | None, Param("`float`: a list of numbers; `base64`: of little-endian float32.", choices=FORMATS)
    ] = None
    dimensions: Annotated[
        int | None,
        Param("Numbers in each vector, which is cut and made of length 1 again. Of models trained for it.", ge=1),
    ] = None
    input_type: Annotated[
        str | None,
        Param("What the texts are for, as in `query` or `document`: the model's own prefix goes before each."),
    ] = None
    truncate: Annotated[
        bool | str | None,
        Param(
            "true, `END`: only the beginning of an input that is too long counts. false, `NONE`: it is a 400. Default: "
            "as `--embedding-overflow` says."
        ),
    ] = None
    keep_alive: Annotated[
        float | str | None,
        Param("How long the model stays loaded once it is idle: seconds, or as in 5m; 0: not at all; -1: for ever."),
    ] = None


def read(body: bytes, setup: ModelSetup) -> EmbeddingRequest:
    """The EmbeddingReader of `POST /v1/embeddings`. Raises ApiError 400 with `param`."""
    request, told, given = json_body.decode(body, EmbeddingsRequest)
    try:
        check_request(request)
        inputs, listed = inputs_of(request.input, "input")
        form = request.encoding_format or FORMATS[0]
        if form not in FORMATS:
            raise ApiError.invalid("encoding_format", f"one of {', '.join(FORMATS)}, got '{form}'")
        return EmbeddingRequest(
            inputs=inputs,
            listed=listed,
            model=request.model,
            dimensions=request.dimensions,
            input_type=request.input_type,
            overflow=overflow_of(request.truncate),
            keep_alive=seconds_of(request.keep_alive),
            reply_options=form.encode(),
            ignored=told,
            param_names=given,
        )
    except ApiError as error:
        raise error.renamed(given) if given else error from None


def inputs_of(given: str | list[str | int | list[int]], param: str) -> tuple[list[str | list[int]], bool]:
    """The inputs, and whether there is a list of them. Raises ApiError 400, which calls them `param`."""
    if isinstance(given, str):
        return _checked([given], [param]), False
    kinds = {type(part) for part in given}
    if len(kinds) != 1:
        raise ApiError.invalid(param, "a text, token ids, a list of texts or a list of lists of token ids")
    if kinds == {int}:
        return _checked([given], [param]), False  # type: ignore[list-item]
    check_count(param, given, MAX_INPUTS, "inputs")
    return _checked(given, [f"{param}[{place}]" for place in range(len(given))]), True  # type: ignore[arg-type]


def _checked(inputs: list[str | list[int]], names: list[str]) -> list[str | list[int]]:
    for each, name in zip(inputs, names, strict=True):
        if not each:
            raise ApiError.invalid(name, "a text or token ids, got an empty one")
        if isinstance(each, list) and not (min(each) >= 0 and max(each) <= INT32):
            raise ApiError.invalid(name, "token ids")
    return inputs


def overflow_of(truncate: bool | str | None) -> Overflow | None:
    """What becomes of an input that is too long. Raises ApiError 400."""
    wanted = TRUNCATE.get(truncate.upper()) if isinstance(truncate, str) else truncate
    if isinstance(truncate, str) and wanted is None:
        raise ApiError.invalid("truncate", f"true, false, {' or '.join(TRUNCATE)}: the beginning is kept")
    return None if wanted is None else "truncate" if wanted else "error"
