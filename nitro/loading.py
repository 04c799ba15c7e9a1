"""How a server's models are loaded: from what it was started with, a model's own settings, and the room there is."""

import logging
import math
from pathlib import Path

import msgspec
from msgspec.structs import replace

from nitro.config import ServeConfig, check_engine_memory, hosts_file
from nitro.engines import hostfile, sampling_defaults
from nitro.engines.client.engine import Engine
from nitro.engines.client.spare import Spare
from nitro.engines.client.spawn import SpawnedEngine
from nitro.engines.options import EngineOptions
from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.engines.types import EngineSpec
from nitro.errors import ApiError, StartError
from nitro.load_output import LoadOutput
from nitro.models import files, keep_alive, model_source, projectors
from nitro.models.load_plan import LoadPlan, Wanted
from nitro.models.model_source import ModelSource
from nitro.models.residency import MIB, Limits
from nitro.models.settings import ModelSettings
from nitro.models.stored_model import Format, StoredModel
from nitro.service.metrics import Metrics
from nitro.system.cgroups import NO_LIMIT
from nitro.system.memory import free_host_memory, parse

log = logging.getLogger("nitro.models")

OF_DEFAULT = ("draft", "lora", "mmproj")  # options that are for the model that the server was started with
KV_SHARE = 4  # a model whose context nobody has set gets at most this part of the memory for one sequence
PARALLEL_SHARE = 8  # and this one for several


