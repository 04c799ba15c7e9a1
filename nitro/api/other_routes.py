"""What a 404 says of a route that other servers have: that this one has none, and what to use instead.

Sources: the documentation of Ollama, llama-server, vLLM, TGI, LM Studio, Anthropic, OpenAI and the first Nitro.
"""

from collections.abc import Iterable

CHAT = "POST /v1/chat/completions"
COMPLETIONS = "POST /v1/completions"
EMBEDDINGS = "POST /v1/embeddings"
MODELS = "GET /v1/models"
LOADING = "POST /v1/models/load loads a model, POST /v1/models/unload unloads it."
FIRST_NITRO = "/inferences/llamacpp"
NOT_YET = "Nothing takes its place yet."

# (what a path begins with, without /v1; whose it is or what it does; what to use instead). The first that fits counts.
ROUTES: tuple[tuple[str, str, str], ...] = (
    ("/api/v0", "LM Studio's API", f"Use {CHAT}, {COMPLETIONS} and {MODELS}."),
    ("/api", "that route of Ollama's API", "Its others are below /api: docs/ollama.md."),
    ("/complete", "Anthropic's older API", f"Use {COMPLETIONS}."),
    ("/completion", "llama-server's own API", f"Use {COMPLETIONS}."),
    ("/infill", "llama-server's own API", f"Use {COMPLETIONS} with 'suffix'."),
    ("/props", "llama-server's own API", f"Use {MODELS}."),
    ("/slots", "llama-server's own API", "Use GET /metrics."),
    ("/load", "a route for the load", "Use GET /metrics."),
    ("/version", "a route for the version", "Use GET /schema/openapi.json, which has the version."),
    ("/ping", "a route of that name", "Use GET /health."),
    ("/generate_stream", "TGI's API", f"Use {CHAT} with 'stream'."),
    ("/generate", "TGI's API", f"Use {COMPLETIONS}."),
    ("/info", "TGI's API", f"Use {MODELS}."),
    ("/embedding", "llama-server's own API", f"Use {EMBEDDINGS}."),
    ("/pooling", "vLLM's API", f"Use {EMBEDDINGS}."),
    ("/classify", "classification", NOT_YET),
    ("/audio/speech", "spoken answers", NOT_YET),
    ("/audio", "that route for audio", "POST /v1/audio/transcriptions and /v1/audio/translations are here."),
    ("/images", "images", NOT_YET),
    ("/moderations", "moderation", NOT_YET),
    ("/fine_tuning", "fine-tuning", NOT_YET),
    ("/vector_stores", "vector stores", NOT_YET),
    ("/assistants", "the Assistants API", f"Use {CHAT}."),
    ("/threads", "the Assistants API", f"Use {CHAT}."),
    ("/realtime", "the Realtime API", f"Use {CHAT} with 'stream'."),
    ("/engines", "OpenAI's older API", f"Use {COMPLETIONS}."),
    ("/edits", "OpenAI's older API", f"Use {CHAT}."),
    ("/inferences", "that route of the first Nitro's API", f"Its others are below {FIRST_NITRO}: docs/first-nitro.md."),
    ("/processmanager", "that route of the first Nitro's API", "DELETE /processmanager/destroy stops the server."),
)


def advice(path: str, served: Iterable[str]) -> str:
    """What to tell somebody who asked for this path, beginning with a space; "" where nothing is known of it.
    `served`: the paths of our own routes."""
    path = path.rstrip("/").lower()
    if path == "/v1":
        return f" The API is here: {CHAT}, {COMPLETIONS}, {MODELS}. GET /schema describes it."
    for route in sorted(served, key=len, reverse=True):
        if path.endswith(route.removeprefix("/v1")):
            base = " A base URL ends with /v1." if route.startswith("/v1/") else ""
            return f" Did you mean {route}?{base}"
    bare = path.removeprefix("/v1")
    for route, what, instead in ROUTES:
        if bare == route or bare.startswith(f"{route}/"):
            return f" This server does not have {what}. {instead}"
    return ""
