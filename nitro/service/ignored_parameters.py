"""Parameters without effect: told in the header `x-nitro-ignored`, or refused where the server is --strict."""

from urllib.parse import quote, unquote

from nitro.errors import ApiError

HEADER = "x-nitro-ignored"
MAX_HEADER = 2000  # characters of the header; clients take no endless one


def written(text: str) -> str:
    """A name, maybe with ": " and a reason, as it may stand in a header."""
    return quote(" ".join(text.split()), safe=" :'/[]().{}#$-_<>=+*")


def header(names: list[str]) -> dict[str, str]:
    """`names`: as they may stand in a header."""
    return {HEADER: ", ".join(names)[:MAX_HEADER]} if names else {}


def shortened(names: list[str]) -> list[str]:
    """As many of them as the header can hold, and one more to be cut."""
    room, kept = MAX_HEADER, list[str]()
    for name in names:
        kept.append(name[:MAX_HEADER])
        room -= len(name) + 2
        if room < 0:
            break
    return kept


def refuse(names: list[str]) -> None:
    """Raises ApiError 400 for the first of them. `names`: as they may stand in a header."""
    if names:
        name, _, why = unquote(names[0]).partition(": ")
        message = f"Unknown parameter: '{name}' has no effect, and this server is --strict. {why}".rstrip()
        raise ApiError(400, message, param=name, code="unknown_parameter")
