"""What describes a family's tool calls: the tags around them, a pure parser, and the layout that a grammar keeps.

To add a format, add a file with a FORMAT to this folder; it is found by itself.
"""

import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nitro.text.message_parser import MessageFormat
from nitro.text.tools import Call, ChatMessage, ToolsByName

ParseCalls = Callable[[str, ToolsByName], list[Call]]
_ALPHABET = string.ascii_letters + string.digits


def any_id(name: str, number: int) -> str:
    """A random call id, for families that accept any: nine letters and digits, as Mistral's templates demand."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(9))


@dataclass(frozen=True, slots=True)
class Layout:
    """How a family writes calls: `begin` call (`call_separator` call)* `end`.

    The holes of `call` are $NAME and $ARGUMENTS; those of `parameter` are $KEY and $VALUE, or $JSON instead of $VALUE
    if texts are JSON, too. $VALUE is a text without quotes, up to what follows $VALUE; any other value is JSON. $TYPE
    is the JSON type of the value, $TEXT is true or false: whether the value is a text.
    In both: $SPACE is a line break or nothing, $INDEX a number, $ID nine letters and digits.
    """

    call: str
    begin: str = ""
    end: str = ""
    call_separator: str | None = None  # None: each call has its own `begin` and `end`
    parallel: bool = True  # False: an answer never has more than one call
    parameter: str | None = None  # how one argument is written; None: all arguments are one JSON object
    quote: str = ""  # on both sides of a text
    parameter_separator: str = ""
    answer_prefix: str = ""  # with this an answer begins that is no call


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How a family calls tools. `parse` and `parse_partial` are pure, and take what stands between the tags.

    `open_tags`: with one of these calls begin, and a grammar writes the first one. If there are none, `starts_call`
    decides whether an answer that begins with a text is a call; None: more text must decide.
    """

    name: str
    template_markers: tuple[str, ...]  # the family's chat templates contain all of these; the longest of several win
    open_tags: tuple[str, ...]
    close_tag: str  # "": calls end with the answer
    parse: ParseCalls  # raises Malformed
    layout: Layout
    close_required: bool = False  # True: without the closing tag there is no call; else the answer's end closes it, too
    special_tokens: tuple[str, ...] = ()  # the parts of tags and layout that are control tokens in some vocabularies
    starts_call: Callable[[str], bool | None] = lambda text: False
    parse_partial: ParseCalls | None = None  # the calls so far in a text that goes on; None: calls are never streamed
    stray_tags: tuple[str, ...] = ()  # control tokens of calls that are dropped where they stand outside of any
    messages: MessageFormat | None = None  # answers of the family are messages with headers
    call_id: Callable[[str, int], str] = any_id  # by the name, and the number of earlier calls in the conversation
    # Puts the tools into the messages, for templates that look for them there
    inject_tools: Callable[[Sequence[ChatMessage], Sequence[ChatMessage]], Sequence[ChatMessage]] | None = None
