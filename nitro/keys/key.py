"""What a key is: a name, the hash of a secret, rights and limits. Knows neither the file nor what was used.

The secret has 256 random bits, so that a plain SHA-256 of it tells nothing and can be compared with everything that is
sent: nobody can try 2^256 of them, and a slow hash would only make wrong keys dear for the server.
"""

import hashlib
import re
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated

from msgspec import Meta, Struct

from nitro.engines.shares import Tier
from nitro.keys import patterns

PREFIX = "sk-nitro-"
SECRET = re.compile(rb"sk-nitro-[A-Za-z0-9_-]{43}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
HASH = r"^sha256:[0-9a-f]{64}$"
USUAL_TIERS: tuple[Tier, ...] = ("default", "flex")
ORDER: tuple[Tier, ...] = ("priority", "default", "flex")  # from the dearest

Count = Annotated[int, Meta(ge=1, le=2**53)]
Route = Annotated[str, Meta(pattern=r"^((GET|POST|DELETE) )?/", max_length=300)]
Name = Annotated[str, Meta(min_length=1, max_length=300)]


class Strict(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", omit_defaults=True, dict=True):
    """As a file writes it."""


class Limits(Strict, frozen=True, kw_only=True):
    """How much. None: as much as there is. A request is a POST. Tokens are those of prompts, also where they were found
    in the cache, of answers, and of inputs to be embedded."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    requests_per_day: Count | None = None  # of UTC
    tokens_per_day: Count | None = None
    requests_at_once: Count | None = None
    longest_context: Count | None = None  # tokens of a prompt and its answer


class Rights(Limits, frozen=True, kw_only=True):
    """What, and how much. `routes`: paths, or methods and paths, with `*` for any text; None: all. `models`: names of
    `GET /v1/models`, the same; None: all. `admin`: also the routes that are about the server and everybody's requests,
    as far as `routes` has them. `tiers`: of `service_tier`."""

    admin: bool = False
    routes: tuple[Route, ...] | None = None
    models: tuple[Name, ...] | None = None
    tiers: Annotated[tuple[Tier, ...], Meta(min_length=1)] = USUAL_TIERS
    expires: datetime | None = None

    def has_route(self, method: str, path: str) -> bool:
        """Whether `routes` has it. HEAD is a GET."""
        if self.routes is None:
            return True
        method = "GET" if method == "HEAD" else method
        return self._routes.fullmatch(path) is not None or self._routes.fullmatch(f"{method} {path}") is not None

    def has_model(self, id: str) -> bool:
        """Whether the model of this id, or the adapter, may be used."""
        return self.models is None or self._models.fullmatch(id) is not None

    def tier(self, asked: Tier | None) -> Tier:
        """The one that a request gets: what it asks for, or else the next lower one that is allowed."""
        asked = asked or "default"
        lower = [tier for tier in ORDER[ORDER.index(asked) :] if tier in self.tiers]
        return lower[0] if lower else next(tier for tier in reversed(ORDER) if tier in self.tiers)

    def has_expired(self, time: float) -> bool:
        """`time`: seconds since 1970."""
        return self.expires is not None and self.expires.timestamp() <= time

    @cached_property
    def _routes(self) -> re.Pattern[str]:
        return patterns.compiled(self.routes or ())

    @cached_property
    def _models(self) -> re.Pattern[str]:
        return patterns.compiled(self.models or (), any_case=True)


NO_HURRY = Rights()  # of who is not known
EVERYTHING = Rights(admin=True, tiers=ORDER)  # of who has the server's own key, or is on its machine


class Key(Rights, frozen=True, kw_only=True):
    """A key as a file has it. Its name is the file's."""

    hash: Annotated[str, Meta(pattern=HASH)]
    created: datetime | None = None


def new_secret() -> str:
    """What its owner sends."""
    import secrets  # only who makes keys needs it

    return PREFIX + secrets.token_urlsafe(32)


def digest(secret: bytes) -> str:
    """What a file has of it."""
    return f"sha256:{hashlib.sha256(secret).hexdigest()}"


def now() -> datetime:
    """To the second, in UTC."""
    return datetime.now(UTC).replace(microsecond=0)
