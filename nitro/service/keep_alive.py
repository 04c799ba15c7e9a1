"""How long a model stays loaded once it is idle, where a request says so: for those who may decide it for others, too.

A key that is no administrator's may not: it could have a model unloaded that others use, or kept in the place of one
that they need. Its `keep_alive` has no effect, and the reply says so, as clients send one with every request.
"""

from typing import TypeVar

from msgspec.structs import replace

from nitro.models.lease import Lease
from nitro.service.intake.messages import Prepared, PreparedEmbedding, Rendered
from nitro.service.requests import Principal

P = TypeVar("P", Prepared, PreparedEmbedding, Prepared | Rendered)
NAME = "keep_alive"


def applied(lease: Lease, prepared: P, principal: Principal) -> P:
    """The request, whose model this is."""
    if prepared.keep_alive is None:
        return prepared
    if principal.may_keep_models:
        lease.keep_alive(prepared.keep_alive)
        return prepared
    return replace(prepared, ignored=[*prepared.ignored, NAME])
