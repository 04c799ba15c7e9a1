"""Recorded outputs of an engine, and requests, give the very bytes that they gave when they were recorded.

`data/recorded_streams.json`: by name a request, what the engine said burst by burst, and the bytes of the stream and of
the whole reply. All that is random or of the clock is fixed.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

from nitro.api.endpoint import Endpoint
from nitro.api.openai import parse
from nitro.api.openai.chat import CHAT
from nitro.api.openai.completions import COMPLETIONS
from nitro.engines.backends.fake import FakeRunner
from nitro.engines.sampling_defaults import NOTHING
from nitro.engines.shares import Tier
from nitro.engines.types import EngineSpec, Output
from nitro.errors import EngineDied
from nitro.keys.key import Rights
from nitro.models.handle import ServedModel
from nitro.models.lease import Lease
from nitro.models.setup import ModelSetup
from nitro.service import generation, request_log
from nitro.service.generation import GenerationService, GenerationStream
from nitro.service.intake.messages import Prepared
from nitro.service.intake.prepare import Preparer
from nitro.service.metrics import Metrics
from nitro.service.renderer import Renderer
from nitro.service.requests import Principal, RawRequest

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "recorded_streams.json").read_text())
ENDPOINTS = {"chat": CHAT, "completions": COMPLETIONS}
READERS = {"chat": parse.read_chat, "completions": parse.read_completion}
INFO = FakeRunner(EngineSpec("fake", "")).info
_bursts = msgspec.json.Decoder(list[list[tuple[int, Output]]]).decode


class Clock:
    """Half a second goes by before every burst."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0


class Recording:
    """A Generation that says what was recorded."""

    def __init__(self, case: dict[str, Any], sequences: int, n: int, clock: Clock):
        self.ids = list(range(1, sequences + 1))
        self.n = n
        self.prompt_tokens, self.cached_tokens = case["prompt_tokens"], case["cached_tokens"]
        self.cache_write_tokens = 0
        self.media_tokens: dict[str, int] = {}
        self.queue_seconds = 0.25
        self.echoes = msgspec.convert(case["echoes"], list[list[bytes]])
        self.unenforced: list[str] = []
        self._bursts = iter(_bursts(json.dumps(case["bursts"]).encode()))
        self._error, self._clock = case["error"], clock

    def __aiter__(self) -> "Recording":
        return self

    async def __anext__(self) -> list[tuple[int, Output]]:
        if burst := self.take():
            return burst
        raise StopAsyncIteration

    listener: Callable[[], None] = staticmethod(lambda: None)

    def take(self) -> list[tuple[int, Output]]:
        self._clock.now += 0.5
        burst = next(self._bursts, None)
        if burst is None and self._error:
            raise EngineDied(self._error)
        return burst or []

    def stop(self, index: int) -> None: ...
    def abort(self) -> None: ...


class Engine:
    """Answers with a recording."""

    def __init__(self, case: dict[str, Any], clock: Clock):
        self._case, self._clock = case, clock

    async def ready(self) -> Any:
        return replace(INFO, template=self._case["template"])

    async def generate(self, work: Any, share: Any) -> Recording:
        return Recording(self._case, work.sequences, work.n, self._clock)


class Intake:
    """Reads in this process."""

    def __init__(self, route: str):
        self._reader = READERS[route]

    async def read(
        self, setup: ModelSetup, reader: str, body: list[bytes], strict: bool, found: bool, history: None, share: float
    ) -> Prepared:
        assert reader == f"nitro.api.openai.parse:{self._reader.__name__}"
        return Preparer(setup).prepare(b"".join(body), self._reader, strict)


class Models:
    """One model, which has any name."""

    by_name = False

    def __init__(self, model: ServedModel):
        self._model = model

    default_ready = True

    def lease(self, name: str | None, rights: Rights, tier: Tier) -> Lease:
        return Lease(self, name, rights, tier)

    async def acquire(self, name: str | None, rights: Rights | None, tier: Tier) -> tuple[ServedModel, bool]:
        return self._model, False

    def give_back(self, model: ServedModel, tier: Tier) -> None: ...

    def keep_alive(self, model: ServedModel, seconds: float) -> None: ...


class Source(NamedTuple):
    id: str = "fake"
    stem: str = "fake"
    sampling: Any = NOTHING
    system: str | None = None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(request_log, "time", clock)
    monkeypatch.setattr(generation, "time", clock)
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * (2 * size))
    monkeypatch.setattr("secrets.choice", lambda letters: letters[0])
    monkeypatch.setattr(ServedModel, "fingerprint", lambda self, info, adapters: "fp_1")
    return clock


async def begun(case: dict[str, Any], clock: Clock, stream: bool) -> tuple[GenerationStream, Renderer]:
    endpoint: Endpoint = ENDPOINTS[case["route"]]
    models = Models(ServedModel(Source(), Engine(case, clock)))  # type: ignore[arg-type]
    service = GenerationService(models, Intake(case["route"]), Metrics())  # type: ignore[arg-type]
    fields = {name: value for name, value in case["body"].items() if stream or name != "stream_options"}

    async def body() -> list[bytes]:
        return [json.dumps({"stream": stream, **fields}).encode()]

    raw = RawRequest(endpoint.reader, body, endpoint.prompt_param)
    accepted = await service.generate(raw, Principal("test", asyncio.get_running_loop().create_future()))
    return accepted, endpoint.renderer(accepted.started, accepted.reply_options)


class Written:
    """A client that reads at once."""

    full = False

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def hold(self) -> None:
        pass


@pytest.mark.parametrize("name", [name for name, case in RECORDED.items() if case["stream"]])
def test_a_stream_is_the_recorded_one(name: str, clock: Clock) -> None:
    async def scenario() -> str:
        stream, renderer = await begun(RECORDED[name], clock, stream=True)
        written = Written()
        delivery = stream.stream(renderer, written)
        delivery.begin()
        ended = asyncio.create_task(delivery.ended())  # raises what a fault in between does
        while not stream.ended and not ended.done():
            assert stream.listener
            stream.listener()
            await asyncio.sleep(0)
        await ended
        return written.data.decode()

    assert asyncio.run(scenario()).split("\n\n") == RECORDED[name]["stream"].split("\n\n")


@pytest.mark.parametrize("name", [name for name, case in RECORDED.items() if case["whole"]])
def test_a_whole_reply_is_the_recorded_one(name: str, clock: Clock) -> None:
    async def scenario() -> str:
        stream, renderer = await begun(RECORDED[name], clock, stream=False)
        return (await stream.whole(renderer)).decode()

    assert asyncio.run(scenario()) == RECORDED[name]["whole"]
