"""The one model that the first Nitro's API knows: what `loadmodel` has loaded, or else what the server has loaded."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from nitro.api import json_body, readers
from nitro.api.endpoint import Endpoint
from nitro.api.first_nitro import loading, replies
from nitro.api.first_nitro.renderer import FirstNitroRenderer
from nitro.api.first_nitro.requests import LoadRequest
from nitro.errors import ApiError, NitroError, PromptRejected, StartError
from nitro.models import files, model_source
from nitro.models.handle import ServedModel
from nitro.models.model_source import ModelSource
from nitro.models.pool_entry import PoolEntry
from nitro.models.settings import ModelSettings
from nitro.service import grammar_check, ignored_parameters
from nitro.service.failures import as_api_error

log = logging.getLogger("nitro.api")

FOREIGN_GRAMMAR = "'grammar_file' may be sent by programs on this machine only, unless the server has an --api-key"
MAX_GRAMMAR = 2**20  # bytes of a grammar's file
NOT_LOADED = ("unloaded", "failed", "broken")  # states of a model: it takes no memory
READY = ("ok", "stalled", "restarting")  # requests are accepted, and may have to wait
LLAMA, CORTEX = "llama.cpp", "cortex.llamacpp"  # how our engine's name begins, and what cortex-cpp calls it


class Pool(Protocol):
    """What this API needs of the server's models."""

    def entries(self) -> Sequence[PoolEntry]:
        """Those that are known, loaded or not, the default first."""

    async def load_source(self, source: ModelSource, settings: ModelSettings) -> ServedModel:
        """Load a file that may be in no store. Returns when it is ready. Raises ApiError or EngineError."""

    async def unload(self, name: str, force: bool = False) -> object:
        """End a model's engine, and forget how it was loaded. `force`: even while requests run, which get an error."""


class LoadFailed(NitroError):
    """A model could not be loaded. The message says why."""


class Load(NamedTuple):
    """What a load has said, and what follows from it only here."""

    id: str
    grammar: str | None
    chats: bool


class CurrentModel(NamedTuple):
    """The model, as this API shows it."""

    id: str
    path: str
    context: int  # tokens
    load: Load


class FirstNitro:
    """The state behind the routes of one server. Belongs to the event loop.

    `stop` begins to stop the server. `strict`: a load with a name that has
    no effect is refused.
    """

    def __init__(self, pool: Pool, stop: Callable[[], None], strict: bool):
        self.last: bytes | None = None  # the options of the last conversation; None: there was none since the load
        self.chat = Endpoint(
            reader=readers.FIRST_NITRO_CHAT,
            renderer=partial(FirstNitroRenderer, noted=self._note),
            prompt_param="messages",
            error=replies.chat_error,
        )
        self._pool, self._stop, self._strict = pool, stop, strict
        self._load: Load | None = None  # the last one, as long as its model is loaded
        self._loading = False

    @property
    def taken(self) -> bool:
        """Whether a model is loaded, or being loaded."""
        return self._loading or bool(self._resident())

    def current(self) -> CurrentModel | None:
        """The model; None: none is ready."""
        ready = {entry.id: entry for entry in self._resident() if entry.state in READY}
        load = self._load if self._load and self._load.id in ready else Load(next(iter(ready), ""), None, True)
        if not ready:
            return None
        entry = ready[load.id]
        return CurrentModel(load.id, entry.wanted.source.path, entry.context or 0, load)

    def engines(self) -> list[str]:
        """The engines of the models that are ready, in cortex-cpp's words."""
        infos = (entry.served.engine.info for entry in self._resident() if entry.served)
        names = (info.engine for info in infos if info)
        return list(dict.fromkeys(CORTEX if name.startswith(LLAMA) else name.partition(" ")[0] for name in names))

    def _resident(self) -> list[PoolEntry]:
        """The models that are loaded, on their way in, or on their way out."""
        return [entry for entry in self._pool.entries() if entry.state not in NOT_LOADED]

    async def load(self, body: bytes, files: bool) -> list[str]:
        """Load the model that the body of a `loadmodel` asks for. Returns the names without effect, as they may stand
        in a header, once it is ready. `files`: the client may have others read, which `modelstatus` shows. Raises
        LoadFailed, or ApiError for what is wrong or refused."""
        request, told, _ = json_body.decode(body, LoadRequest)
        if request.grammar_file and not files:
            raise ApiError(403, FOREIGN_GRAMMAR, param="grammar_file")
        loading.check_engine(request)
        self._loading = True
        try:
            grammar = await asyncio.to_thread(_grammar, request.grammar_file)
            settings = loading.settings(request, grammar)
            if request.pre_prompt and settings.template is None:
                told.append("pre_prompt")
            if self._strict:
                ignored_parameters.refuse(told)
            model = await self._loaded(request, settings)
            await self._check_grammar(model, grammar)
        finally:
            self._loading = False
        self._load = Load(model.source.id, grammar, loading.chats(request))
        self.last = None
        return told

    async def _loaded(self, request: LoadRequest, settings: ModelSettings) -> ServedModel:
        """Raises LoadFailed."""
        try:
            return await self._pool.load_source(await asyncio.to_thread(_source, request), settings)
        except NitroError as error:
            log.warning("loadmodel: %s", error)
            raise LoadFailed(str(error)) from error

    async def _check_grammar(self, model: ServedModel, grammar: str | None) -> None:
        """A model whose grammar is none is unloaded. Raises ApiError 400, LoadFailed."""
        if grammar is None:
            return
        try:
            await grammar_check.check(model.engine, grammar, "grammar_file")
        except NitroError as error:
            await self._pool.unload(model.source.id, force=True)
            if isinstance(error, PromptRejected):
                raise as_api_error(error) from None
            raise LoadFailed(str(error)) from error

    async def unload(self) -> bool:
        """Unload whatever is loaded, so that another model can be. Returns False if nothing was."""
        models = [entry.id for entry in self._resident()]
        self._load = None
        for name in models:
            await self._pool.unload(name, force=True)
        return bool(models)

    async def destroy(self) -> None:
        """Stop the server."""
        self._stop()

    def _note(self, options: bytes) -> None:
        self.last = options


def _source(request: LoadRequest) -> ModelSource:
    """Raises StartError."""
    if not request.llama_model_path:
        raise StartError("The request has no 'llama_model_path'.")
    return model_source.find(request.llama_model_path, request.model_alias or None, "auto")


def _grammar(path: str | None) -> str | None:
    """What `grammar_file` holds. Raises ApiError 400."""
    if not path:
        return None
    file = Path(path).expanduser()
    try:
        problem = files.problem_with(file) if file.is_file() or not file.is_dir() else f"{path} is a folder."
        if problem is None and file.stat().st_size > MAX_GRAMMAR:
            problem = f"{path} has more than {MAX_GRAMMAR} bytes."
        if problem is None:
            return file.read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as error:
        problem = f"{path} cannot be read: {getattr(error, 'strerror', None) or error}."
    raise ApiError(400, f"Invalid value for 'grammar_file': {problem}", param="grammar_file")
