"""Which message a chat template refuses: the last one of the shortest beginning that it refuses."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from jinja2 import TemplateError as JinjaError
from jinja2 import UndefinedError

from nitro.errors import TemplateError
from nitro.text.sandbox import TooMuch
from nitro.text.tools import ChatMessage

MAX_MESSAGES = 1000  # of a conversation in which it is looked for
_HELLO: list[ChatMessage] = [{"role": "user", "content": "Hello"}]

Render = Callable[[Sequence[ChatMessage]], str]  # raises TemplateError


def told(error: TemplateError, messages: Sequence[ChatMessage], render: Render) -> TemplateError:
    """The error that names the message; the same error where all are refused, or it would take long to find out."""
    if len(messages) > MAX_MESSAGES or _refuses(render, _HELLO) or not _refuses(render, messages):
        return error
    place = bisect_left(range(1, len(messages)), True, key=lambda count: _refuses(render, messages[:count]))
    role = messages[place]["role"]
    cause = error.__cause__
    what = "refused" if is_refusal(cause) else "cannot render"
    where = f"messages[{place}]"
    return TemplateError(f"The chat template {what} {where}, which is from the {role}: {cause}", where)


def _refuses(render: Render, messages: Sequence[ChatMessage]) -> bool:
    try:
        render(messages)
    except TemplateError:
        return True
    return False


def is_refusal(error: BaseException | None) -> bool:
    """Whether the template's author says it, and nothing has failed."""
    return isinstance(error, JinjaError) and not isinstance(error, UndefinedError | TooMuch)
