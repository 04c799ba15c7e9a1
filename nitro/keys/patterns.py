"""Names with `*` for any text, as in "/v1/responses*" and "qwen3:*"."""

import re
from collections.abc import Iterable

NOTHING = re.compile(r"(?!)")


def compiled(patterns: Iterable[str], *, any_case: bool = False) -> re.Pattern[str]:
    """Matches what one of the patterns does, as a whole; of no patterns: nothing."""
    parts = [".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns]
    flags = re.DOTALL | re.IGNORECASE if any_case else re.DOTALL
    return re.compile("|".join(f"(?:{part})" for part in parts), flags) if parts else NOTHING
