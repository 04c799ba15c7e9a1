"""The bodies of llama-server's requests and replies for tokens.

Shapes: its README.md, and `post_tokenize` and its kin in tools/server/server-context.cpp.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Struct

from nitro.api.names import Known, Mapped, Refused
from nitro.api.openai.names.sources import VLLM
from nitro.parameters import Param

_MODEL = Param("The name of a model, as in a chat completion.")
_PROMPT: dict[str, Known] = {
    "prompt": Mapped(sources=(VLLM,), to="content"),
    "add_special_tokens": Mapped(sources=(VLLM,), to="add_special"),
    "messages": Refused(sources=(VLLM,), note="Use POST /apply-template, or /v1/chat/completions/input_tokens."),
    "return_token_strs": Refused(sources=(VLLM,), neutral=(False,), note="Use `with_pieces`."),
}


class TokenizeRequest(Struct, frozen=True, kw_only=True):
    """`POST /tokenize`."""

    known: ClassVar[Mapping[str, Known]] = _PROMPT

    content: Annotated[str | list[str | int], Param("A text, or a list of texts and token ids.")]
    add_special: Annotated[
        bool | None, Param("Begin with the token that begins the model's texts, if they have one. By default: false.")
    ] = None
    parse_special: Annotated[
        bool | None, Param("false: control tokens that are written in a text are text like any other.")
    ] = None
    with_pieces: Annotated[
        bool | None, Param("Add the text of each token, or a list of its bytes where those are no UTF-8.")
    ] = None
    model: Annotated[str | None, _MODEL] = None


class DetokenizeRequest(Struct, frozen=True, kw_only=True):
    """`POST /detokenize`."""

    tokens: Annotated[list[int], Param("Token ids, fewer than the model's context has.")]
    model: Annotated[str | None, _MODEL] = None


class TokenPiece(Struct):
    """A token, and its text, or its bytes."""

    id: int
    piece: str | list[int]


class Tokens(Struct):
    """What `POST /tokenize` replies."""

    tokens: list[int | TokenPiece]


class Content(Struct):
    """What `POST /detokenize` replies. Bytes that are no UTF-8 are U+FFFD."""

    content: str


class Prompt(Struct):
    """What `POST /apply-template` replies."""

    prompt: str