class Loading:
    """The plans and engines of one server's models."""

    def __init__(self, config: ServeConfig, metrics: Metrics, many: bool = True):
        """`many`: more than one model may be loaded; one that is alone takes what memory it likes. Raises StartError
        for --defaults that are none."""
        self._config, self._metrics, self._many = config, metrics, many
        self._spare = Spare(config.engine)
        self._output = LoadOutput()
        self._defaults = read_defaults(config.defaults, f"--defaults {config.defaults}")

    def default(self, source: ModelSource, spec: EngineSpec, template: str | None) -> tuple[Wanted, LoadPlan]:
        """The model that the server was started with, which takes what memory it likes."""
        config, (_, own) = self._config, self._config.own_settings()
        given = {name: value for name in OF_DEFAULT if (value := getattr(config, name))}
        settings = replace(
            own,
            options={**given, **own.options},
            chat_template=own.chat_template or config.chat_template,
            tool_format=own.tool_format or config.tool_format,
        )
        size = _size(source.path) + _adapter_bytes(spec)
        size = hostfile.read(Path(spec.hosts)).part_here(size) if spec.hosts else size
        plan = LoadPlan(spec, size, template, own.defaults.over(self._defaults))
        return Wanted(source, settings), plan

    def plan(self, wanted: Wanted, budget: int) -> LoadPlan:
        """See MakePlan. Raises StartError; ApiError 503 where it takes more than --engine-memory."""
        settings, path = wanted.settings, wanted.source.path
        spec = self._spec(wanted.source, settings)
        template = settings.template
        if template is None and settings.chat_template:
            template = read_template(settings.chat_template, "chat_template")
        defaults = settings.defaults.over(self._defaults)
        adapters = _adapter_bytes(spec)
        if ":" in spec.engine or not self._many:  # a runner of the user's own opens what it likes
            return LoadPlan(spec, _size(path) + adapters, template, defaults)
        if spec.hosts:  # its ranks agree upon what fits
            return LoadPlan(spec, hostfile.read(Path(spec.hosts)).part_here(_size(path)), template, defaults)
        if spec.rpc:  # what its workers have free is not known while they serve another model
            return LoadPlan(spec, min(_size(path) + adapters, budget), template, defaults)
        from nitro.models import fit  # what reads headers is not needed at the start

        most = memory_of_engine(spec)
        budget = min(budget, most)
        try:
            need = fit.estimate(wanted.stored or _as_stored(wanted.source), spec, budget)
        except (OSError, ValueError) as error:  # the engine says better what is wrong with it
            log.warning("what %s needs is not known: %s", path, error)
            return LoadPlan(spec, _size(path) + adapters, template, defaults)
        room = max(budget - need.weights - adapters - need.overhead, 0)
        token = max(need.token_bytes, 1)
        context = spec.context or max(min(need.context, budget // KV_SHARE // token, room // token), 1)
        tokens = max(context, min(context * spec.parallel, need.pool, budget // PARALLEL_SHARE // token))
        beside = need.overhead + tokens * token  # windows and states of a cache count as overhead
        if (needed := need.weights + adapters + beside) > most:
            why = f"needs {needed // MIB} MiB of memory, and an engine may take {most // MIB} MiB (--engine-memory)."
            raise ApiError(503, f"The model '{wanted.source.id}' {why}", type="server_error", code="model_too_large")
        return LoadPlan(
            replace(spec, context=context, kv_bytes=beside), need.weights + adapters + beside, template, defaults
        )

    def engine(self, model: str, plan: LoadPlan, first: SpawnedEngine | None = None) -> Engine:
        """See MakeEngine."""
        config, metrics = self._config, self._metrics.of(model)
        comes_back = not config.exit_on_engine_failure
        first = first or self._spare.take(plan.spec)
        told = self._output.of(model)
        return Engine(
            plan.spec,
            config.max_queue,
            metrics,
            comes_back=comes_back,
            first=first,
            loading=told,
            stall_timeout=config.stall_timeout,
        )

    def prepare(self) -> None:
        """Have a process for the next load, which returns at once. Called when the last one is done."""
        self._spare.prepare()

    def close(self) -> None:
        """End what was prepared."""
        self._spare.end()

    def _spec(self, source: ModelSource, settings: ModelSettings) -> EngineSpec:
        """The server's options but its draft model, projector and adapters, which are the default's, and what is set
        for the model."""
        options = {name: getattr(self._config, name) for name in EngineOptions.__struct_fields__}
        no_projector = projectors.OFF if self._config.mmproj == projectors.OFF else None  # for no model
        options |= {**dict.fromkeys(OF_DEFAULT), "mmproj": no_projector, "lora": (), **settings.options}
        if options["draft"]:
            options["draft"] = model_source.find_draft(options["draft"], options["engine"])
        options["mmproj"] = projectors.named(options["mmproj"])
        options["hosts"] = hosts_file(options["hosts"], options["insecure_network"])
        check_engine_memory(options["engine_memory"])
        about = {"model": source.path, "projector": source.projector, "stall_timeout": self._config.stall_timeout}
        about |= self._config.prefix_files()
        try:
            return msgspec.convert({**about, **options}, EngineSpec)
        except msgspec.ValidationError as error:
            raise StartError(f"The settings of {source.path}: {error}.") from None


def limits(config: ServeConfig) -> Limits:
    """What may be loaded together. Raises StartError for a --memory that is none, and for more models than one whose
    layers are on the same workers, which serve one engine at a time."""
    alone = _share_workers(config)
    if alone and (config.models_max or 1) > 1:
        raise StartError(f"--models-max {config.models_max}: a worker of --rpc holds layers of one model at a time.")
    most = 1 if alone else config.models_max
    return Limits(free_host_memory() if config.memory is None else memory(config.memory), most)


def _share_workers(config: ServeConfig) -> bool:
    """Whether several models may have layers on one worker: all have, or nitro.toml names it for two."""
    own = [str(settings.options.get("rpc") or "") for settings in config.model_settings.values()]
    named = [worker for text in own if text for worker in text.split(",")]
    return bool(config.rpc) or len(set(named)) < len(named)


def free_on_gpu(config: ServeConfig) -> int:
    """Bytes free where models are loaded, if that is a GPU and --memory says nothing; else 0. Blocks: it may start a
    process."""
    from nitro.models import device_memory

    return 0 if config.memory is not None else device_memory.free_on_gpu(config)


def memory(text: str) -> int:
    """Bytes of --memory. Raises StartError."""
    try:
        return parse(text)
    except ValueError as error:
        raise StartError(f"--memory {text}: {error}.") from None


def memory_of_engine(spec: EngineSpec) -> int:
    """Bytes that --engine-memory lets it take, weights included; many where that does not bound its weights."""
    from nitro.models import device_memory

    if spec.engine_memory is None or device_memory.free_on_gpu(spec):
        return NO_LIMIT
    return parse(spec.engine_memory)


def idle_time(text: str | None) -> float | None:
    """Seconds of --keep-alive; None: models stay. Raises StartError."""
    try:
        seconds = None if text is None else keep_alive.parse(text)
    except ValueError as error:
        raise StartError(f"--keep-alive {text}: expected {error}.") from None
    return None if seconds == math.inf else seconds


def read_template(file: Path, option: str) -> str:
    """A chat template's source. Raises StartError."""
    try:
        objection = files.problem_with(file)
        if objection:
            raise StartError(f"{option} {objection}")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{option} {file}: {error}") from None


def read_defaults(text: str | None, option: str) -> SamplingDefaults:
    """Sampling defaults as --defaults has them. Raises StartError."""
    try:
        return sampling_defaults.parse(text) if text else SamplingDefaults()
    except ValueError as error:
        raise StartError(f"{option}: {error}") from None


def _adapter_bytes(spec: EngineSpec) -> int:
    return sum(_size(source.path) for source in spec.adapter_sources)


def _size(path: str) -> int:
    """Bytes of a model's files, as far as they can be seen."""
    try:
        place = Path(path)
        found = [place] if place.is_file() else place.iterdir() if path and place.is_dir() else ()
        return sum(file.stat().st_size for file in found if file.is_file())
    except OSError:
        return 0


def _as_stored(source: ModelSource) -> StoredModel:
    """A model that is in no store, as if it were."""
    kind: Format = "mlx" if Path(source.path).is_dir() else "gguf"
    return StoredModel(
        name=source.id,
        path=source.path,
        store="",
        format=kind,
        size=_size(source.path),
        created=source.created,
        projector=source.projector,
    )
