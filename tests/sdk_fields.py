"""Which fields an SDK's request types have that a protocol of ours does not know, at every depth.

    unknown(ChatRequest, CompletionCreateParams, openings={"tools[]": inside.TOOL}, free={"metadata"}) == set()

The SDK's types are TypedDicts (openai, anthropic) or Pydantic models (ollama); ours are structs with a table `known`
(api/names.py), and `Opening`s for objects that no struct describes. Both are walked together, so a field that a new SDK
brings is told by its path: `messages[].content[].new`. Where ours takes an object as it comes, the test has to say so:
`free`, by its path. A union of types has the fields of all of them.
"""

import types
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from typing_extensions import is_typeddict

from nitro.api.names import Known, Opened
from nitro.api.openai.names.inside import Opening

Place = type[msgspec.Struct] | Opening | Mapping[str, Known]  # a struct, an opening, or the table of an `Opened` row
LISTS = ("list", "List", "Iterable", "Sequence", "SequenceNotStr", "tuple", "Tuple")


def unknown(
    ours: Place | Collection[Place],
    *theirs: Any,
    openings: Mapping[str, Place] = types.MappingProxyType({}),
    free: Collection[str] = (),
) -> set[str]:
    """The paths of fields of `theirs` that `ours` has no name for. `openings`: by path, what is known of an object that
    no struct of ours describes. `free`: paths below which nothing is looked at.

    A path that ends with " (opaque)" is an object of ours that takes anything, and is neither.
    """
    walk = _Walk(openings, frozenset(free))
    walk.compare(_places(ours), theirs, "")
    unused = {path for path in (*openings, *free) if path not in walk.used}
    assert not unused, f"nothing of the SDK's is there: {sorted(unused)}"
    return walk.unknown


def fields_of(theirs: Any) -> dict[str, Any]:
    """The fields of one TypedDict or Pydantic model, with their types."""
    if is_typeddict(theirs):
        return get_type_hints(theirs)
    return {field.alias or name: field.annotation for name, field in theirs.model_fields.items()}


def objects_in(annotation: Any) -> Iterator[tuple[Any, str]]:
    """The TypedDicts and models in a type, and what that adds to the path: "", "[]" in a list, "{}" in a mapping."""
    if is_typeddict(annotation) or hasattr(annotation, "model_fields"):
        yield annotation, ""
        return
    origin = get_origin(annotation)
    name = getattr(origin, "__name__", "")
    within = "[]" if name in LISTS else "{}" if name in ("dict", "Dict", "Mapping") else ""
    if origin is typing.Literal:
        return
    for arg in get_args(annotation):
        for found, path in objects_in(arg):
            yield found, within + path


class _Walk:
    def __init__(self, openings: Mapping[str, Place], free: frozenset[str]):
        self.openings, self.free = openings, free
        self.unknown: set[str] = set()
        self.used: set[str] = set()
        self._seen: set[tuple[Any, ...]] = set()

    def compare(self, ours: list[Place], theirs: Collection[Any], path: str) -> None:
        for their in theirs:
            seen = (their, *map(id, ours))
            if seen in self._seen:  # blocks hold blocks
                continue
            self._seen.add(seen)
            for name, annotation in fields_of(their).items():
                self._field(ours, name, annotation, f"{path}.{name}" if path else name)

    def _field(self, ours: list[Place], name: str, annotation: Any, path: str) -> None:
        found = [inner for place in ours for inner in _inside(place, name)]
        if not any(_has(place, name) for place in ours):
            self.unknown.add(path)
            return
        for their, within in objects_in(annotation):
            below = path + within
            if below in self.free:
                self.used.add(below)
            elif opening := self.openings.get(below):
                self.used.add(below)
                self.compare([opening], [their], below)
            elif found:
                self.compare(found, [their], below)
            elif not any(_ends(place, name) for place in ours):
                self.unknown.add(f"{below} (opaque)")


def _places(ours: Place | Collection[Place]) -> list[Place]:
    return list(ours) if isinstance(ours, list | tuple | set) else [ours]  # type: ignore[list-item]


def _own(place: Place) -> Mapping[str, Any]:
    """The fields that are ours, with their types or what is in them."""
    if isinstance(place, Opening):
        return dict.fromkeys(place.own) | dict(place.inside)
    if isinstance(place, Mapping):
        return {}
    names = {field.encode_name: field.type for field in msgspec.structs.fields(place)}
    if (tag := place.__struct_config__.tag_field) is not None:
        names.setdefault(tag, str)
    return names


def _known(place: Place) -> Mapping[str, Known]:
    if isinstance(place, Opening):
        return place.known
    return place if isinstance(place, Mapping) else getattr(place, "known", {})


def _has(place: Place, name: str) -> bool:
    return name in _own(place) or name in _known(place)


def _ends(place: Place, name: str) -> bool:
    """Whether a row says what becomes of all that is in it, being harmless, refused, or a parameter's other name."""
    return name in _known(place) and not isinstance(_known(place)[name], Opened)


def _inside(place: Place, name: str) -> list[Place]:
    """What is known of the objects in a field."""
    inner = _own(place).get(name)
    if isinstance(inner, Opening):
        return [inner]
    if inner is not None:
        return list(_structs_in(inner))
    row = _known(place).get(name)
    return [row.inside] if isinstance(row, Opened) else []


def _structs_in(annotation: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for arg in get_args(annotation):
        yield from _structs_in(arg)
