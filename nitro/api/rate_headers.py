"""What a reply tells of a key's limits: the headers of the OpenAI API.

Source: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers. They are about the minute or, where
a key has no limit of the minute, about the day.
"""

from nitro.keys.account import KINDS, Account
from nitro.keys.refusals import duration

NAMES = tuple(f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in KINDS)


def of(account: Account) -> list[tuple[bytes, bytes]]:
    """As it is now."""
    found = []
    for kind in KINDS:
        if left := account.left(kind):
            limit, remaining, reset = left
            values = {"limit": str(limit), "remaining": str(remaining), "reset": duration(reset)}
            found += [(f"x-ratelimit-{what}-{kind}".encode(), value.encode()) for what, value in values.items()]
    return found
