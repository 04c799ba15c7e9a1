"""Names of the hub, as `nitro pull` takes them."""

import re

from nitro.errors import PullError

EXAMPLE = "bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M"
_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?::(?P<tag>[^:]+))?", re.ASCII)


def parse(name: str) -> tuple[str, str]:
    """The repository and the tag of "org/name" or "org/name:tag"; no tag is empty. Raises PullError."""
    found = _NAME.fullmatch(name)
    if not found or "--" in found["repository"] or ".." in found["repository"]:
        raise PullError("bad_name", f"{name!r} is no name of the hub, which is ORG/NAME or ORG/NAME:TYPE: {EXAMPLE}.")
    return found["repository"], found["tag"] or ""
