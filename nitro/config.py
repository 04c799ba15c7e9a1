"""What a server is started with. Made by the command line, from flags and NITRO_* variables."""

from pathlib import Path

from msgspec import Struct

DEFAULT_PORT = 3928


class ServeConfig(Struct, frozen=True):
    model: str | None = None  # None: the embedded default
    engine: str = "auto"
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT  # 0: any free one
    context: int | None = None  # tokens each request can use; None: the trained length, or what fits
    parallel: int = 8
    threads: int | None = None
    gpu_layers: int | None = None
    require_gpu: bool = False
    wired_limit: str | None = None  # "off", "recommended", or MiB
    alias: str | None = None
    api_key: str | None = None
    allow_origin: tuple[str, ...] = ()  # beside local ones; "*": any
    allow_host: tuple[str, ...] = ()  # beside addresses and localhost; "*": any
    defaults: str | None = None  # "temperature=0.7,top_p=0.9": of requests that leave them open
    strict: bool = False  # refuse what would be ignored, and names that are not the model's
    chat_template: Path | None = None
    tool_format: str | None = None
    max_queue: int = 64
    max_body: int = 32  # MiB of a request's body
    exit_on_engine_failure: bool = False  # rather than start the engine again
    log_level: str = "info"
