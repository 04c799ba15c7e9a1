"""Names of the hub, as `nitro pull` takes them."""

import os
import re
from urllib.parse import unquote, urlsplit

from nitro.errors import PullError

EXAMPLE = "bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M"
HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")  # and that of HF_ENDPOINT
_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?::(?P<tag>[^:]+))?", re.ASCII)
# As huggingface.co has them: /ORG/NAME, and below it /tree/REVISION/…, /blob/REVISION/FILE, /resolve/REVISION/FILE
_PAGE = re.compile(
    r"https?://(?P<host>[^/\s]+)/(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*?)"
    r"(?:/(?:blob|resolve)/[^/]+/(?P<file>[^?#\s]+)|/tree/[^?#\s]*)?/?(?:[?#]\S*)?",
    re.ASCII,
)


def parse(name: str) -> tuple[str, str]:
    """The repository and the tag of "org/name" or "org/name:tag"; no tag is empty. The address of a page of the hub, of
    a repository or a file in it, will do as well. Raises PullError."""
    found = _NAME.fullmatch(_of_page(name) or name)
    if not found or "--" in found["repository"] or ".." in found["repository"]:
        raise PullError("bad_name", f"{name!r} is no name of the hub, which is ORG/NAME or ORG/NAME:TYPE: {EXAMPLE}.")
    return found["repository"], found["tag"] or ""


def _of_page(address: str) -> str | None:
    """What the page of a repository, of its files, or of a file there is of: "org/name", or "org/name:FILE" of a GGUF.
    None: it is no such page."""
    found = _PAGE.fullmatch(address)
    if not found or found["host"].lower() not in (*HOSTS, urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc):
        return None
    file = unquote(found["file"] or "")
    return f"{found['repository']}:{file}" if file.lower().endswith(".gguf") else found["repository"]
