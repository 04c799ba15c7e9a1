"""What the hub, the network or the disk refuses, as a sentence with what to do. A row for each kind of refusal.

What the hub answers: 401 for what is not there and for what is private, alike, as long as nobody has said who asks;
404 with X-Error-Code RepoNotFound, RevisionNotFound or EntryNotFound; 401 or 403 with GatedRepo; 429 with Retry-After
or RateLimit. Source: huggingface_hub 2.4.0, utils/_http.py.
"""

import errno
from json import JSONDecodeError

import httpx2
from huggingface_hub import errors
from huggingface_hub.utils import parse_ratelimit_headers

from nitro.errors import PullError, one_line

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
TOKEN = "set HF_TOKEN to a token of yours (or run `hf auth login`)"
MAX_QUOTED = 200  # characters of what a server says


def of(error: Exception, name: str, revision: str | None = None) -> PullError | None:
    """The refusal that an exception of huggingface_hub, of its HTTP client or of the system is; None where it is none.
    `name`: the repository's."""
    if isinstance(error, PullError):
        return error
    if isinstance(error, errors.OfflineModeIsEnabled):
        return PullError("offline", f"{name} cannot be fetched: HF_HUB_OFFLINE is set. Unset it to use the network.")
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return of(error.__cause__, name, revision)  # its words for a question that failed
    if isinstance(error, errors.HfHubHTTPError):
        return _answer(error, name, revision)
    if isinstance(error, httpx2.TransportError | httpx2.TooManyRedirects | errors.FileMetadataError | JSONDecodeError):
        return PullError("network", f"The hub cannot be reached ({_quote(error)}). Check the connection, "
                         f"HF_ENDPOINT and the proxy's variables, and run the command again.")  # fmt: skip
    if isinstance(error, OSError) and error.errno is not None:
        return of_disk(error)
    if isinstance(error, OSError):  # huggingface_hub's own
        return PullError("hub", f"What the hub sends of {name} does not fit together ({_quote(error)}). Check "
                         f"HF_ENDPOINT and the proxy's variables, and run the command again.")  # fmt: skip
    return None


def of_disk(error: OSError) -> PullError:
    """What a system's error on a file means."""
    where = f": {error.filename}" if error.filename else ""
    if error.errno in NO_ROOM:
        return PullError("disk_full", f"The disk is full{where}. Free some of it, or set HF_HOME to a folder on "
                         f"another disk, and run the command again; what is here is kept.")  # fmt: skip
    return PullError("disk", f"The cache cannot be written ({error.strerror or error}){where}. Set HF_HOME to a folder "
                     f"of yours, or mend the rights.")  # fmt: skip


def _answer(error: errors.HfHubHTTPError, name: str, revision: str | None) -> PullError:
    response = error.response
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    if code == "GatedRepo":
        asked = "authorization" in response.request.headers
        login = "The token that was sent may not read it" if asked else f"Then {TOKEN}"
        return PullError("gated", f"{name} is gated: accept its conditions on its page on the hub first. {login}.")
    if code == "RevisionNotFound":
        return PullError("no_revision", f"{name} has no revision {revision}; leave --revision away for the newest.")
    if code == "EntryNotFound":
        return PullError("changed", f"{name} has changed since its files were listed; run the command again.")
    if status == 401 and "authorization" in response.request.headers:
        return PullError("token", f"The hub refuses the token that was sent. Unset HF_TOKEN, or {TOKEN}.")
    if status in (401, 404) or isinstance(error, errors.RepositoryNotFoundError):
        return PullError("not_found", f"The hub has no {name}, or it is private: check the name, and if it is yours, "
                         f"{TOKEN}.")  # fmt: skip
    if status == 403:
        return PullError("forbidden", f"The hub does not give {name} to you ({_quote(error)}): {TOKEN}.")
    if status == 429:
        seconds = _seconds(response)
        when = f"in {seconds} seconds" if seconds else "in some minutes"
        return PullError("rate_limit", f"The hub has had too many requests from here; run the command again {when}. "
                         f"With a token more are allowed: {TOKEN}.", seconds)  # fmt: skip
    return PullError("hub", f"The hub answers {status} for {name}; run the command again later.")


def _seconds(response: httpx2.Response) -> int | None:
    """How long the hub asks to wait."""
    after = response.headers.get("Retry-After", "").strip()
    limit = parse_ratelimit_headers(response.headers)
    return int(after) if after.isdigit() else limit.reset_in_seconds if limit and not limit.remaining else None


def _quote(error: Exception) -> str:
    server = getattr(error, "server_message", None)
    return one_line(server or str(error) or type(error).__name__)[:MAX_QUOTED]
