"""Every error a person or a client can meet.

NitroError
├── StartError             the server cannot start: one line on stderr, exit 1
├── ConfigError            nitro.toml is wrong: one line on stderr, exit 2, as for a wrong flag
├── ChatError              `nitro chat` or `nitro run` got no answer: one line on stderr
├── ConvertError           a conversion or a comparison is impossible or failed: the same
├── AdapterError           a LoRA cannot be read, or does not fit its model
├── EngineLost             the server ends with its engine (--exit-on-engine-failure): the same
├── BenchError             a measurement cannot continue: the same
├── RecordError            a file of records cannot be read: the same
├── SimulationError        traffic, step costs or a fleet that cannot be simulated: the same
├── PullError              a model cannot be fetched: the same
├── EngineError            what an engine can answer instead of tokens
│   ├── PromptRejected     the request cannot run on this engine: 400
│   ├── PromptTooLong      it does not fit into the context: 400 context_length_exceeded
│   ├── RequestRefused     the engine died twice while requests like it were running: 422
│   ├── EngineBusy         the queue is full: 429
│   ├── EngineDown         no engine is running now: 503, may be sent again
│   │   ├── EngineDied     it died while it worked on the request: 503, not to be sent again
│   │   └── EngineOutOfMemory  the system ended it for want of memory: 503 out_of_memory
│   ├── SequenceFailed     a step failed for this sequence: 500
│   ├── RequestTooLarge    the device has no memory for it, even alone: 503 out_of_memory, not to be sent again
│   ├── RequestAborted     somebody else than its client ended it: 503, not to be sent again
│   ├── SchemaViolated       the answer breaks the requested schema: 422
│   └── ServerClosing      the server is stopping: 503
├── TemplateError          the chat template refused the messages: 400
└── ApiError               an HTTP status and an OpenAI error body
    └── ContextExceeded    what becomes of PromptTooLong
"""

import re
from collections.abc import Mapping, Sequence
from typing import Self

MAX_CHARACTERS = 600  # of a message for people


def one_line(text: str) -> str:
    """The text as one line that is safe to print: it may quote a damaged file. Long texts lose their middle."""
    line = " ".join(text.split())
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    half = MAX_CHARACTERS // 2
    return shown if len(shown) <= MAX_CHARACTERS else f"{shown[: half - 2]} … {shown[1 - half :]}"


def reason(error: BaseException) -> str:
    """The exception's message. The type is put before a message of a single word, which would say too little."""
    message = str(error)
    return message if " " in message else f"{type(error).__name__} {message}".rstrip()


class NitroError(Exception):
    """The base of all errors in this module."""


class Sentence(Exception):
    """A mixin: the message is one printable line, whatever it was made of."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class StartError(Sentence, NitroError):
    """The server cannot start."""


class ConfigError(Sentence, NitroError):
    """A file with settings is wrong. The message names the file, and the line if it is known."""


class ChatError(Sentence, NitroError):
    """No server answers, or it refuses. The message is the server's own, if it said something."""


class ConvertError(Sentence, NitroError):
    """A conversion or a comparison is impossible or failed."""


class AdapterError(Sentence, NitroError):
    """A LoRA cannot be read, has parts that are not supported, or does not fit its model. The message names file and
    part."""


class EngineLost(NitroError):
    """The engine died, and the server ends with it."""


class BenchError(NitroError):
    """A measurement cannot continue."""


class SimulationError(Sentence, NitroError):
    """Traffic, step costs or a fleet cannot be simulated, or step costs cannot be measured."""


class RecordError(Sentence, NitroError):
    """A file of records is none, is damaged, or cannot be read or written."""


