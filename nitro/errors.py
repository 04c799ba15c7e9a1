"""Every error a person or a client can meet.

NitroError
├── StartError             the server cannot start: one line on stderr, exit 1
├── ConvertError           a conversion or a proof cannot be done, or failed: the same
├── EngineLost             the server ends with its engine, as it was told to: the same
├── BenchError             a measurement cannot go on: the same
├── EngineError            what an engine can answer instead of tokens
│   ├── PromptRejected     the request cannot run on this engine: 400
│   ├── PromptTooLong      it does not fit into the context: 400 context_length_exceeded
│   ├── RequestRefused     the engine died repeatedly at requests like it: 422
│   ├── EngineBusy         the queue is full: 429
│   ├── EngineDown         no engine runs for now: 503, to be sent again
│   │   └── EngineDied     it died at work on the request: 503, not to be sent again
│   ├── SequenceFailed     a step failed for this sequence: 500
│   ├── SchemaUnkept       what the model said breaks the schema that was asked for: 422
│   └── ServerClosing      the server was told to stop: 503
├── TemplateError          the chat template refused the messages: 400
└── ApiError               an HTTP status and an OpenAI error body
"""

from typing import Self

MOST = 600  # characters of a sentence for people


def one_line(text: str) -> str:
    """The text as one line that a terminal shows as it is: words of a damaged file may stand in it."""
    line = " ".join(text.split())
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return shown if len(shown) <= MOST else f"{shown[: MOST // 2 - 2]} … {shown[1 - MOST // 2 :]}"


def reason(error: BaseException) -> str:
    """What an exception says, or what it is, where that alone says nothing."""
    said = str(error)
    return said if " " in said else f"{type(error).__name__} {said}".rstrip()


class NitroError(Exception):
    pass


class Sentence(Exception):
    """Its message is one line, whatever it was made of."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class StartError(Sentence, NitroError):
    pass


class ConvertError(Sentence, NitroError):
    pass


class EngineLost(NitroError):
    pass


class BenchError(NitroError):
    pass


class EngineError(NitroError):
    pass


class PromptRejected(EngineError):
    """`param` names what is wrong; None: the prompt itself."""

    def __init__(self, message: str, param: str | None):
        super().__init__(message)
        self.param = param


class PromptTooLong(EngineError):
    """`length` says how long it is; not all of a very long one is counted."""

    def __init__(self, prompt_tokens: int, context: int, partly: bool = False):
        self.length = f"more than {prompt_tokens} tokens" if partly else f"{prompt_tokens} tokens"
        super().__init__(f"The prompt has {self.length}, the context {context}.")
        self.prompt_tokens, self.context = prompt_tokens, context


class EngineBusy(EngineError):
    pass


class RequestRefused(EngineError):
    pass


class EngineDown(EngineError):
    """`again`: the seconds after which one may be there again; None: none will."""

    def __init__(self, message: str, again: float | None = None):
        super().__init__(message)
        self.again = again


class EngineDied(EngineDown):
    pass


class SequenceFailed(EngineError):
    pass


class SchemaUnkept(EngineError):
    """`param` is the schema."""

    def __init__(self, message: str, param: str | None):
        super().__init__(message)
        self.param = param


class ServerClosing(EngineError):
    pass


class TemplateError(NitroError):
    pass


class ApiError(NitroError):
    """Sent as `{"error": {"message", "type", "param", "code"}}` with `status`. `retry_after` is in seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        type: str = "invalid_request_error",
        retry_after: int | None = None,
    ):
        super().__init__(message)
        self.status, self.param, self.code, self.type, self.retry_after = status, param, code, type, retry_after

    @classmethod
    def invalid(cls, param: str, expected: str, *, code: str = "invalid_value") -> Self:
        """400: `param` has a value that is not one of the `expected`."""
        return cls(400, f"Invalid value for '{param}': expected {expected}.", param=param, code=code)

    @classmethod
    def unsupported(cls, param: str, why: str = "is not supported by this server yet") -> Self:
        """400: the parameter is known, but cannot be used. `why` continues a sentence that begins with its name."""
        return cls(400, f"Unsupported parameter: '{param}' {why}.", param=param, code="unsupported_parameter")

    @classmethod
    def missing(cls, param: str) -> Self:
        """400: a required parameter is not in the request."""
        return cls(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}


def no_such_model(name: str, served: str) -> ApiError:
    return ApiError(404, f"The model '{name}' does not exist; served is '{served}'.", code="model_not_found")
