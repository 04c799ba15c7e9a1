"""What SDKs and other servers send to `/v1/embeddings`, `/v1/rerank`, `/v1/score` is known: what becomes of it."""

from typing import Any

import msgspec
import pytest
from msgspec import Struct
from openai.types import EmbeddingCreateParams
from sdk_fields import unknown

from nitro.api import json_body
from nitro.api.openai.embedding_requests import EmbeddingsRequest
from nitro.api.rerank.requests import RerankBody, ScoreBody
from nitro.errors import ApiError

# Parameters of the others' requests, as it was when their sources were read (nitro/api/openai/names/sources.py).
READ: list[tuple[str, type[Struct], str]] = [
    (
        "vLLM",
        EmbeddingsRequest,
        """model user truncate_prompt_tokens padding truncation_side request_id priority mm_processor_kwargs cache_salt
        input add_special_tokens messages add_generation_prompt continue_final_message chat_template
        chat_template_kwargs media_io_kwargs encoding_format embed_dtype endianness dimensions use_activation
        normalize""",
    ),
    ("text-embeddings-inference", EmbeddingsRequest, "input model encoding_format user"),
    (
        "text-embeddings-inference, /embed",
        EmbeddingsRequest,
        "inputs normalize prompt_name truncate truncation_direction",
    ),
    (
        "Voyage",
        EmbeddingsRequest,
        "input model input_type truncation output_dtype output_dimension encoding_format",
    ),
    ("Mistral", EmbeddingsRequest, "model input metadata output_dimension output_dtype encoding_format"),
    (
        "Jina",
        EmbeddingsRequest,
        """model input task dimensions late_chunking embedding_type normalized truncate return_multivector
        return_tokenized_input""",
    ),
    (
        "Cohere, version 1",
        RerankBody,
        "query documents model top_n rank_fields return_documents max_chunks_per_doc",
    ),
    ("Cohere, version 2", RerankBody, "model query documents top_n max_tokens_per_doc relevant_spans priority"),
    ("Voyage", RerankBody, "query documents model top_k truncation"),
    ("text-embeddings-inference", RerankBody, "query texts raw_scores return_text truncate truncation_direction"),
    (
        "vLLM",
        RerankBody,
        """model user truncate_prompt_tokens padding truncation_side request_id priority mm_processor_kwargs cache_salt
        use_activation activation softmax query documents top_n""",
    ),
    (
        "vLLM",
        ScoreBody,
        """model user truncate_prompt_tokens padding truncation_side request_id priority mm_processor_kwargs cache_salt
        use_activation activation softmax data_1 data_2 queries documents items text_1 text_2""",
    ),
]


def test_all_that_the_sdk_sends_is_known() -> None:
    assert unknown(EmbeddingsRequest, EmbeddingCreateParams) == set()


@pytest.mark.parametrize(("server", "body", "names"), READ)
def test_all_that_other_servers_take_is_known(server: str, body: type[Any], names: str) -> None:
    ours = {field.name for field in msgspec.structs.fields(body)}
    assert set(names.split()) - ours - body.known.keys() == set(), server


@pytest.mark.parametrize(
    ("body", "given", "same"),
    [
        (EmbeddingsRequest, {"truncation": True}, {"truncate": True}),
        (EmbeddingsRequest, {"output_dimension": 3, "output_dtype": "float"}, {"dimensions": 3}),
        (RerankBody, {"softmax": False}, {"raw_scores": True}),
        (RerankBody, {"relevant_spans": {"mode": "disabled"}, "cache_salt": "x"}, {}),
    ],
)
def test_the_same_by_other_names(body: type[Struct], given: dict[str, Any], same: dict[str, Any]) -> None:
    base = {"input": "a"} if body is EmbeddingsRequest else {"query": "a", "documents": ["b"]}
    found = json_body.decode(msgspec.json.encode(base | given), body)
    assert found.request == json_body.decode(msgspec.json.encode(base | same), body).request and not found.told


@pytest.mark.parametrize(
    ("body", "given"),
    [
        (EmbeddingsRequest, {"output_dtype": "int8"}),
        (EmbeddingsRequest, {"return_multivector": True}),
        (EmbeddingsRequest, {"truncation_side": "left"}),
        (EmbeddingsRequest, {"padding": "max_length"}),
        (RerankBody, {"relevant_spans": {"mode": "enabled"}}),
        (RerankBody, {"padding": "max_length"}),
    ],
)
def test_what_would_be_another_answer_is_refused(body: type[Struct], given: dict[str, Any]) -> None:
    base = {"input": "a"} if body is EmbeddingsRequest else {"query": "a", "documents": ["b"]}
    with pytest.raises(ApiError) as refused:
        json_body.decode(msgspec.json.encode(base | given), body)
    assert (refused.value.status, refused.value.param) == (400, *given)