class PullError(Sentence, NitroError):
    """A model cannot be fetched. `code` is for programs; `retry_after`: seconds that the hub asks to wait."""

    def __init__(self, code: str, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class StateError(NitroError):
    """What is kept of responses and conversations cannot be read or written. `code` is for programs; `again`: seconds
    after which it may work, None: somebody has to do something."""

    def __init__(self, code: str, message: str, again: int | None = None):
        super().__init__(message)
        self.code = code
        self.again = again


class EngineError(NitroError):
    """The base of what an engine can answer instead of tokens."""


class PromptRejected(EngineError):
    """The request cannot run on this engine. `param` is the wrong parameter, or None for the prompt."""

    def __init__(self, message: str, param: str | None):
        super().__init__(message)
        self.param = param


class PromptTooLong(EngineError):
    """The prompt does not fit into the context. `length` describes its length in words.

    `partly`: the count stopped early, because the prompt is very long. `param`: what the request calls it, if it is one
    of several.
    """

    def __init__(self, prompt_tokens: int, context: int, partly: bool = False, param: str | None = None):
        self.length = f"more than {prompt_tokens} tokens" if partly else f"{prompt_tokens} tokens"
        super().__init__(f"The prompt has {self.length}, the context {context}.")
        self.prompt_tokens = prompt_tokens
        self.context = context
        self.param = param


class EngineBusy(EngineError):
    """The queue is full."""


class RequestRefused(EngineError):
    """The engine died twice while requests like this one were running."""


class EngineDown(EngineError):
    """No engine is running. `again`: seconds until the next one may be ready, or None if there will be none."""

    def __init__(self, message: str, again: float | None = None):
        super().__init__(message)
        self.again = again


class EngineDied(EngineDown):
    """The engine died while it worked on the request."""


class EngineOutOfMemory(EngineDown):
    """The system ended the engine because memory ran out."""


class RequestTooLarge(EngineError):
    """The device cannot hold what the request takes, even if it computes nothing else."""


class SequenceFailed(EngineError):
    """A step of the engine failed for this sequence."""


class RequestAborted(EngineError):
    """Somebody ended the request who looks after the server."""

    def __init__(self) -> None:
        super().__init__("The request was aborted by somebody who watches the server.")


class SchemaViolated(EngineError):
    """The answer breaks its schema. `param` is the parameter that holds the schema."""

    def __init__(self, message: str, param: str | None):
        super().__init__(message)
        self.param = param


class ServerClosing(EngineError):
    """The server is stopping."""


class TemplateError(NitroError):
    """The chat template refused the messages, or cannot be used. `param`: what of the request it refused, if known."""

    def __init__(self, message: str, param: str | None = None):
        super().__init__(message)
        self.param = param


class ApiError(NitroError):
    """An HTTP status and an OpenAI error body. `retry_after`, in seconds, becomes the header `Retry-After`.

    `param` names the parameter that is wrong, `code` is for programs, `type` is one of OpenAI's error types.
    """

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
        self.status = status
        self.param = param
        self.code = code
        self.type = type
        self.retry_after = retry_after

    @classmethod
    def invalid(cls, param: str, expected: str, *, code: str = "invalid_value") -> Self:
        """400: `param` has a value that is not one of the `expected`."""
        return cls(400, f"Invalid value for '{param}': expected {expected}.", param=param, code=code)

    @classmethod
    def unsupported(cls, param: str, why: str = "is not supported by this server yet") -> Self:
        """400: the parameter is known, but cannot be used. `why` continues a sentence that begins with its name."""
        return cls(400, f"Unsupported parameter: '{param}' {why}.", param=param, code="unsupported_parameter")

    @classmethod
    def same(cls, param: str, other: str) -> Self:
        """400: two parameters mean the same, and have different values."""
        message = f"'{param}' and '{other}' mean the same and differ. Send one of them."
        return cls(400, message, param=param, code="invalid_value")

    @classmethod
    def missing(cls, param: str) -> Self:
        """400: a required parameter is not in the request."""
        return cls(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")

    def renamed(self, names: Mapping[str, str]) -> "ApiError":
        """The same error, which calls parameters what the client does. `names`: the client's, by ours."""
        message, param = str(self), self.param
        for ours, theirs in names.items():
            message = re.sub(rf"'{re.escape(ours)}(?=['.\[])", "'" + theirs.replace("\\", r"\\"), message)
            if param and re.match(rf"{re.escape(ours)}(?![^.\[])", param):
                param = theirs + param[len(ours) :]
        return ApiError(self.status, message, param=param, code=self.code, type=self.type, retry_after=self.retry_after)

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON that a client gets: `{"error": {"message", "type", "param", "code"}}`."""
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}


class ContextExceeded(ApiError):
    """400: the prompt does not fit. `prompt`: the parameter that it came from."""

    def __init__(self, error: PromptTooLong, prompt: str):
        super().__init__(
            400,
            f"This model's maximum context length is {error.context} tokens. However, your {prompt} resulted in "
            f"{error.length}. Please reduce the length of the {prompt}.",
            param=prompt,
            code="context_length_exceeded",
        )
        self.prompt_tokens, self.context = error.prompt_tokens, error.context


MAX_LISTED = 30  # models in a message


def no_such_model(name: str, served: Sequence[str]) -> ApiError:
    """404: the request names a model that is not among those `served`."""
    shown = ", ".join(f"'{each}'" for each in served[:MAX_LISTED]) or "none"
    more = f" and {len(served) - MAX_LISTED} more" if len(served) > MAX_LISTED else ""
    there = f"served {'are' if len(served) > 1 else 'is'} {shown}{more}"
    return ApiError(404, f"The model '{name}' does not exist; {there}.", code="model_not_found")
