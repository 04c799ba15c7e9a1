"""Who has a name, and where it was read. docs/parameters.md lists both."""

OPENAI = "OpenAI"
LLAMA_SERVER = "llama-server"
VLLM = "vLLM"
SGLANG = "SGLang"
MLX_LM = "mlx_lm.server"
OLLAMA = "Ollama"
LM_STUDIO = "LM Studio"
OPENROUTER = "OpenRouter"
ANTHROPIC = "Anthropic"
COHERE = "Cohere"
JINA = "Jina"
NIM = "NVIDIA NIM"
VOYAGE = "Voyage"
TEI = "text-embeddings-inference"
FIRST_NITRO = "the first Nitro"
OTHERS = "others"

WHERE = {
    OPENAI: "`openai/types/` of the Python SDK 3.54: `completion_create_params`, `chat/`, `responses/`",
    LLAMA_SERVER: "`tools/server/`: server-schema.cpp, server-task.cpp, server-common.cpp, README.md",
    VLLM: "`vllm/`: protocol.py of chat and text completions, sampling_params.py; `guided_*` up to version 0.11",
    SGLANG: "`python/sglang/srt/entrypoints/openai/protocol.py`, and `/generate`",
    MLX_LM: "`mlx_lm/server.py` of mlx-lm 0.32",
    OLLAMA: "`openai/openai.go` and, for names that people carry over, `api/types.go`",
    LM_STUDIO: "its documentation of the OpenAI-compatible API",
    OPENROUTER: "`openapi.yaml` and the parameter pages of its documentation",
    ANTHROPIC: "the Messages API, whose names some clients send here",
    COHERE: "`POST /v2/embed` of its API reference, `rerank` of its Python client 7.3",
    JINA: "`POST /v1/embeddings` and `/v1/rerank` of its API reference",
    VOYAGE: "`embed` and `rerank` of its Python client 0.5",
    NIM: "its reference of the OpenAI-compatible embeddings API",
    TEI: "`docs/openapi.json` of text-embeddings-inference",
    FIRST_NITRO: "`controllers/audio.cc` of version 0.3.22",
    OTHERS: "LiteLLM, LangChain, DeepSeek, GLM, Mistral, Gemini, Hugging Face: single names",
}
