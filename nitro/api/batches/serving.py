"""The batches of a server: how many lines at once, and which batches of servers that have ended are this one's."""

from nitro.batches.runner import Batches
from nitro.errors import NitroError
from nitro.models.pool import Pool
from nitro.state.file_store import FileStore


def make(store: FileStore, models: Pool, parallel: int, max_queue: int, longest: int) -> Batches:
    """`parallel`, `max_queue`: of an engine. Some more lines than run wait there, so that it never does. `longest`:
    bytes that a line may have."""

    async def serves(served: str, model: str) -> bool:
        """Whether lines would be answered by the same models. `served`: the default of the server that took the batch;
        `model`: that a line asks for."""
        if served == default_of(models):
            return True
        if not model or not models.by_name:
            return False
        try:
            return (await models.find(model)).id == model
        except NitroError:
            return False

    return Batches(store, serves, parallel + min(parallel, max_queue), longest)


def default_of(models: Pool) -> str:
    """The id of the default model; "": there is none."""
    return models.default.source.id if models.default else ""
