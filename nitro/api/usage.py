"""`GET /v1/usage`: what keys have used, and what is left to them. Each key sees its own; administrators see all."""

from datetime import date, timedelta
from typing import Any

from litestar import Request, get
from msgspec import Struct

from nitro.api.callers import account_of, is_trusted
from nitro.errors import ApiError, StateError
from nitro.keys.account import KINDS, Account
from nitro.keys.ledger import KEPT_DAYS
from nitro.keys.ring import KeyRing
from nitro.service.failures import as_api_error
from nitro.state.usage import Row

USUAL_DAYS = 30
_EPOCH = date(1970, 1, 1)


class KeyUsage(Struct):
    """Of a key, on a day of UTC, on a model; null where requests reached none."""

    key: str
    day: str  # "2027-06-30"
    model: str | None
    requests: int
    prompt_tokens: int
    cached_tokens: int  # of the prompts
    completion_tokens: int
    object: str = "usage"


class KeyLimit(Struct):
    """Of a limit: of a minute or, where that has none, of the day."""

    limit: int
    remaining: int
    reset_seconds: float  # until all of it is there again


class KeyState(Struct):
    """A key as it is now. `requests`, `tokens`: null where there is no limit. `expires`: seconds since 1970."""

    name: str
    admin: bool
    expires: int | None
    running: int  # requests
    requests: KeyLimit | None
    tokens: KeyLimit | None


class KeyUsageList(Struct):
    """The newest days first."""

    data: list[KeyUsage]
    keys: list[KeyState]
    object: str = "list"


@get("/v1/usage")
async def get_usage(request: Request) -> KeyUsageList:
    """Raises ApiError 400, 403, 404, 503."""
    keys: KeyRing | None = request.app.state.key_ring
    if keys is None:
        raise ApiError(404, "There are no keys here: start the server with --keys FILE.", code="no_keys")
    days = _days(request.query_params.get("days", str(USUAL_DAYS)))
    name = _name(request)
    accounts = [account for account in keys.accounts if name in (None, account.name)]
    try:
        rows = await keys.ledger.rows(days, name)
    except StateError as error:
        raise as_api_error(error) from None
    return KeyUsageList([_usage(row) for row in rows], [_state(account) for account in accounts])


def _name(request: Request) -> str | None:
    """Whose usage is asked for; None: everybody's. Raises ApiError 403."""
    name = request.query_params.get("key")
    account = account_of(request.scope)
    if account and not account.key.admin:
        if name not in (None, account.name):
            raise ApiError(403, "Only an administrator's key may see what others use.", param="key", code="not_allowed")
        return account.name
    if not is_trusted(request):
        raise ApiError(403, "Only who has a key may see what keys use.", code="not_allowed")
    return name


def _days(given: str) -> int:
    if not (given.isascii() and given.isdecimal() and 1 <= int(given[:9]) <= KEPT_DAYS):
        raise ApiError.invalid("days", f"a number from 1 to {KEPT_DAYS}")
    return int(given)


def _usage(row: Row) -> KeyUsage:
    counts = row.counts
    day = (_EPOCH + timedelta(days=row.day)).isoformat()
    return KeyUsage(row.key, day, row.model or None, counts.requests, counts.prompt, counts.cached, counts.completion)


def _state(account: Account) -> KeyState:
    left: dict[str, Any] = {}
    for kind in KINDS:
        found = account.left(kind)
        left[kind] = KeyLimit(*found) if found else None
    expires = account.key.expires
    return KeyState(
        account.name, account.key.admin, int(expires.timestamp()) if expires else None, account.at_once, **left
    )
