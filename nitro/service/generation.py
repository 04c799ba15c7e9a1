"""One generation from request to reply, for every protocol: `GenerationService.generate`, then a `GenerationStream`.

    generate   read the request (intake), and have the engine accept it: all refusals come from here
    stream     events → a renderer's bytes, as they come, with signs of life while there are none (`delivery`)
    whole      the same events → a renderer's bytes in one piece

A client that disconnects aborts its generation, in any state (`disconnects`). One log line is written per request, and
the metrics are fed.
Knows no HTTP and no protocol.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from nitro.engines.adapters import adapter_set
from nitro.engines.client.generation import Generation
from nitro.engines.types import ModelInfo, Output
from nitro.errors import NitroError, PromptTooLong
from nitro.keys.refusals import check_model
from nitro.models.handle import ServedModel
from nitro.models.lease import Lease
from nitro.models.pool import Pool
from nitro.service import endings, follower, ignored_parameters, keep_alive
from nitro.service.asked import Asked
from nitro.service.choices import Choices, OutputSpec
from nitro.service.delivery import Delivery, Sink
from nitro.service.disconnects import ClientDisconnected, unless_disconnected
from nitro.service.events import Done, Event, Failed, Progress, PromptLogprobs, Started
from nitro.service.failures import as_api_error
from nitro.service.intake.lanes import Intake
from nitro.service.intake.messages import OutputOptions, Prepared, Rendered, decode_tools
from nitro.service.intake.shortened import TRIES, next_share
from nitro.service.keep_alive import P
from nitro.service.live.requests import Requests
from nitro.service.metrics import Metrics
from nitro.service.renderer import Answer, Renderer
from nitro.service.request_log import RequestLog
from nitro.service.requests import GenerationRequest, Principal, RawRequest

T = TypeVar("T")

bugs = logging.getLogger("nitro.api")


class GenerationService:
    """Generations on the models of one server. Belongs to the event loop."""

    def __init__(
        self,
        models: Pool,
        intake: Intake,
        metrics: Metrics,
        strict: bool = False,
        requests: Requests | None = None,
    ):
        """`strict`: parameters that would be ignored are refused. `requests`: those of the server, to be told of."""
        self._models = models
        self._intake = intake
        self._metrics = metrics
        self.strict = strict
        self.requests = requests or Requests()

    @property
    def may_wait(self) -> bool:
        """Whether a request may have to wait for a model that is not loaded."""
        return self._models.by_name or not self._models.default_ready

    async def generate(
        self,
        request: RawRequest | GenerationRequest,
        principal: Principal,
        asked: Callable[[Asked], None] | None = None,
    ) -> "GenerationStream":
        """Read the request and begin it. Returns once the engine has accepted it, before it computes anything.
        `asked` is called once it is known which model the request wants, before that is waited for.

        Raises ApiError for everything that is wrong with it or keeps the engine from it, and ClientDisconnected.
        """
        raw = RawRequest.of(request) if isinstance(request, GenerationRequest) else request
        lease: Lease | None = None
        log = follower.begin(principal, self._metrics, self.requests)
        try:
            body = await raw.body()
            known = await unless_disconnected(principal, self._asked(raw, body, principal))
            if asked:
                asked(known)
            lease = self._models.lease(known.model, principal.rights, principal.share(known.tier).tier)
            accepting = self._accept(raw, body, principal, lease, log)
            del body  # only the intake process needs it from here on
            accepted = await unless_disconnected(principal, accepting)
        except BaseException as error:
            if lease:
                lease.release()
            endings.end(error, log, raw.prompt_param)
            raise
        return GenerationStream(accepted, raw.prompt_param, principal, lease, log)

    async def answer(
        self,
        raw: RawRequest,
        principal: Principal,
        ask: Callable[["Read"], Awaitable[T]],
        only_prompt: bool = False,
    ) -> T:
        """Read a request that wants no generation, or nothing but its prompt. Returns what `ask` makes of it, for which
        its model is there. Raises what `generate` does."""
        lease: Lease | None = None
        log = follower.begin(principal, self._metrics, self.requests)
        try:
            body = await raw.body()
            known = await unless_disconnected(principal, self._asked(raw, body, principal))
            lease = self._models.lease(known.model, principal.rights, principal.share(known.tier).tier)
            asking = self._answer(self._read(raw, body, principal, lease, log, only_prompt), ask)
            del body
            answer = await unless_disconnected(principal, asking)
            log.end("told")
            return answer
        except BaseException as error:
            endings.end(error, log, raw.prompt_param)
            raise
        finally:
            if lease:
                lease.release()

    async def _answer(self, reading: Coroutine[Any, Any, "Read"], ask: Callable[["Read"], Awaitable[T]]) -> T:
        return await ask(await reading)

    async def _asked(self, raw: RawRequest, body: list[bytes], principal: Principal) -> Asked:
        """Which model it wants, for which tier, and whether as a stream. That is read only where a name may mean one
        model or another, or somebody may not use all of them, or the request has to wait."""
        if raw.asked:
            return raw.asked
        if raw.namer and (self.may_wait or principal.rights.models is not None):
            return await self._intake.name(raw.namer, body)
        return Asked()

    async def asked(self, namer: str, body: list[bytes], principal: Principal) -> Asked:
        """What a request says before it is read, for who has to know it before `generate`. Raises ApiError,
        EngineError, ClientDisconnected; nothing is logged."""
        return await unless_disconnected(principal, self._intake.name(namer, body))

    async def _accept(
        self, raw: RawRequest, body: list[bytes], principal: Principal, lease: Lease, log: RequestLog
    ) -> "_Accepted":
        model, info = await self._loaded(lease, log)
        prepared, generation = await self._begin(raw, body, principal, model, info, lease.found)
        del body
        log.adapter = prepared.adapter
        prepared = self._note(lease, prepared, principal)
        try:
            return self._begun(prepared, model, info, generation, log)
        except BaseException:
            generation.abort()
            raise

    async def _begin(
        self,
        raw: RawRequest,
        body: list[bytes],
        principal: Principal,
        model: ServedModel,
        info: ModelInfo,
        found: bool,
    ) -> tuple[Prepared, Generation]:
        """Read the request, and have the engine accept it: where it may be shortened, as far as it fits."""
        share = 1.0
        for tries in range(TRIES, -1, -1):
            prepared = await self._intake.read(
                model.setup(info), raw.reader, body, self.strict, found, raw.history, share
            )
            _check_adapters(prepared, info, principal)
            try:
                return prepared, await model.engine.generate(prepared.work, principal.share(prepared.tier))
            except PromptTooLong as error:
                if not (prepared.truncates and tries):
                    raise
                share = next_share(share, error)
        raise AssertionError

    async def _read(
        self,
        raw: RawRequest,
        body: list[bytes],
        principal: Principal,
        lease: Lease,
        log: RequestLog,
        only_prompt: bool = False,
    ) -> "Read":
        """The request, and its model, loaded."""
        model, info = await self._loaded(lease, log)
        read = self._intake.render if only_prompt else self._intake.read
        prepared = await read(model.setup(info), raw.reader, body, self.strict, lease.found, raw.history)
        del body
        return Read(self._note(lease, prepared, principal), model, info)

    async def _loaded(self, lease: Lease, log: RequestLog) -> tuple[ServedModel, ModelInfo]:
        model = await lease.acquire()
        log.of(model.source.id)
        return model, await model.engine.ready()

    def _note(self, lease: Lease, prepared: P, principal: Principal) -> P:
        if prepared.unknown_model:
            self._models.note(prepared.unknown_model)
        return keep_alive.applied(lease, prepared, principal)

    def _begun(
        self, prepared: Prepared, model: ServedModel, info: ModelInfo, generation: Generation, log: RequestLog
    ) -> "_Accepted":
        unenforced = [ignored_parameters.escaped(name) for name in generation.unenforced]
        if self.strict:
            ignored_parameters.refuse(unenforced)
        choices = Choices(generation, _output_spec(model, info, prepared.output))
        log.accepted(choices)
        log.ignored = [*prepared.ignored, *unenforced]
        started = _started(model, info, generation, prepared)
        log.fingerprint = started.fingerprint
        if channels := prepared.output.channels:
            log.template = model.template(info, with_tools=channels.tools is not None)
        return _Accepted(prepared, started, choices, log.ignored)


class Read(NamedTuple):
    """A request that was read, or its prompt alone, and its model, which is loaded."""

    prepared: Prepared | Rendered
    model: ServedModel
    info: ModelInfo


class _Accepted(NamedTuple):
    """What the engine has accepted."""

    prepared: Prepared
    started: Started
    choices: Choices
    ignored: list[str]


def _check_adapters(prepared: Prepared, info: ModelInfo, principal: Principal) -> None:
    """Those that a request lists, not those that the server applies to all. Raises ApiError 403."""
    usual = adapter_set((each.id, each.scale) for each in info.adapters)
    if principal.rights.models is not None and prepared.adapters != usual:
        names = {each.id: each.name for each in info.adapters}
        for id, _ in prepared.adapters:
            check_model(principal.rights, names[id])


def _started(model: ServedModel, info: ModelInfo, generation: Generation, prepared: Prepared) -> Started:
    prompts = [
        tokens[1:] if bos_added else tokens
        for tokens, bos_added in zip(generation.echoes, prepared.output.bos_added, strict=False)
    ]
    return Started(
        model=prepared.adapter or model.source.id,
        fingerprint=model.fingerprint(info, prepared.adapters),
        created=int(time.time()),
        choices=len(generation.ids),
        prompt_tokens=generation.prompt_tokens,
        prompts=prompts,
        tier=generation.share.tier if prepared.tier else None,
    )


def _output_spec(model: ServedModel, info: ModelInfo, output: OutputOptions) -> OutputSpec:
    spec = OutputSpec(
        stops=output.stops,
        stop_tokens=frozenset(output.stop_tokens),
        keep_stop=output.keep_stop,
        hide_answer=output.hide_answer,
        predicted=output.predicted or info.has_draft_model,
    )
    channels = output.channels
    if channels is None:
        return spec
    family = model.family(info, with_tools=channels.tools is not None)
    tools = None if channels.tools is None else decode_tools(channels.tools)
    return replace(
        spec,
        parser=lambda: family.parser(tools, channels.live, channels.opened, channels.begun),
        call_id=lambda name, number: family.format.call_id(name, channels.calls_before + number),
        parallel_calls=channels.parallel_calls,
    )


class GenerationStream:
    """One accepted generation. Consume it once: by `stream` or `whole`, or by `next` or `take` and then `release`.

    `streamed`: whether its client wants a stream. `ignored`: parameters without effect on this model, as they may stand
    in a header. `prefix`: see prefix_hash.
    """

    def __init__(self, accepted: _Accepted, prompt_param: str, principal: Principal, lease: Lease, log: RequestLog):
        self.started = accepted.started
        self.ignored = accepted.ignored
        self.prefix = accepted.prepared.prefix
        self.streamed = accepted.prepared.streamed
        self.reply_options = accepted.prepared.reply_options
        self._choices = accepted.choices
        self._generation = accepted.choices.generation
        self._progress = accepted.prepared.output.progress
        self._prompt_param = prompt_param
        self._principal = principal
        self._lease = lease
        self._log = log
        self._end: Done | Failed | None = None

    async def next(self) -> list[Event] | None:
        """The next burst of events; None after the one that ends with Done or Failed. A call that is cancelled loses
        no events."""
        if self._end:
            return None
        try:
            outputs = await anext(self._generation)
        except Exception as error:
            return [self._fail(error)]
        return self._read(outputs)

    @property
    def listener(self) -> Callable[[], None] | None:
        """Called when there may be something to take."""
        return self._generation.listener

    @listener.setter
    def listener(self, listener: Callable[[], None] | None) -> None:
        self._generation.listener = listener

    @property
    def ended(self) -> bool:
        """Whether the burst that ends with Done or Failed was taken."""
        return self._end is not None

    @property
    def held(self) -> int:
        """See Generation."""
        return self._generation.held

    def take(self) -> list[Event]:
        """The next burst of events, or none where nothing has come yet."""
        if self._end:
            return []
        try:
            outputs = self._generation.take()
        except Exception as error:
            return [self._fail(error)]
        return self._read(outputs) if outputs else []

    def _read(self, outputs: Sequence[tuple[int, Output]]) -> list[Event]:
        try:
            burst = self._choices.read(outputs)
        except Exception as error:
            return [self._fail(error)]
        for event in burst:
            if type(event) is not PromptLogprobs:
                self._log.burst()
                break
        if self._progress and burst:
            burst.insert(0, Progress(self._choices.usage, self._log.timings()))
        if self._choices.finished:
            self._end = Done(self._choices.usage, self._log.timings())
            burst.append(self._end)
        return burst

    def _fail(self, error: Exception) -> Failed:
        if not isinstance(error, NitroError):
            bugs.error("a generation failed", exc_info=error)
        self._end = failed = Failed(as_api_error(error, self._prompt_param))
        self._log.end(f"error {failed.error.status}: {error}")
        return failed

    def stream(self, renderer: Renderer, sink: Sink) -> Delivery:
        """The renderer's bytes to the sink, as events come, from the delivery's `begin` on. A fault is written as its
        error, a silence as its sign of life."""
        return Delivery(self, renderer, sink)

    def opening(self, renderer: Renderer) -> bytes:
        """What a stream begins with. A fault of the renderer's ends it."""
        try:
            return renderer.opening()
        except Exception as error:
            return renderer.error(self._fail(error).error) + renderer.closing()

    def render(self, renderer: Renderer, burst: list[Event]) -> bytes:
        """The bytes of a burst; with the last one those that close the stream. A fault of the renderer's ends it."""
        end = self._end
        if not isinstance(end, Failed):
            try:
                data = renderer.events(burst) if burst else b""
                if end is None:
                    return data
                self._log.end()
                return data + renderer.closing()
            except Exception as error:
                end = self._fail(error)
        return renderer.error(end.error) + renderer.closing()

    async def whole(self, renderer: Renderer) -> bytes:
        """The renderer's bytes in one piece. Raises ClientDisconnected, or ApiError where the generation fails."""
        try:
            done = await unless_disconnected(self._principal, self._consume())
            reply = renderer.whole(Answer(self.started, self._choices.choices, done))
            self._log.end()
            return reply
        except Exception as error:
            self.release("left" if isinstance(error, ClientDisconnected) else f"error: {error}")
            raise
        finally:
            self.release()

    async def _consume(self) -> Done:
        while self._end is None:
            await self.next()
        if isinstance(self._end, Failed):
            raise self._end.error
        return self._end

    def release(self, how: str = "left") -> None:
        """The end, however it came: what still runs is aborted, and the log says `how` unless it has ended before."""
        self._generation.abort()
        self._lease.release()
        self._log.end(how)
