"""What a server is started with. Each field is a flag of `nitro serve` and a NITRO_* variable, both made from here."""

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from nitro.engines import hostfile
from nitro.engines.adapters import BadAdapters, parse
from nitro.engines.options import AMOUNT, AMOUNT_FORM, EngineOptions
from nitro.engines.types import EngineSpec, Overflow
from nitro.errors import StartError
from nitro.models import default_model, model_source, projectors
from nitro.models.settings import AS_SERVED, ModelSettings
from nitro.service.media import limits
from nitro.system import memory, memory_bound

DEFAULT_PORT = 3928
# Fields that say how this server is reached. One that somebody starts for himself is reached otherwise.
REACHED_BY = ("tls_cert", "tls_key", "uds", "uds_mode", "root_path", "trust_proxy")


class ServeConfig(EngineOptions, frozen=True, kw_only=True):
    """A server and the engine behind it. The bounds are checked by the command line."""

    model: str | None = None  # None: the embedded default
    model_settings: dict[str, ModelSettings] = {}  # by the names in nitro.toml
    models: Annotated[
        tuple[Path, ...],
        Meta(description="Folder whose models are offered, too. Repeatable."),
    ] = ()
    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on. 0: any free port.")] = DEFAULT_PORT
    alias: Annotated[str | None, Meta(description="Name of the model in the API.")] = None
    api_key: Annotated[str | None, Meta(description="Key that clients must send.")] = None
    keys: Annotated[
        Path | None,
        Meta(
            description="File with the keys of many users, each with rights and limits (`nitro key new`). It is read "
            "again when it changes."
        ),
    ] = None
    allow_origin: Annotated[
        tuple[str, ...],
        Meta(
            description="Origin of web pages that may call, in addition to local ones and desktop programs (app, file, "
            "tauri, vscode-webview, vscode-file), as in https://*.example.org or chrome-extension://*. "
            "* allows any. Repeatable."
        ),
    ] = ()
    allow_host: Annotated[
        tuple[str, ...],
        Meta(
            description="Host name that requests may use, in addition to IP addresses and localhost, as in *.lan. "
            "* allows any. Repeatable."
        ),
    ] = ()
    tls_cert: Annotated[
        Path | None,
        Meta(description="Certificate, in PEM: speak TLS. It is read again when it changes. Default: no TLS."),
    ] = None
    tls_key: Annotated[
        Path | None, Meta(description="Key of the certificate, in PEM. Default: it is in the certificate's file.")
    ] = None
    uds: Annotated[Path | None, Meta(description="Unix socket to listen on, instead of an address and a port.")] = None
    uds_mode: Annotated[
        str,
        Meta(
            pattern=r"^0?[0-7]{3}$",
            description="Who may connect to the Unix socket, as chmod has it.",
            extra={"form": "three octal digits such as 660"},
        ),
    ] = "600"
    root_path: Annotated[
        str | None,
        Meta(
            pattern=r"^/?[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*/?$|^/$",
            description="Prefix of all paths, behind a proxy, as in /nitro. The proxy may take it off or leave it.",
            extra={"form": "a path such as /nitro"},
        ),
    ] = None
    trust_proxy: Annotated[
        tuple[str, ...],
        Meta(
            description="Address or network of a proxy that tells who called (X-Forwarded-…, Forwarded), as in "
            "127.0.0.1,10.0.0.0/8; unix: whoever calls over --uds. Repeatable. Default: nobody is believed."
        ),
    ] = ()
    defaults: Annotated[
        str | None,
        Meta(
            description="Sampling parameters for requests that do not set them, as in temperature=0.7,top_p=0.9. "
            "They override what the model recommends."
        ),
    ] = None
    strict: Annotated[
        bool,
        Meta(description="Refuse parameters that have no effect, and requests that name another model."),
    ] = False
    chat_template: Annotated[Path | None, Meta(description="Jinja template to use instead of the model's own.")] = None
    tool_format: Annotated[
        str | None,
        Meta(description="How the model writes tool calls. Default: detected from its chat template."),
    ] = None
    models_max: (
        Annotated[int, Meta(ge=1, description="Models that are loaded at once. Default: what fits into memory.")] | None
    ) = None
    memory: Annotated[
        str | None,
        Meta(
            pattern=AMOUNT,
            description="Memory for all models together, in MiB or as in 12G. Default: what this machine has free at "
            "the start.",
            extra={"form": AMOUNT_FORM},
        ),
    ] = None
    keep_alive: Annotated[
        str | None,
        Meta(
            pattern=r"^ *-?[0-9.]+(([nuµm]s|[smh])([0-9.]+([nuµm]s|[smh]))*)? *$",
            description="How long a model stays loaded without a request: seconds, or as in 5m. Default: until another "
            "one needs its room.",
            extra={"form": "seconds, or a duration such as 5m or 1h30m"},
        ),
    ] = None
    pin: Annotated[
        tuple[str, ...], Meta(description="Name of a model that is never unloaded to make room. Repeatable.")
    ] = ()
    no_pull: Annotated[
        bool,
        Meta(description="Neither fetch nor remove models at the word of a client (/api/pull, /api/delete)."),
    ] = False
    no_model: Annotated[bool, Meta(description="Load no model at the start.")] = False
    state: Annotated[
        Path | None,
        Meta(
            description="Folder where responses, conversations, files and batches are kept. Default: nitro in the "
            "user's state folder (~/.local/state)."
        ),
    ] = None
    no_state: Annotated[bool, Meta(description="Keep no responses, conversations, files and batches.")] = False
    state_days: Annotated[
        int, Meta(ge=1, le=36500, description="Days after which a response that is kept is deleted.")
    ] = 30
    state_size: Annotated[
        int, Meta(ge=1, le=2**20, description="GiB for responses that are kept; beyond, the oldest are deleted.")
    ] = 8
    prefix_cache: Annotated[
        Path | None,
        Meta(
            description="Folder where the beginnings of prompts are kept in files, as the model has computed them, so "
            "that a restart does not compute them again. Servers may share one. Default: main memory only."
        ),
    ] = None
    prefix_cache_size: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]+(\.[0-9]+)? *[KMGTkmgt]?(i?[Bb])?$",
            description="What all files of --prefix-cache may take, in MiB or as in 20G; beyond, what was not used for "
            "the longest time is removed.",
            extra={"form": "a number of MiB, or a size such as 20G"},
        ),
    ] = "20G"
    max_file: Annotated[int, Meta(ge=1, le=2**20, description="Largest file that may be uploaded, in MiB.")] = 512
    files_size: Annotated[
        int, Meta(ge=1, le=2**20, description="GiB for all files that are kept; beyond, uploads get status 507.")
    ] = 8
    record: Annotated[
        Path | None,
        Meta(
            description="Folder where every request and its reply are recorded, with their times and the model's "
            "fingerprint, but no keys. Default: nothing is recorded."
        ),
    ] = None
    record_size: Annotated[int, Meta(ge=1, le=2**20, description="Largest file of records, in MiB.")] = 64
    record_files: Annotated[
        int, Meta(ge=1, le=10_000, description="Files of records that are kept; beyond, the oldest are deleted.")
    ] = 8
    max_queue: Annotated[int, Meta(ge=0, description="Requests of one user that may wait. More get 429.")] = 64
    max_body: Annotated[
        int, Meta(ge=1, le=2**20, description="Largest request body, in MiB. Larger ones get status 413.")
    ] = 32
    max_head: Annotated[
        int,
        Meta(
            ge=8,
            le=2**10,
            description="Largest head of a request, in KiB; a line of it takes an eighth at most. Larger ones get 431.",
        ),
    ] = 64
    head_seconds: Annotated[float, Meta(gt=0, le=3600, description="Time that the head of a request may take.")] = 20.0
    body_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="Time for which a client may send nothing of a body that it has begun.")
    ] = 30.0
    unread_seconds: Annotated[
        float,
        Meta(gt=0, le=86_400, description="Time for which a client may read nothing of a reply that waits for it."),
    ] = 60.0
    min_rate: Annotated[
        int,
        Meta(
            ge=1, le=2**20, description="Bytes a second that a client must send of a body, or read, beside these times."
        ),
    ] = 500
    max_unread: Annotated[
        int,
        Meta(
            ge=1, le=2**16, description="MiB of a stream that are held for a client that does not read; then it ends."
        ),
    ] = 4
    max_connections: (
        Annotated[
            int,
            Meta(ge=1, le=2**16, description="Connections at once. Default: 4096, or what open files allow."),
        ]
        | None
    ) = None
    read_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Processor time that a request may take to be read and put into the chat template, beside half "
            "a second for each MiB.",
        ),
    ] = 2.0
    read_memory: Annotated[
        int, Meta(ge=256, le=2**20, description="Address space of a process that reads requests, in MiB. Linux only.")
    ] = 4096
    allow_remote_media: Annotated[
        bool,
        Meta(description="Fetch images and sounds that requests name by http addresses of the public internet."),
    ] = False
    remote_media_seconds: Annotated[
        int, Meta(ge=1, le=600, description="Time that the media of a request may take to be fetched.")
    ] = limits.FETCH_SECONDS
    max_media: Annotated[int, Meta(ge=0, le=10_000, description="Images and sounds in a request.")] = limits.MAX_MEDIA
    max_media_size: Annotated[int, Meta(ge=1, le=1024, description="Largest file of an image or a sound, in MiB.")] = (
        limits.MAX_MIB
    )
    max_image_pixels: Annotated[int, Meta(ge=1, le=2**30, description="Largest image: width × height.")] = (
        limits.MAX_PIXELS
    )
    max_audio_seconds: Annotated[int, Meta(ge=1, le=86_400, description="Longest sound, in seconds.")] = (
        limits.MAX_SECONDS
    )
    embedding_overflow: Annotated[
        Overflow,
        Meta(
            description="What becomes of an input that is too long to be embedded: error: a 400; truncate: its "
            "beginning is embedded; mean: it is embedded in pieces, and their mean is the vector."
        ),
    ] = "error"
    grace: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds that requests under way have after SIGTERM to be finished, while new ones get 503.",
        ),
    ] = 20.0
    metrics_names: Annotated[
        Literal["nitro", "vllm", "both"],
        Meta(description="Whose names /metrics has: ours, those of vLLM that routers read, or both."),
    ] = "nitro"
    exit_on_engine_failure: Annotated[
        bool, Meta(description="Exit when the engine dies, instead of starting it again.")
    ] = False
    stall_timeout: (
        Annotated[
            float,
            Meta(
                gt=0,
                description="Seconds after which an engine that has work and takes no step is ended and started again. "
                "Default: it is not.",
            ),
        ]
        | None
    ) = None

    def media_limits(self) -> limits.MediaLimits:
        """Of images and sounds in requests."""
        return limits.MediaLimits(
            pixels=self.max_image_pixels,
            seconds=self.max_audio_seconds,
            count=self.max_media,
            bytes=self.max_media_size * 2**20,
            remote=self.allow_remote_media,
            fetch_seconds=self.remote_media_seconds,
            fetched_bytes=self.max_body * 2**20,
        )

    def own_settings(self) -> tuple[str | None, ModelSettings]:
        """The model to start with as nitro.toml calls it, and what is set for it there, by its name or its alias."""
        wanted = (self.model or default_model.ID).casefold()
        for name, settings in self.model_settings.items():
            if wanted in (name.casefold(), (settings.alias or name).casefold()):
                return name, settings
        return self.model, AS_SERVED

    def engine_spec(self, model: str, projector: str | None = None) -> EngineSpec:
        """What to start the engine with. `model`: the path that the server found for `self.model`; `projector`: what
        was found beside it. Raises StartError where there is no model for `self.draft`, no file of `self.mmproj`, or
        `self.lora`, `self.hosts` or `self.engine_memory` cannot be."""
        options = {name: getattr(self, name) for name in EngineOptions.__struct_fields__}
        options |= self.own_settings()[1].options
        options["draft"] = model_source.find_draft(options["draft"], options["engine"])
        try:
            parse(options["lora"])
        except BadAdapters as error:
            raise StartError(str(error)) from None
        options["mmproj"] = projectors.named(options["mmproj"])
        options["hosts"] = hosts_file(options["hosts"], options["insecure_network"])
        check_engine_memory(options["engine_memory"])
        return EngineSpec(
            model=model, projector=projector, stall_timeout=self.stall_timeout, **options, **self.prefix_files()
        )

    def prefix_files(self) -> dict[str, Any]:
        """The fields of an EngineSpec that say where prefixes are kept. Raises StartError for a size that is none."""
        if self.prefix_cache is None:
            return {}
        try:
            size = memory.parse(self.prefix_cache_size)
        except ValueError as error:
            raise StartError(f"--prefix-cache-size {self.prefix_cache_size}: {error}.") from None
        return {"prefix_cache": str(self.prefix_cache.expanduser().absolute()), "prefix_cache_bytes": size}


def hosts_file(text: str | None, insecure: bool) -> str | None:
    """The file of --hosts, by its whole path. `insecure`: its machines may be on any network. Raises StartError for one
    that cannot be used."""
    if text is None:
        return None
    path = Path(text).expanduser().absolute()
    try:
        hostfile.check_network(path, hostfile.read(path), insecure)
    except hostfile.BadHosts as error:
        raise StartError(str(error)) from None
    return str(path)


def check_engine_memory(text: str | None) -> None:
    """Raises StartError for an --engine-memory that is none, or that this system cannot keep."""
    if text is None:
        return
    try:
        memory.parse(text)
    except ValueError as error:
        raise StartError(f"--engine-memory {text}: {error}.") from None
    if not memory_bound.is_possible():
        raise StartError("--engine-memory needs Linux: this system has nothing that bounds what a process takes.")
