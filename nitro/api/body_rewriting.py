"""A body with names that are not ours becomes one in which all names are: for the few bodies that have such names.

    closed    of a struct: the same, which refuses names that it does not have, but for what is harmless and usual
    rewrite   of a body that `closed` refuses: JSON that it takes, the names without effect, and what was called how

So a body that has only our names is read once. Values are carried over as they are written, down to the last digit.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin
from urllib.parse import quote

import msgspec
from msgspec import NODEFAULT, Raw, Struct
from msgspec.structs import fields

from nitro.api.names import Harmless, Known, Mapped, Opened, Refused, asks
from nitro.errors import ApiError

T = TypeVar("T", bound=Struct)

_NULL = Raw(b"null")
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


class Rewritten(NamedTuple):
    """A body in our names. `told`: the names without effect, with their paths, as they may stand in a header.
    `given`: by our name of a field, with its path, the client's."""

    body: bytes
    told: list[str]
    given: dict[str, str]


def rewrite(body: bytes, struct: type[Struct]) -> Rewritten:
    """Raises msgspec.DecodeError for what is no JSON, and ApiError 400 for a name that is refused, and for two names of
    one thing that differ. What is of a wrong type is left to the decoder."""
    walk = _Walk()
    try:
        read = walk.object(_decode_object(body), struct, "")
    except msgspec.ValidationError:
        return Rewritten(body, [], {})
    return Rewritten(msgspec.json.encode(read), walk.told, walk.given)


@cache
def closed(struct: type[T]) -> type[T]:
    """The same struct, which takes the usual harmless names of its table, and no other; so does each struct within."""
    place = _place(struct)
    inside: list[Any] = [
        (f.name, _closed(f.type)) if f.default is NODEFAULT else (f.name, _closed(f.type), f.default)
        for f in fields(struct)
        if f.name in place.inside
    ]
    harmless: list[Any] = [
        (name, Raw, _NULL) for name, row in place.known.items() if isinstance(row, Harmless) and row.usual
    ]
    return msgspec.defstruct(  # type: ignore[return-value]
        struct.__name__,
        inside + harmless,
        bases=(struct,),
        module=__name__,
        frozen=struct.__struct_config__.frozen,
        kw_only=True,
        forbid_unknown_fields=True,
    )


def _closed(annotation: Any) -> Any:
    """A type with its structs closed."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_closed(args[0]), *args[1:])]
    if origin in (Union, UnionType):
        return Union[tuple(map(_closed, args))]  # noqa: UP007
    if origin is list:
        return list[_closed(args[0])]  # type: ignore[misc]
    return closed(annotation) if _is_struct(annotation) else annotation


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Struct)


def structs_in(annotation: Any) -> Iterable[type[Struct]]:
    """The structs that a field's type names."""
    if _is_struct(annotation):
        yield annotation
    for arg in get_args(annotation):
        yield from structs_in(arg)


class _Place(NamedTuple):
    """What the walk needs to know of a struct."""

    own: frozenset[str]
    known: Mapping[str, Known]
    inside: dict[str, type[Struct]]  # by field: the struct in it


@cache
def _place(struct: type[Struct]) -> _Place:
    own = fields(struct)
    inside = {f.name: found for f in own if (found := next(iter(structs_in(f.type)), None))}
    return _Place(frozenset(f.name for f in own), getattr(struct, "known", {}), inside)


class _Setting(NamedTuple):
    """A field of ours that a name sets. `given`: the name, with its path."""

    name: str
    value: Any
    given: str


class _Walk:
    """Goes through the objects of one body. Values that need not be looked into stay as they are written."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.given: dict[str, str] = {}

    def object(self, entries: Mapping[str, Raw], struct: type[Struct], path: str) -> dict[str, Any]:
        """The entries of an object that stands at `path`, in the names of the struct."""
        place = _place(struct)
        before = f"{path}." if path else ""
        kept: dict[str, Any] = {}
        settings: list[_Setting] = []
        for name, raw in entries.items():
            if name not in place.own:
                settings += self._settings(place.known, name, raw, before)
            elif inner := place.inside.get(name):
                kept[name] = self._value(raw, inner, before + name)
            else:
                kept[name] = raw
        for setting in settings:
            self._set(kept, setting, before)
        return kept

    def _value(self, raw: Raw, struct: type[Struct], path: str) -> Any:
        """An object, a list of them, or what the struct's decoder will refuse or take as it is."""
        if _kind(raw) == b"[":
            return [self._entry(item, struct, f"{path}[{i}]") for i, item in enumerate(_decode_list(raw))]
        return self._entry(raw, struct, path)

    def _entry(self, raw: Raw, struct: type[Struct], path: str) -> Any:
        return self.object(_decode_object(raw), struct, path) if _kind(raw) == b"{" else raw

    def _settings(self, known: Mapping[str, Known], name: str, raw: Raw, before: str) -> list[_Setting]:
        """What a name that is not ours sets. Notes those without effect. Raises ApiError."""
        row = known.get(name)
        if isinstance(row, Harmless) or bytes(raw) == b"null":
            return []
        value = _decoded(raw)
        if row is None:
            self.told.append(before + quote(name, safe=""))
            return []
        where = before + name
        if not asks(value, row.neutral):
            return []
        if isinstance(row, Refused):
            raise row.refusal(where)
        assert isinstance(row, Mapped)
        if isinstance(row, Opened) and isinstance(value, dict):
            inner = _decode_object(raw).items()
            return [s for key, part in inner for s in self._settings(row.inside, key, part, f"{where}.")]
        if row.translate:
            return [_Setting(ours, each, where) for ours, each in row.translate(value, where).items()]
        return [_Setting(row.to, raw, where)]

    def _set(self, kept: dict[str, Any], setting: _Setting, before: str) -> None:
        """Set a field, or one of an object in it. Raises ApiError where the body sets it otherwise."""
        name, _, rest = setting.name.partition(".")
        if rest:
            outer = _decoded(kept.get(name))
            if not isinstance(outer, dict | None):
                return  # the decoder says what it has to be
            if not isinstance(kept.get(name), dict):
                kept[name] = _decode_object(kept[name]) if outer else {}
            self._set(kept[name], setting._replace(name=rest), f"{before}{name}.")
            return
        ours = before + name
        there = _decoded(kept.get(name))
        if there is None:
            kept[name] = setting.value
            self.given[ours] = setting.given
        elif there != _decoded(setting.value):
            raise ApiError.same(setting.given, self.given.get(ours, ours))


def _kind(raw: Raw) -> bytes:
    """The first character of a value."""
    return bytes(memoryview(raw)[:1])


def _decoded(value: Any) -> Any:
    """A value; a number that is out of range stays as it is written."""
    if not isinstance(value, Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.ValidationError:
        return bytes(value)
