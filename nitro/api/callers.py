"""Whose key a request came with, and what they may do: noted in the request's scope before it is routed.

Without --keys nobody has an account: who has the server's own key, or is on its machine where there is none, has every
right.
"""

from collections.abc import Mapping
from typing import Any

from litestar import Request

from nitro.api.trust import is_local
from nitro.errors import ApiError
from nitro.keys.account import Account, Use
from nitro.keys.key import EVERYTHING, NO_HURRY, Rights

_ACCOUNT, _USE = "account", "use"  # in the scope's state


def begin(scope: Mapping[str, Any], account: Account | None) -> Use | None:
    """The request is this account's: admit it. The caller ends the use. Raises ApiError 429."""
    if account is None:
        return None
    scope["state"][_ACCOUNT] = account
    scope["state"][_USE] = use = account.begin(counts=scope["method"] == "POST")
    return use


def resume(scope: Mapping[str, Any], account: Account) -> Use:
    """The request is this account's, which was admitted before. The caller ends the use."""
    scope["state"][_ACCOUNT] = account
    scope["state"][_USE] = use = account.resume()
    return use


def account_of(scope: Mapping[str, Any]) -> Account | None:
    """Of the key that a request came with; None: it is none of a file."""
    account: Account | None = (scope.get("state") or {}).get(_ACCOUNT)
    return account


def use_of(scope: Mapping[str, Any]) -> Use | None:
    """What counts what a request uses."""
    use: Use | None = (scope.get("state") or {}).get(_USE)
    return use


def rights_of(request: Request) -> Rights:
    """What who asks may do."""
    if use := use_of(request.scope):
        return use.key
    has_key: bool = request.app.state.has_key
    return EVERYTHING if has_key or is_local(request.scope) else NO_HURRY


def is_trusted(request: Request) -> bool:
    """Whether they may do more than ask for answers: see files of this machine, fetch and remove models, stop the
    server. So may who has the server's own key, or one of an administrator, or is on this machine where there is
    none."""
    return rights_of(request).admin


def check_may_unload(request: Request) -> None:
    """Raises ApiError 403 for who has a key that is no administrator's: others may use the model."""
    if (use := use_of(request.scope)) and not use.key.admin:
        raise ApiError(403, "This key may not unload models: that is for administrators.", code="not_allowed")
