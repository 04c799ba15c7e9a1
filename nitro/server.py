"""A running server: socket, application, engine and signals, from a ServeConfig.

It starts in this order: make the application, serve (503 while the model loads), print the banner. What takes longer,
the engine's process, has begun before (`launch`). It stops in this order: open streams end with an error event,
connections close, the engine's process ends. A second signal ends it at once. Before it stops it may be drained: it
takes nothing new, and finishes what is under way.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from uvicorn.config import Config

from nitro import __version__, banner, limits, loading
from nitro.api.app import make_app
from nitro.api.auth import Guard
from nitro.api.batches import serving
from nitro.api.batches.line_requests import LineRequests
from nitro.api.connections import Connections
from nitro.api.drain import Drain
from nitro.api.files.filing import Filing
from nitro.api.http_protocol import HttpProtocol, bounded
from nitro.api.http_server import HttpServer
from nitro.api.readers import READERS, WARM_UP
from nitro.api.responses.background import Background
from nitro.api.responses.memory import Memory
from nitro.api.responses.renderer import ResponsesRenderer
from nitro.api.transport import reply_headers
from nitro.api.transport.forwarded import Proxies
from nitro.batches.batch_metrics import BatchMetrics
from nitro.config import ServeConfig
from nitro.engines.client.engine import Engine
from nitro.engines.prefix_files.folder import PrefixFolder
from nitro.engines.types import ModelInfo
from nitro.errors import EngineDown, EngineLost, NitroError, ServerClosing, StartError
from nitro.keys import key_metrics
from nitro.keys.ledger import Ledger
from nitro.keys.ring import KeyRing
from nitro.launch import Launch
from nitro.models import catalog
from nitro.models.catalog import Catalog
from nitro.models.fetching import Fetching
from nitro.models.pool import Pool
from nitro.records import recorder
from nitro.service.embedding import EmbeddingService
from nitro.service.generation import GenerationService
from nitro.service.intake.lanes import Intake
from nitro.service.live.feed import Feed
from nitro.service.live.requests import Requests
from nitro.service.live.watches import Watches
from nitro.service.load_metrics import LoadMetrics
from nitro.service.metrics import Metrics
from nitro.state.file_store import FileStore
from nitro.state.store import Store
from nitro.system import folders, gc_tuning, signals, terminal
from nitro.system.watched_files import WatchedFiles
from nitro.text import tool_formats

log = logging.getLogger("nitro")

CLOSE_TIMEOUT = 5  # seconds that connections have to close when the server stops
# Seconds that idle connections stay open. Clients close theirs earlier (Go 90, LiteLLM 120): a request that is sent
# while we close fails. uvicorn's own 5 are those of httpx and hardly more than Node's.
IDLE_TIMEOUT = 300


class Server:
    """One server on the running event loop: `serve` until `stop`."""

    def __init__(self, config: ServeConfig, launch: Launch | None = None):
        """`launch`: of this config; without one it begins here. Raises StartError: no such model, a bad template, a
        port in use."""
        self.config = config
        self._drain = Drain()
        self._draining: asyncio.Task[None] | None = None
        self._launch = launch or Launch(config)
        try:
            self._make(config)
        except BaseException:
            self._launch.end()
            raise

    def _make(self, config: ServeConfig) -> None:
        _, own = config.own_settings()
        self._template_file = own.chat_template or config.chat_template
        self._template = loading.read_template(self._template_file, "--chat-template") if self._template_file else None
        _check_tool_format(config.tool_format)
        metrics = Metrics()
        offered = _catalog(config)
        self._loads = loading.Loading(config, metrics, many=offered is not None)
        self.models = self._pool(self._loads, offered)
        keeps = not config.no_state
        folder = config.state or folders.state()
        self.store = Store(folder, config.state_days, config.state_size * 2**30) if keeps else None
        self.keys = KeyRing(config.keys, Ledger(self.store)) if config.keys else None
        guard = _guard(config, self.keys)
        if self.keys:
            metrics.add(partial(key_metrics.families, self.keys))
        requests = Requests()
        load = LoadMetrics(self.models, requests, metrics)
        metrics.add(load.families)
        if config.metrics_names != "nitro":
            metrics.in_other_names(load.vllm_families, alone=config.metrics_names == "vllm")
        self.live = Feed(Watches(self.models, metrics), requests, __version__)
        self.intake = Intake(
            config.read_seconds, READERS, self._launch.intake, config.media_limits(), config.read_memory
        )
        self.service = GenerationService(self.models, self.intake, metrics, config.strict, requests)
        overflow = config.embedding_overflow
        embedding = EmbeddingService(self.models, self.intake, metrics, config.strict, overflow, requests)
        memory, places = Memory(self.store), config.parallel
        self._kept = Background(memory, self.service, self.models, ResponsesRenderer, places, self.keys)
        fetching = Fetching(self.models, offered, allowed=not config.no_pull)
        max_body = config.max_body * 2**20
        prefixes = _prefix_folder(config)
        metrics.prefixes = prefixes.usage if prefixes else None
        files = FileStore(folder, config.state_days, config.files_size * 2**30) if keeps else None
        queue = (config.parallel, config.max_queue)
        self.batches = serving.make(files, self.models, *queue, max_body) if files else None
        filed = BatchMetrics(self.batches) if self.batches else None
        if filed:
            metrics.add(filed.families)
        self.recorder = recorder.make(config.record, config.record_size, config.record_files, config.api_key)
        app = make_app(
            self.models,
            self.service,
            guard,
            metrics,
            max_body,
            self.stop,
            self._kept,
            embedding,
            fetching,
            self.recorder,
            self.live,
            self.keys,
            prefixes,
            Filing(self.batches, config.max_file * 2**20, filed),
            self._drain,
        )
        self._line_requests = LineRequests(app.inner, self.keys)
        app.proxies = _proxies(config)
        self.files = WatchedFiles()
        self.certificates = self._launch.certificates
        if self.certificates:
            self.files.add(self.certificates.paths, self.certificates.read_again)
        if self.keys:
            self.files.add((self.keys.path,), self.keys.read_again)
        connections = limits.of_connections(config, self._launch.max_connections)
        self.connections: Connections[HttpProtocol] = Connections(connections)
        self._http = HttpServer(
            Config(
                app,
                http=bounded(self.connections),  # type: ignore[arg-type]
                ws="none",
                proxy_headers=False,
                server_header=False,
                headers=reply_headers.ALWAYS,
                log_config=None,
                access_log=False,
                lifespan="off",
                backlog=self._launch.backlog,
                timeout_graceful_shutdown=CLOSE_TIMEOUT,
                timeout_keep_alive=IDLE_TIMEOUT,
            ),
            self.connections,
            self.certificates,
        )
        self.port = self._launch.port

    def _pool(self, loads: loading.Loading, offered: Catalog | None) -> Pool:
        config, launch = self.config, self._launch
        pool = Pool(
            loads.plan,
            loads.engine,
            loading.limits(config),
            offered,
            keep_alive=loading.idle_time(config.keep_alive),
            pins=config.pin,
            max_waiting=config.parallel + config.max_queue,
            prepare=loads.prepare,
            free_on_gpu=partial(loading.free_on_gpu, config),
        )
        if launch.source and launch.spec:
            pool.offer_default(*loads.default(launch.source, launch.spec, self._template), first=launch.engine)
        return pool

    @property
    def engine(self) -> Engine:
        """The default model's."""
        model = self.models.default
        assert model, "there is no default model"
        return model.engine

    @property
    def url(self) -> str:
        """The address that it listens on, without a path; of a Unix socket as in unix:/run/nitro.sock."""
        if unix := self._launch.unix:
            return f"unix:{unix.path.absolute()}"
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"{'https' if self._launch.certificates else 'http'}://{host}:{self.port}"

    async def serve(self, loading: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`. `loading` is called before the model is waited for. Raises StartError when the first load
        fails or --chat-template is not a template, EngineLost when the engine is not started again."""
        self.intake.start()
        try:
            await self._check_template()
            loading()
            await self._serve()
        finally:
            await self.intake.close()

    async def _serve(self) -> None:
        self.models.start()
        self._kept.start()
        if self.keys:
            await self.keys.ledger.start()
        if self.batches:
            self.batches.start(self._line_requests)
        if self.recorder:
            self.recorder.start()
        self.files.start()
        serving = asyncio.create_task(self._http.serve([self._launch.socket]))
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait((serving, watching), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            await serving
        finally:
            watching.cancel()
            if self._draining:
                self._draining.cancel()
            self.stop()
            await serving
            await self.files.close()
            if unix := self._launch.unix:
                unix.remove()
            await self._kept.close()
            if self.batches:
                await self.batches.close()
                await self.batches.store.close()
            if self.recorder:
                await self.recorder.close()
            if self.keys:
                await self.keys.ledger.close()
            if self.store:
                await self.store.close()
            await self.models.close()
            self._loads.close()

    def read_again(self) -> None:
        """Read again what can be changed while it runs."""
        self.files.read_again()

    def drain(self) -> None:
        """Take no new requests, and stop when those under way have their replies and what has begun in the background
        has ended, or --grace is over. Batches end at once: the next server takes them up."""
        if self._draining:
            return
        self._drain.begin()
        self._kept.drain()
        if self.batches:
            self.batches.stop()
        if self._drain.underway:
            log.info("SIGTERM: %d requests are finished within %g s", self._drain.underway, self.config.grace)
        self._draining = asyncio.create_task(self._stop_when_finished(), name="drain")

    async def _stop_when_finished(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.grace):
                await self._drain.finished()
                await self._kept.finished()
        self.stop()

    def stop(self) -> None:
        """Begin to stop: open streams get an error event."""
        self._http.stop()
        self.live.stop()
        self._kept.stop()  # first: what runs in the background has not failed
        if self.batches:
            self.batches.stop()
        self.models.stop(ServerClosing("The server is stopping."))

    async def _check_template(self) -> None:
        """Raises StartError where --chat-template is not a template. It is checked in the intake process, as it is
        trusted no more than a model's own."""
        if self._template is not None:
            try:
                await self.intake.check(self._template)
            except NitroError as error:
                raise StartError(f"--chat-template {self._template_file}: {error}") from None

    async def _watch(self) -> None:
        """Print the banner when the default model is loaded, then wait for the end of an engine that does not come
        back. Raises StartError, EngineLost."""
        tool_formats.known()  # imports them while the model loads: the first request needs them
        warming = None
        if model := self.models.default:
            try:
                info = await model.engine.loaded()
            except EngineDown as error:
                raise StartError(str(error)) from None
            except ServerClosing:
                return
            banner.show(self, model, info)
            warming = asyncio.create_task(self._warm_up(info))
        else:
            banner.show(self)
        try:
            why = await self.models.lost()
        finally:
            if warming:
                warming.cancel()
        if isinstance(why, EngineDown):
            raise EngineLost(f"{why} The server exits, as --exit-on-engine-failure says.")

    async def _warm_up(self, info: ModelInfo) -> None:
        """Have a request read, so that the chat template is compiled before the first one comes."""
        if model := self.models.default:
            with contextlib.suppress(NitroError):  # no template, say: the first request reports it
                reader, body = WARM_UP
                await self.intake.read(model.setup(info), reader, [body])


def run(config: ServeConfig, launch: Launch) -> None:
    """Serve and stop, as `nitro serve` does after `launch`. Raises StartError, EngineLost."""
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger().level))
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(config, launch))


async def _run(config: ServeConfig, launch: Launch) -> None:
    server = Server(config, launch)
    gc_tuning.freeze_startup_objects()
    loop = asyncio.get_running_loop()

    def call(what: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(what)

    signals.on_first(*(partial(call, what) for what in (server.stop, server.read_again, server.drain)))
    model = server.models.default
    await server.serve(lambda: terminal.say(f"Loading {model.source.id} …", err=True) if model else None)


def _catalog(config: ServeConfig) -> Catalog | None:
    """What is offered besides the default: the folders of --models, the files of nitro.toml and, if no model was named,
    what the stores hold. A runner of the user's own opens what it likes, and stands for itself. Raises StartError."""
    for folder in config.models:
        catalog.check_folder(folder)
    everything = config.model is None and (config.no_model or ":" not in config.engine)
    _, own = config.own_settings()
    more = config.models or any(each.path for each in config.model_settings.values() if each is not own)
    if not everything and not more:
        return None
    if everything:
        catalog.check_stores()
    memory, on_gpu = loading.limits(config).bytes, partial(loading.free_on_gpu, config)
    return Catalog(config.models, everything, config.model_settings, memory=memory, on_gpu=on_gpu)


def _guard(config: ServeConfig, keys: KeyRing | None) -> Guard:
    try:
        return Guard(config.api_key, config.allow_origin, config.allow_host, keys)
    except ValueError as error:
        raise StartError(str(error)) from None


def _proxies(config: ServeConfig) -> Proxies:
    try:
        return Proxies(config.trust_proxy, config.root_path)
    except ValueError as error:
        raise StartError(str(error)) from None


def _prefix_folder(config: ServeConfig) -> PrefixFolder | None:
    """Where prefixes are kept. Raises StartError where none can be written there."""
    about = config.prefix_files()
    if not about:
        return None
    folder = PrefixFolder(Path(about["prefix_cache"]), about["prefix_cache_bytes"])
    try:
        folder.prepare()
    except OSError as error:
        raise StartError(f"--prefix-cache {folder.path} cannot be written: {error.strerror or error}.") from None
    return folder


def _check_tool_format(name: str | None) -> None:
    if name is not None and name not in tool_formats.known():
        raise StartError(
            f"--tool-format {name}: there is no such format; there are {', '.join(sorted(tool_formats.known()))}."
        )


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.Loop
