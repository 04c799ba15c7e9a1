"""What the OpenAPI document says of statuses and headers, which are the same for many routes."""

from nitro.keys.account import KINDS

ERRORS = {
    400: "The request is wrong; `param` says where.",
    401: "The API key is missing, wrong or has expired.",
    403: "Requests from this web page (Origin), or by this name of the server (Host), are not allowed; or the key is "
    "not for this route or model.",
    404: "There is no such model, response, conversation, item, file, batch, record or request.",
    409: "The model has requests under way, or another one has its name; or a batch needs the file.",
    413: "The body is too large.",
    422: "The model's output breaks the schema that `param` names; or such requests made the engine crash repeatedly.",
    429: "The queue is full, or a limit of the key is reached: `rate_limit_exceeded`; the day's: `insufficient_quota`.",
    500: "The server or its engine failed.",
    501: "The server does not do this.",
    502: "The hub cannot be reached, or answers with an error.",
    503: "No engine is running, it crashed while it worked on the request, or there is no room for the model; or "
    "what is kept or recorded cannot be read or written.",
    507: "There is no room to keep it, or the disk cannot be written.",
    529: "The same as 503, for Anthropic's clients, where it may be otherwise soon.",
}
HEADERS: dict[str, str] = {
    "x-request-id": "The request's id, by which the server's log names it.",
    "request-id": "The same, for Anthropic's clients.",
    "x-nitro-ignored": "Parameters of the request that had no effect.",
    "x-nitro-prefix": "How the conversation begins, as a hash: send it with its later requests, for balancers.",
    "x-should-retry": "false: the request would fail again.",
    "retry-after": "Seconds after which the request may succeed.",
    **{f"x-ratelimit-limit-{kind}": f"Of the key: {kind} a minute, or a day." for kind in KINDS},
    **{f"x-ratelimit-remaining-{kind}": f"How many {kind} of these are left." for kind in KINDS},
    **{f"x-ratelimit-reset-{kind}": "Until all are there again, as in 1s or 6m0s." for kind in KINDS},
}
RETRIED = (429, 503, 529)  # errors with retry-after, if waiting may help
