"""What a model family's tool calls look like: markers, a pure parser, and the layout that a grammar keeps."""

import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nitro.text.tools import Call, Tools

Message = Mapping[str, Any]
_ALPHABET = string.ascii_letters + string.digits


def any_id(name: str, number: int) -> str:
    """The id of a call where its family does not care: nine letters and digits, which Mistral's templates insist on."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(9))


@dataclass(frozen=True, slots=True)
class Layout:
    """How calls are written: `begin` call (`between` call)* `end`. In `call`, $NAME and $ARGUMENTS stand for those.

    `between` None: each call has its own `begin` and `end`; `several` False: there is never more than one.
    `parameter`: how one argument is written where arguments are no JSON, with $KEY and $VALUE; a text is written as it
    is, up to what follows $VALUE, anything else as JSON. $TYPE is its JSON type, $TEXT whether it is a text.
    $JSON instead of $VALUE: texts are JSON, too. `quote`: what is on both sides of a text. `separator`: between two.
    `text`: how an answer begins that is no call.
    Anywhere: $SPACE is a line break or none, $INDEX a number, $ID nine letters and digits.
    """

    call: str
    begin: str = ""
    end: str = ""
    between: str | None = None
    several: bool = True
    parameter: str | None = None
    quote: str = ""
    separator: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """A family. `signs`: all of them are in its chat templates; of several families that fit, the longest signs win."""

    name: str
    signs: tuple[str, ...]
    opens: tuple[str, ...]  # with one of these calls begin; none: the answer itself may be one, see `begins`
    closes: str  # with this they end; "": with the answer
    parse: Callable[[str, Tools], list[Call]]  # of what stands between; raises Malformed
    layout: Layout
    ends: bool = False  # calls are none without `closes`; else they may end with the answer
    marks: tuple[str, ...] = ()  # what may be control tokens, of the opening, closing and layout
    begins: Callable[[str], bool | None] = lambda text: False  # whether an answer that begins so is calls; None: unsure
    seen: Callable[[str, Tools], list[Call]] | None = (
        None  # what there is of calls in a body that goes on; None: not to tell
    )
    call_id: Callable[[str, int], str] = any_id  # of the name, and the number of calls before in the conversation
    # The messages with the tools in them, where its templates look for tools there.
    given: Callable[[Sequence[Message], Sequence[Message]], Sequence[Message]] | None = None
