"""Values in a request's query: each is checked, and a fault names it."""

from collections.abc import Mapping, Sequence

from nitro.errors import ApiError

Query = Mapping[str, list[str]]


def one(query: Query, name: str) -> str | None:
    """The value, if there is one. Raises ApiError 400 for several."""
    values = query.get(name, [])
    if len(values) > 1:
        raise ApiError.invalid(name, "one value")
    return values[0] if values else None


def flag(query: Query, name: str) -> bool:
    """Whether it is set. Raises ApiError 400."""
    return choice(query, name, ("true", "false", "1", "0")) in ("true", "1")


def choice(query: Query, name: str, choices: Sequence[str]) -> str | None:
    """One of these, or nothing. Raises ApiError 400."""
    value = one(query, name)
    if value is not None and value not in choices:
        raise ApiError.invalid(name, f"one of {', '.join(choices)}, got '{value[:100]}'")
    return value


def number(query: Query, name: str, default: int, least: int, most: int) -> int:
    """Raises ApiError 400."""
    value = one(query, name)
    if value is None:
        return default
    if not value.isascii() or not value.isdigit() or not least <= int(value[:20]) <= most:
        raise ApiError.invalid(name, f"a number from {least} to {most}, got '{value[:20]}'")
    return int(value)
