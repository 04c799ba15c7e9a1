"""One generation from request to reply, for every protocol: `GenerationService.generate`, then a `GenerationStream`.

    generate   read the request (intake), and have the engine accept it: all refusals come from here
    stream     events → a renderer's bytes, as they come, with signs of life while there are none
    whole      the same events → a renderer's bytes in one piece

A client that disconnects aborts its generation, in any state (`disconnects`). One log line is written per request, and
the metrics are fed.
Knows no HTTP and no protocol.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import NamedTuple

from nitro.engines.client.generation import Generation
from nitro.engines.types import ModelInfo
from nitro.errors import EngineError, NitroError, TemplateError
from nitro.models.handle import Lease, ServedModel, ServedModels
from nitro.service import ignored_parameters
from nitro.service.choices import Choices, OutputSpec
from nitro.service.disconnects import ClientDisconnected, unless_disconnected
from nitro.service.events import Done, Event, Failed, Progress, PromptLogprobs, Started
from nitro.service.failures import as_api_error
from nitro.service.intake.lanes import Intake
from nitro.service.intake.messages import OutputOptions, Prepared, decode_tools
from nitro.service.metrics import Metrics
from nitro.service.renderer import Answer, Renderer
from nitro.service.request_log import RequestLog
from nitro.service.requests import GenerationRequest, Principal, RawRequest

bugs = logging.getLogger("nitro.api")

SILENCE = 5.0  # seconds in which nothing is sent, before a stream gives a sign of life


class GenerationService:
    """Generations on the models of one server. Belongs to the event loop."""

    def __init__(self, models: ServedModels, intake: Intake, metrics: Metrics, strict: bool = False):
        """`strict`: parameters that would be ignored are refused."""
        self._models = models
        self._intake = intake
        self._metrics = metrics
        self._strict = strict

    async def generate(self, request: RawRequest | GenerationRequest, principal: Principal) -> "GenerationStream":
        """Read the request and begin it. Returns once the engine has accepted it, before it computes anything.

        Raises ApiError for everything that is wrong with it or keeps the engine from it, and ClientDisconnected.
        """
        if isinstance(request, GenerationRequest):
            raw = RawRequest.of(request)
            lease = self._models.lease(request.model)
        else:  # the model's name is known only when the request has been read
            raw = request
            lease = self._models.lease()
        log = RequestLog(principal.request_id, self._metrics)
        try:
            accepted = await self._begin(raw, principal, lease, log)
        except BaseException as error:
            lease.release()
            log.end("left" if _is_disconnect(error) else f"error {as_api_error(error).status}: {error}")
            _forget(error)
            if isinstance(error, (EngineError, TemplateError)):
                raise as_api_error(error, raw.prompt_param) from error
            raise
        return GenerationStream(accepted, raw.prompt_param, principal, lease, log)

    async def _begin(self, raw: RawRequest, principal: Principal, lease: Lease, log: RequestLog) -> "_Accepted":
        body = await raw.body()
        model = await lease.acquire()
        log.model = model.source.id
        accepting = self._accept(raw.reader, body, model, log)
        del body  # only the intake process needs it from here on
        return await unless_disconnected(principal, accepting)

    async def _accept(self, reader: str, body: list[bytes], model: ServedModel, log: RequestLog) -> "_Accepted":
        info = await model.engine.ready()
        prepared = await self._intake.read(model.setup(info), reader, body, self._strict)
        del body
        if prepared.unknown_model:
            self._models.note(prepared.unknown_model)
        generation = await model.engine.generate(prepared.work)
        try:
            return self._begun(prepared, model, info, generation, log)
        except BaseException:
            generation.abort()
            raise

    def _begun(
        self, prepared: Prepared, model: ServedModel, info: ModelInfo, generation: Generation, log: RequestLog
    ) -> "_Accepted":
        unenforced = [ignored_parameters.escaped(name) for name in generation.unenforced]
        if self._strict:
            ignored_parameters.refuse(unenforced)
        choices = Choices(generation, _output_spec(model, info, prepared.output))
        log.accepted(choices)
        log.ignored = [*prepared.ignored, *unenforced]
        started = _started(model, info, generation, prepared.output)
        return _Accepted(prepared, started, choices, log.ignored)


class _Accepted(NamedTuple):
    """What the engine has accepted."""

    prepared: Prepared
    started: Started
    choices: Choices
    ignored: list[str]


def _started(model: ServedModel, info: ModelInfo, generation: Generation, output: OutputOptions) -> Started:
    prompts = [
        tokens[1:] if bos_added else tokens
        for tokens, bos_added in zip(generation.echoes, output.bos_added, strict=False)
    ]
    return Started(
        model=model.source.id,
        fingerprint=model.fingerprint(info),
        created=int(time.time()),
        choices=len(generation.ids),
        prompt_tokens=generation.prompt_tokens,
        prompts=prompts,
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
    """One accepted generation. Consume it once: by `stream` or `whole`, or by `next` and then `release`.

    `streamed`: whether its client wants a stream. `ignored`: parameters without effect on this model, as they may stand
    in a header.
    """

    def __init__(self, accepted: _Accepted, prompt_param: str, principal: Principal, lease: Lease, log: RequestLog):
        self.started = accepted.started
        self.ignored = accepted.ignored
        self.streamed = accepted.prepared.streamed
        self.reply_options = accepted.prepared.reply_options
        self._choices = accepted.choices
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
            burst = await anext(self._choices)
        except Exception as error:
            return [self._fail(error)]
        if not all(isinstance(event, PromptLogprobs) for event in burst):
            self._log.burst()
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

    async def stream(self, renderer: Renderer) -> AsyncIterator[bytes]:
        """The renderer's bytes, as events come. A fault is written as its error, a silence as its sign of life."""
        idle = _IdleTimer()
        try:
            if opening := renderer.opening():
                yield opening
            idle.restart()
            while (burst := await idle.next_burst(self)) is not None:
                data = self._render(renderer, burst)
                if self._end:
                    self._log.end()
                    yield data + renderer.closing()
                elif data or idle.expired:
                    yield data or renderer.idle()
                    idle.restart()
        except Exception as error:
            yield renderer.error(self._fail(error).error) + renderer.closing()
        finally:  # nothing here may wait: the client may have left
            self.release()

    def _render(self, renderer: Renderer, burst: list[Event]) -> bytes:
        if isinstance(self._end, Failed):
            return renderer.error(self._end.error)
        return renderer.events(burst) if burst else b""

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
        self._choices.generation.abort()
        self._lease.release()
        self._log.end(how)


class _IdleTimer:
    """How long nothing has been sent to the client, by the event loop's clock."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self.restart()

    def restart(self) -> None:
        """Something has been sent just now."""
        self._due = self._clock() + SILENCE

    @property
    def expired(self) -> bool:
        return self._clock() >= self._due

    async def next_burst(self, stream: GenerationStream) -> list[Event] | None:
        """The stream's next burst, or an empty one where the silence lasts too long before it comes."""
        try:
            async with asyncio.timeout_at(self._due) as limit:
                return await stream.next()
        except TimeoutError:
            if not limit.expired():
                raise
            return []


def _is_disconnect(error: BaseException) -> bool:
    return not isinstance(error, Exception) or isinstance(error, ClientDisconnected)


def _forget(error: BaseException | None) -> None:
    """Clear the frames that an exception holds: a request may be megabytes, and such frames make cycles, which the
    garbage collector looks for rarely."""
    while error:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
