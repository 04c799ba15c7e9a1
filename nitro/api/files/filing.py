"""What the routes of files and batches work with, and what is not found, in OpenAI's words."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from nitro.batches.batch_metrics import BatchMetrics
from nitro.batches.runner import Batches
from nitro.errors import ApiError
from nitro.state.batches import NoBatch, WrongPurpose
from nitro.state.bounds import TooMany
from nitro.state.file_store import FileStore
from nitro.state.files import InUse, NoFile


@dataclass(frozen=True)
class Filing:
    """Files and batches of one server. `kept`: None where nothing is. `max_file`: bytes that a file may have."""

    kept: Batches | None = None
    max_file: int = 2**29
    metrics: BatchMetrics | None = None

    @property
    def batches(self) -> Batches:
        """Raises ApiError 404 where nothing is ever kept."""
        if self.kept is None:
            raise ApiError(404, "Nothing is kept here: this server was started with --no-state.")
        return self.kept

    @property
    def store(self) -> FileStore:
        """The same."""
        return self.batches.store


def too_many(error: TooMany) -> ApiError:
    """As its client is told."""
    why = f"{error}, and there may be no more."
    return ApiError(429, why, type="requests", code="rate_limit_exceeded", retry_after=60)


@contextlib.contextmanager
def told(param: str | None = None) -> Iterator[None]:
    """What the store does not find, as the ApiError for its client. `param`: that names a file or batch; None: the path
    does."""
    status = 404 if param is None else 400
    try:
        yield
    except NoFile as error:
        raise ApiError(status, f"No such File object: {error.id}", param=param or "id") from None
    except NoBatch as error:
        raise ApiError(status, f"No batch found with id '{error.id}'.", param=param) from None
    except WrongPurpose as error:
        why = f"a file that was uploaded with the purpose 'batch'; this one's is '{error.purpose}'"
        raise ApiError.invalid("input_file_id", why) from None
    except InUse as error:
        why = f"The batch '{error.batch}' has not ended and needs this file. Cancel it first."
        raise ApiError(409, why, param="id", code="file_in_use") from None
    except TooMany as error:
        raise too_many(error) from None
