"""Where in a request a problem of a schema is: a schema may be a part of one, and stand in several places."""

import re

from nitro.engines.types import Place

_AT = re.compile(r"\(at (/[^()]*(?:\(root\)[^()]*)?)\)")
_ROOT = "/$defs/(root)"  # the definition that stands for the whole in a part of it: see text/json_schemas.py
_SHARED = ("/$defs/", "/definitions/")  # which the whole has at the same place


def moved(problem: str, place: Place) -> str:
    """The problem of a schema that stands at this place, with pointers into the whole."""
    return _AT.sub(lambda at: f"(at {_in_whole(at[1], place.pointer)})", problem)


def blamed(problem: str, place: Place) -> str:
    """Why a schema at this place is refused, with the name of its tool. A problem without a place is the whole's."""
    problem = problem if _AT.search(problem) else f"{problem} (at /)"
    of_tool = f"In the tool '{place.tool}': " if place.tool else ""
    return of_tool + moved(problem, place)


def told(problem: str, place: Place) -> str:
    """What is let through, with the name of the schema at this place, and of its tool."""
    of_tool = f"tool '{place.tool}': " if place.tool else ""
    return f"{place.param}: {of_tool}{moved(problem, place)}"


def _in_whole(pointer: str, start: str) -> str:
    if pointer.startswith(_ROOT):
        return pointer.removeprefix(_ROOT) or "/"
    if start and pointer.startswith(_SHARED):
        return pointer
    return start + pointer if pointer != "/" else start or "/"
