"""The file of keys: TOML, as `nitro key new` writes it and people change it.

    [defaults]                        # for all keys that say nothing else
    requests-per-minute = 60

    [keys.alice]
    hash = "sha256:9f86d081…"
    expires = 2027-06-30              # the first day on which it holds no more, in UTC
    models = ["qwen3*"]
    tokens-per-day = 1_000_000

It has no secret in it. Who can write it can make keys.
"""

import contextlib
import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nitro.errors import StartError
from nitro.keys.key import NAME, Key, Rights

T = TypeVar("T")

MAX_BYTES = 2**20
SECTIONS = ("defaults", "keys")
FIRST = "# Keys of Nitro, for `nitro serve --keys`. It holds hashes, no secrets. `nitro key new NAME` adds one.\n"
TIMES = ("expires", "created")
FORMS = {  # of texts, by the field
    "hash": "sha256: and 64 hexadecimal digits, as `nitro key new` writes it",
    "routes": 'a path, as in "/v1/responses*", or a method and a path, as in "GET /v1/models"',
}


def read(path: Path) -> dict[str, Key]:
    """The keys by name. Raises StartError, which names file, key and field, and quotes nothing."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StartError(f"{path} is no regular file.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise StartError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if len(data) > MAX_BYTES:
        raise StartError(f"{path} is longer than {MAX_BYTES} bytes.")
    return parse(data, str(path))


def parse(data: bytes, path: str) -> dict[str, Key]:
    """The same of a file's content."""
    import tomllib

    try:
        content = tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise StartError(f"{path} is not TOML: {error}.") from None
    for section in content:
        if section not in SECTIONS:
            raise StartError(f"{path}: there is no section [{section}]; there are [defaults] and [keys.NAME].")
    defaults = _table(content, "defaults", path)
    _converted(defaults, Rights, f"{path}: [defaults]")
    tables = _table(content, "keys", path)
    keys = {name: _key(name, _table(tables, name, path), defaults, path) for name in tables}
    owners: dict[str, str] = {}
    for name, key in keys.items():
        if (owner := owners.setdefault(key.hash, name)) != name:
            raise StartError(f"{path}: [keys.{name}] has the hash of [keys.{owner}].")
    return keys


def _table(content: Mapping[str, Any], name: str, path: str) -> dict[str, Any]:
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise StartError(f"{path}: '{name}' should be a table.")
    return found


def _key(name: str, table: Mapping[str, Any], defaults: Mapping[str, Any], path: str) -> Key:
    where = f"{path}: [keys.{name}]"
    if not NAME.fullmatch(name):
        raise StartError(f"{where}: a name has up to 64 letters, digits and . _ @ -, and begins with one of the first.")
    if "hash" not in table:
        raise StartError(f"{where}: there is no 'hash'; `nitro key new` makes one.")
    return _converted({**defaults, **table}, Key, where)


def _converted(table: Mapping[str, Any], kind: type[T], where: str) -> T:
    values = dict(table)
    for name in TIMES:
        if name in values:
            values[name] = _time(values[name], name, where)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise StartError(f"{where}: {_said(error)}.") from None


def _said(error: msgspec.ValidationError) -> str:
    """msgspec's words, with the field first."""
    what, _, where = str(error).partition(" - at `$")
    field = where.strip("`.").strip()
    if "regex" in what:
        what = f"expected {FORMS[field.partition('[')[0]]}"
    return f"{field}: {what}" if field else what


def _time(value: Any, name: str, where: str) -> datetime:
    """A date is its beginning, and a time without a zone is in UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise StartError(f"{where}: {name}: expected a date such as 2027-06-30, or a date and time.")


def entry(name: str, key: Key) -> str:
    """A key as it stands in a file."""
    fields = msgspec.to_builtins(key, builtin_types=(datetime,))
    lines = [f"{field} = {_toml(value)}" for field, value in fields.items()]
    return "\n".join([f"[keys.{json.dumps(name) if set(name) & set('.@') else name}]", *lines, ""])


def _toml(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def add(path: Path, name: str, key: Key) -> None:
    """Write a key into a file, which is made where there is none. A reader sees it with the key or without it, never a
    part. Raises StartError, also where there is a key of this name."""
    try:
        path = path.expanduser().resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.parent):
            there = path.exists()
            before = path.read_bytes() if there else FIRST.encode()
            if name in parse(before, str(path)):
                raise StartError(f"{path}: there is a key '{name}' already.")
            content = before.rstrip(b"\n") + b"\n\n" + entry(name, key).encode()
            parse(content, str(path))
            _replace(path, content, path.stat() if there else None)
    except OSError as error:
        raise StartError(f"{path} cannot be written: {error.strerror}.") from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Against others who add a key."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, content: bytes, before: os.stat_result | None) -> None:
    """`before`: of the file whose place this takes: its owner and its mode stay."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # which only its owner can read
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if before:
            os.chmod(name, stat.S_IMODE(before.st_mode))
            with contextlib.suppress(PermissionError):
                os.chown(name, before.st_uid, before.st_gid)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
