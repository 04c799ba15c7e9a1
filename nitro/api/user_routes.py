"""Which routes a key may call that is no administrator's: those that answer, and tell of what is the caller's own.

All others are about the server or about everybody's requests, and so is what nobody has thought of: a route that is not
here is for administrators.
"""

import re

_ANSWERS = (
    "/v1/chat/completions(/input_tokens)?",
    "/v1/(completions|embeddings|score|reranking)",
    "/v[12]/rerank",
    "/v1/audio/(transcriptions|translations)",
    "/v1/messages(/count_tokens)?",
    "/(tokenize|detokenize|apply-template)",
    "/api/(chat|generate|embed|embeddings|show)",
    "/inferences/(llamacpp|server)/(chat_completion|embedding|modelstatus)",
)
_OWN = ("/v1/(responses|conversations|files|batches|uploads)(/.*)?",)  # what others have kept is not there
_TELLS = (
    "/",
    "/page/.*",
    "/(health|healthz)",
    "/schema(/openapi.json)?",
    "/v1/models(/.*)?",
    "/v1/usage",
    "/api/(version|tags|ps)",
    "/inferences/(llamacpp|server)/modelstatus",
    "/inferences/server/(models|engines)",
)
_ROUTES = {
    method: re.compile("|".join(paths), re.DOTALL)
    for method, paths in {"POST": (*_ANSWERS, *_OWN), "GET": (*_TELLS, *_OWN), "DELETE": _OWN}.items()
}


def has(method: str, path: str) -> bool:
    """Whether everybody who has a key may call it. HEAD is a GET."""
    routes = _ROUTES.get("GET" if method == "HEAD" else method)
    return routes is not None and routes.fullmatch(path) is not None
