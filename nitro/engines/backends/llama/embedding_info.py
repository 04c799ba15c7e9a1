"""What llama.cpp's models that make no text tell of themselves, and all models of their embeddings."""

import llama_cpp.llama_cpp as lib

from nitro.checkpoints import embedding_settings, fingerprint
from nitro.engines.backends.llama.library import VERSION
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.types import EmbeddingInfo, EngineSpec, ModelInfo, Pooling, RerankInfo
from nitro.gguf import split_files

SAMPLE = "a"


def describe(model: LlamaModel, pooling: Pooling, longest: int, step_tokens: int, step_inputs: int) -> EmbeddingInfo:
    """Of an embedding model, or of one that makes text as well. Prefixes and dimensions are in no GGUF: they are read
    from sentence-transformers' configuration, where that lies beside the file."""
    before, after = around(model)
    settings = embedding_settings.beside(model.path) if model.embeds_only else embedding_settings.NOTHING
    return EmbeddingInfo(
        width=lib.llama_model_n_embd_out(model.pointer),
        pooling=pooling,
        longest=longest,
        step_tokens=step_tokens,
        step_inputs=min(step_inputs, lib.llama_max_parallel_sequences()),
        before=before,
        after=after,
        dimensions=settings.dimensions,
        prefixes=settings.prefixes,
        default_prefix=settings.default_prefix,
        encoder_only=model.embeds_only,
    )


def without_text(model: LlamaModel, spec: EngineSpec, about: EmbeddingInfo | RerankInfo) -> ModelInfo:
    """Of a model that makes no text, but vectors or scores."""
    return ModelInfo(
        engine=f"llama.cpp (llama-cpp-python {VERSION})",
        device=model.device,
        layers=str(model.placement),
        workers=model.placement.remote,
        slots=spec.parallel,
        parallel=spec.parallel,
        context=about.longest,
        trained_context=model.trained_context,
        kv_tokens=about.longest,
        kv_bytes=0,
        step_tokens=max(about.step_tokens, spec.parallel + 1),
        vocabulary=model.vocabulary,
        eog=frozenset(),
        bos=model.tokenizer.text(lib.llama_vocab_bos(model.vocab)),
        eos=model.tokenizer.text(lib.llama_vocab_eos(model.vocab)),
        fingerprint=fingerprint.of(split_files.files(model.path)),
        deterministic=spec.deterministic,
        embedding=about if isinstance(about, EmbeddingInfo) else None,
        rerank=about if isinstance(about, RerankInfo) else None,
    )


def around(model: LlamaModel) -> tuple[list[int], list[int]]:
    """The token ids that llama.cpp puts before a text and after it."""
    plain = model.tokenizer.encode(SAMPLE)
    whole = model.tokenizer.encode_whole(SAMPLE)
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start], whole[start + len(plain) :]
    return [], []
