"""Names of other servers in a request for scores: what becomes of each.

Sources: `rerank` of Cohere's Python client 7.3 (`/v1/rerank` and `/v2/rerank`) and of Voyage's 0.5, Jina's API
reference of `/v1/rerank`, text-embeddings-inference's docs/openapi.json, and vLLM's and SGLang's protocol files.
"""

from collections.abc import Mapping

from nitro.api.names import Harmless, Known, Mapped, Refused
from nitro.api.openai.names import harmless
from nitro.api.openai.names.embeddings import truncate
from nitro.api.openai.names.sources import COHERE, JINA, SGLANG, TEI, VLLM, VOYAGE
from nitro.api.openai.names.translations import not_

TEXTS = "texts"  # TEI's name for the documents: the reply is its list

_BOTH: Mapping[str, Known] = {
    "use_activation": Mapped(sources=(VLLM,), to="raw_scores", translate=not_("raw_scores")),
    "activation": Mapped(sources=(VLLM,), to="raw_scores", translate=not_("raw_scores")),
    "softmax": Mapped(sources=(VLLM,), to="raw_scores", translate=not_("raw_scores")),
    "truncate_prompt_tokens": Mapped(sources=(VLLM,), to="truncate", translate=truncate, note="-1 only."),
    "truncation": Mapped(sources=(VOYAGE, JINA), to="truncate"),
    "truncation_direction": Refused(sources=(TEI,), neutral=("Right", "right"), note="The beginning is kept."),
    "truncation_side": Refused(sources=(VLLM,), neutral=("right",), note="The beginning is kept."),
    "priority": Harmless(sources=(COHERE, VLLM), note="Requests take turns."),
    "cache_salt": Harmless(sources=(VLLM,), note="Scores are not cached."),
    "padding": Refused(sources=(VLLM,), neutral=("do_not_pad",)),
    "user": Harmless(sources=(VLLM,), note="Who asks, and for the provider's books.", usual=True),
    "instruction": Refused(sources=(VLLM,), note="A model's own instruction is used."),
    "instruct": Refused(sources=(SGLANG,), note="A model's own instruction is used."),
    "chat_template": Refused(sources=(VLLM,), note="A model's own template is used."),
    "chat_template_kwargs": Refused(sources=(VLLM,), neutral=({},), note="A model's own template is used."),
    "mm_processor_kwargs": Refused(sources=(VLLM,), neutral=({},), note="Documents are texts."),
    "add_special_tokens": Refused(sources=(VLLM,), neutral=(True,)),
    **{name: row for name, row in harmless.COMMON.items() if name in ("request_id", "rid", "metadata", "session_id")},
}


RERANK: Mapping[str, Known] = {
    **_BOTH,
    TEXTS: Mapped(sources=(TEI,), to="documents", note="The reply is a list, as that server's."),
    "top_k": Mapped(sources=(VOYAGE,), to="top_n"),
    "return_text": Mapped(sources=(TEI,), to="return_documents"),
    "rank_fields": Refused(sources=(COHERE,), neutral=(["text"],), note="A document is its `text`."),
    "relevant_spans": Refused(sources=(COHERE,), neutral=({"mode": "disabled"},), note="A score is of the whole."),
    "max_chunks_per_doc": Refused(sources=(COHERE,), neutral=(1, 10), note="A document is scored as a whole."),
    "max_doc_length": Mapped(sources=(JINA,), to="max_tokens_per_doc"),
    "max_query_length": Refused(sources=(JINA,), note="A query is read as a whole."),
    "return_embeddings": Refused(sources=(JINA,), neutral=(False,), note="Use /v1/embeddings."),
}
SCORE: Mapping[str, Known] = {
    **_BOTH,
    "queries": Mapped(sources=(VLLM,), to="text_1"),
    "data_1": Mapped(sources=(VLLM,), to="text_1"),
    "documents": Mapped(sources=(VLLM,), to="text_2"),
    "items": Mapped(sources=(VLLM,), to="text_2"),
    "data_2": Mapped(sources=(VLLM,), to="text_2"),
}
