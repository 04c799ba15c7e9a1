"""Frames and requests as they come: none ends the reader or the writer, and nobody waits for another one's work."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from queue import SimpleQueue
from socket import socketpair
from typing import Any, get_args

import httpx
import msgspec
import openai
import pytest
from driving import prepared
from runners import Gate
from running import CEILING, FAKE, RunningServer

from nitro.engines import messages
from nitro.engines.backends.fake import FakeRunner
from nitro.engines.client import stall
from nitro.engines.client.engine import Engine
from nitro.engines.client.process import EngineProcess
from nitro.engines.constraints.grammar import GrammarCompiler
from nitro.engines.crash_marks import CrashMarks
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.types import Constraint, EngineSpec, GenerationParams, SamplingParams
from nitro.engines.work import EncodedWork, encode_work
from nitro.engines.worker import handlers
from nitro.engines.worker.commands import AbortSequences, AddSequences
from nitro.engines.worker.jobs import SMALL_REQUEST, JobResult, Lane, Rejection
from nitro.engines.worker.loop import Inbox
from nitro.engines.worker.outbox import Outbox
from nitro.engines.worker.preparation import MAX_QUICK_ITEMS, Preparation
from nitro.engines.worker.preparers import THREADS, Preparers
from nitro.engines.worker.reader import Reader
from nitro.errors import PromptRejected
from nitro.system import frames

GATED = "runners:GatedRunner"
pack = msgspec.msgpack.encode


def asked(**fields: Any) -> dict[str, Any]:
    """An GenerationParams as plain data, valid or not."""
    return {"sampling": {}, "max_tokens": 2, **fields}


def work(prompts: Any = ("Hello",), n: Any = 1, **fields: Any) -> bytes:
    return pack({"prompts": prompts, "params": asked(**fields), "n": n})


async def messages_of(process: EngineProcess) -> AsyncIterator[messages.FromEngine]:
    while burst := await process.burst():
        for payload in burst:
            yield messages.decode_from_engine(payload)


@asynccontextmanager
async def engine() -> AsyncIterator[tuple[EngineProcess, Callable[[], Any]]]:
    """A real engine process, ready, and its next message."""
    process = await EngineProcess.start()
    arriving = messages_of(process)
    try:
        process.send(messages.Load(EngineSpec(FAKE, "")))
        async with asyncio.timeout(CEILING):
            assert isinstance(await anext(arriving), messages.Ready)
            yield process, lambda: anext(arriving)
    finally:
        await process.reap()


DAMAGED = {
    "a default that came back as another type": work(sampling={"top_k": 20.0}),
    "no work at all": b"\xc0",
    "cut short": work()[:-3],
    "no msgpack": b"\xc1\xc1",
    "another type": work(prompts=7),
    "fewer prompts": work(prompts=[]),
    "more sequences": work(n=2),
    "no n at all": work(n=0),
    "a token beyond 64 bits": work(prompts=[[2**64 - 1]]),
    "a token below 0": work(prompts=[[-1]]),
    "an unknown kind": work(constraint={"kind": "spell", "source": "", "param": "regex"}),
    "a constraint of nonsense": work(constraint={"kind": "json_schema", "source": "{", "param": "response_format"}),
    "a token to ban that is none": work(sampling={"logit_bias": {2**40: 1.0}}),
}


def test_whatever_a_request_holds_is_its_own_error() -> None:
    """The engine says so under its id, and goes on."""

    async def scenario() -> None:
        async with engine() as (process, message):
            for id, raw in enumerate(DAMAGED.values(), 1):
                process.send(messages.Generate([id], raw))
                answer = await message()
                assert isinstance(answer, messages.Rejected) and (answer.id, bool(answer.message)) == (id, True)
            process.send(messages.Generate([100], work()))
            assert await message() == messages.Accepted(100, 5)

    asyncio.run(scenario())


def test_a_frame_that_cannot_be_read_is_left_out() -> None:
    async def scenario() -> None:
        async with engine() as (process, message):
            for payload in (b"", b"\xc1", pack({"type": "Generate", "ids": [], "work": 1}), pack({"type": "Sing"})):
                process._connection.send([len(payload).to_bytes(4, "big"), payload])
            process.send(messages.Generate([100], work()))
            assert await message() == messages.Accepted(100, 5)

    asyncio.run(scenario())


def test_what_has_no_encoding_is_refused_before_it_is_sent() -> None:
    for prompts, fields in (([[2**64]], {}), (["a"], {"max_tokens": 2**70}), (["\ud800"], {})):
        with pytest.raises(PromptRejected, match="cannot be handed to the engine"):
            encode_work(prompts, GenerationParams(SamplingParams(), **fields))


def test_what_cannot_be_told_is_its_requests_error(serve, gate: Gate) -> None:
    """A third token that has no encoding: the request that gets so far fails, its neighbour in the step does not, and
    nothing goes on being computed for it."""
    server = serve(engine="runners:MumblingRunner", model=gate.path)
    gate.accept()
    server.ready()
    client = server.client()

    def begin(text: str, most: int) -> openai.Stream:
        messages = [{"role": "user", "content": text}]
        return client.chat.completions.create(model="", messages=messages, max_tokens=most, stream=True)

    short, long, plain = begin("a", 4), begin("b", 60), client.completions.create(model="", prompt="b", stream=True)
    gate.open()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in short if chunk.choices) == "?@AB"
    with pytest.raises(openai.APIError, match="could not tell its answer"):
        list(long)
    assert "".join(chunk.choices[0].text for chunk in plain).startswith("cde")
    server.run(server.engine.ready())
    assert server.engine.restarts == 0


def test_every_verb_has_a_handler_and_every_answer_a_receiver() -> None:
    """But for those of the process itself: Import and Load are the reader's, what answers a Load is the keeper's."""
    assert set(handlers.HANDLERS) == {*get_args(messages.ToEngine)} - {messages.Import, messages.Load}
    receivers = Engine(EngineSpec(FAKE, ""))._receivers
    assert set(receivers) == {*get_args(messages.FromEngine)} - {messages.Loading, messages.Ready, messages.LoadFailed}


def test_a_request_that_comes_before_the_model_is_loaded_is_left_out() -> None:
    ours, theirs = socketpair()
    with ours, theirs:
        reader, handled = Reader(theirs), SimpleQueue[messages.Request]()
        for message in (messages.Abort([1]), messages.Import(FAKE), messages.Load(EngineSpec(FAKE, ""))):
            reader._take(frames.encode(message))
        prepared: list[str] = []
        assert reader.wait_for_load(prepared.append).spec.engine == FAKE and prepared == [FAKE]
        reader.handle_with(handled.put)
        reader._take(frames.encode(messages.Abort([2])))
        assert handled.get(timeout=CEILING) == messages.Abort([2]) and handled.empty()


# Nobody waits for another one's work


class Stub:
    """A Preparation whose slices the test holds up: a request's work is the name of its lane and how many slices."""

    def __init__(self) -> None:
        self.begun: SimpleQueue[tuple[int, int]] = SimpleQueue()  # first id and number of each slice
        self.go_on = threading.Semaphore(0)

    def slices(self, ids: list[int], raw: bytes, is_wanted: object, share: object) -> Iterator[Lane]:
        lane, count = msgspec.msgpack.decode(raw)
        for number in range(count):
            yield lane
            self.begun.put((ids[0], number))
            if lane != "small":
                assert self.go_on.acquire(timeout=CEILING)
        return JobResult(messages.Accepted(ids[0], 1), [Sequence(id, [1], 1, SamplingParams()) for id in ids])


class Stage:
    def __init__(self) -> None:
        self.stub, self.inbox, self.outbox, self.marks = Stub(), Inbox(), Outbox(), CrashMarks()
        preparers = Preparers(self.inbox, self.outbox, self.marks)
        self._services = handlers.Services(self.stub, None, preparers, None, self.inbox)  # type: ignore[arg-type]

    def send(self, message: messages.Request) -> None:
        handlers.handle(self._services, message)

    def begin(self, id: int, lane: Lane, slices: int = 1) -> None:
        self.send(messages.Generate([id], pack([lane, slices])))

    def prepared(self) -> list[int]:
        """The ids of the next that is ready."""
        command = self.inbox.get(timeout=CEILING)
        assert isinstance(command, AddSequences)
        return [sequence.id for sequence in command.sequences]


@pytest.mark.parametrize("lane", ["long", "constrained"])
def test_small_requests_do_not_wait_for_those_that_take_long(lane: Lane) -> None:
    """And they keep their order."""
    stage = Stage()
    for id in range(1, 10):
        stage.begin(id, lane)
    for id in range(10, 60):
        stage.begin(id, "small")
    assert [stage.prepared() for _ in range(50)] == [[id] for id in range(10, 60)]
    for _ in range(9):
        stage.stub.go_on.release()
    assert sorted(stage.prepared()[0] for _ in range(9)) == list(range(1, 10))
    assert stage.marks.read() == set()


def test_constraints_and_long_texts_do_not_wait_for_each_other() -> None:
    stage = Stage()
    for id in range(THREADS["constrained"] + 1):
        stage.begin(id + 1, "constrained")
    stage.begin(9, "long")
    begun = {stage.stub.begun.get(timeout=CEILING)[0] for _ in range(THREADS["constrained"] + 1)}
    assert begun == {*range(1, THREADS["constrained"] + 1), 9}
    assert stage.marks.read() == begun, "an engine that dies now tells whom it was at work for"


def test_those_that_take_long_get_a_slice_each_in_turn() -> None:
    stage, threads = Stage(), THREADS["long"]
    for id in range(1, 5):
        stage.begin(id, "long", slices=3)
    begun = [stage.stub.begun.get(timeout=CEILING) for _ in range(threads)]
    for _ in range(12 - threads):
        stage.stub.go_on.release()
        begun.append(stage.stub.begun.get(timeout=CEILING))
    numbers = [number for _, number in begun]
    assert numbers == sorted(numbers), "nobody's second slice comes before another one's first"


@pytest.mark.parametrize("lane", ["long", "constrained"])
def test_no_slice_is_begun_for_a_client_that_has_left(lane: Lane) -> None:
    """Neither of a request that is under way, nor of one that waits; and nothing of it is handed over."""
    stage, threads = Stage(), THREADS[lane]
    for id in range(1, 2 * threads + 1):
        stage.begin(id, lane, slices=2)
    for _ in range(threads):
        stage.stub.begun.get(timeout=CEILING)
    left = list(range(1, 2 * threads + 1))
    stage.send(messages.Abort(left))
    assert stage.inbox.get(timeout=CEILING) == AbortSequences(left)
    stage.begin(99, lane, slices=1)
    for _ in range(threads + 1):
        stage.stub.go_on.release()
    assert stage.stub.begun.get(timeout=CEILING) == (99, 0)
    assert stage.prepared() == [99]
    assert stage.outbox.get(timeout=CEILING) == messages.Accepted(99, 1) and stage.outbox.empty()


@pytest.mark.parametrize("problem", [RuntimeError("no luck"), MemoryError(), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_is_raised_for_a_request_is_its_own_error(problem: BaseException) -> None:
    stage = Stage()

    def slices(ids: list[int], raw: bytes, is_wanted: object, share: object) -> Iterator[Lane]:
        raise problem
        yield "small"

    usual, stage.stub.slices = stage.stub.slices, slices
    for id in range(1, 4):
        stage.begin(id, "small")
    for id in range(1, 4):
        answer = stage.outbox.get(timeout=CEILING)
        assert isinstance(answer, messages.Rejected) and answer.id == id
    stage.stub.slices = usual
    stage.begin(9, "small")
    assert stage.prepared() == [9]


def test_an_engine_that_makes_a_request_ready_is_not_stalled(
    serve, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes: it has no step to take meanwhile."""
    monkeypatch.setattr(stall, "STALL", -1.0)
    server = serve(engine="runners:PonderingRunner", model=gate.path)
    gate.accept()
    server.ready()
    with ThreadPoolExecutor() as pool:
        reply = pool.submit(server.client().completions.create, model="", prompt="a", max_tokens=1)
        gate.wait_inside()
        assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}
        gate.open()
        assert reply.result(CEILING).choices[0].text == "b"


def lanes(encoded: EncodedWork) -> list[Lane]:
    """The kinds of the slices in which a request is made ready."""
    runner = FakeRunner(EngineSpec("fake", ""))
    return list(Preparation(runner).slices(list(range(encoded.sequences)), encoded.raw))


def test_what_takes_long_is_known_as_such() -> None:
    plain = GenerationParams(SamplingParams(), 1)
    constrained = GenerationParams(SamplingParams(), 1, constraint=Constraint("regex", "a+", "regex"))
    assert lanes(encode_work(["Hello"], plain, MAX_QUICK_ITEMS)) == []
    assert {
        *lanes(
            encode_work(
                [[65] * (SMALL_REQUEST // 5)], GenerationParams(SamplingParams(), 1, prediction="a" * SMALL_REQUEST)
            )
        )
    } == {"long"}
    assert lanes(encode_work(["a"] * 50, plain)).count("long") >= 50
    assert (
        lanes(encode_work(["a"], GenerationParams(SamplingParams(), 1, {f"text {i}": 1.0 for i in range(2000)}))).count(
            "long"
        )
        > 20
    )
    assert {*lanes(encode_work(["a"], GenerationParams(SamplingParams(dry_multiplier=1.0), 1)))} == {"long"}
    assert lanes(encode_work(["a"], constrained)) == ["constrained", "small"]


def test_a_list_of_prompts_becomes_sequences_in_its_order() -> None:
    runner = FakeRunner(EngineSpec("fake", ""))
    done = prepared(
        runner, encode_work(["ab", [99, 100, 101]], GenerationParams(SamplingParams(seed=2**31 - 1), 5, echo=True), 2)
    )
    assert [(s.id, bytes(s.tokens), s.sampling.seed) for s in done.sequences] == [
        *((1, b"ab", 2**31 - 1), (2, b"ab", 0)),
        *((3, b"cde", 2**31 - 1), (4, b"cde", 0)),
    ]
    assert done.answer == messages.Accepted(1, 5, [[b"a", b"b"], [b"c", b"d", b"e"]])


def test_a_long_list_of_prompts_lets_others_in(serve, gate: Gate) -> None:
    """Whoever comes while it is computed gets the next row that is free, and is not told that the queue is full."""
    server: RunningServer = serve(engine=GATED, model=gate.path, parallel=2, max_queue=2)
    gate.accept()
    server.ready()
    client = server.client()
    with ThreadPoolExecutor() as pool:
        many = pool.submit(client.completions.create, model="", prompt=["a", "b"] * 50, max_tokens=2)
        gate.wait_inside()
        newcomer = client.completions.create(model="", prompt="Hello", max_tokens=1, stream=True)
        gate.open()
        assert "".join(chunk.choices[0].text for chunk in newcomer) == "p"
        assert [choice.text for choice in many.result(CEILING).choices] == ["bc", "cd"] * 50
    steps = server.rows()
    first = next(i for i, ids in enumerate(steps) if 101 in ids)
    assert first <= 4 and len(steps) >= 100


def test_a_compiler_that_fails_fails_the_constraint(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name it has in the request, and not with all that the compiler knows."""

    class Panic(BaseException):  # as those of Rust are
        pass

    def matcher(*_: object, **__: object) -> None:
        raise Panic("state " * 10_000)

    monkeypatch.setattr(GrammarCompiler, "matcher", matcher)
    constrained = GenerationParams(SamplingParams(), 1, constraint=Constraint("regex", "a+", "regex"))
    with pytest.raises(Rejection) as caught:
        prepared(FakeRunner(EngineSpec("fake", "")), encode_work(["a"], constrained))
    assert caught.value.answer.param == "regex" and len(caught.value.answer.message) < 1000


def test_a_server_that_leaves_without_having_read_all_has_left() -> None:
    """As at a Ctrl-C while the model loads: the system calls that a reset connection."""
    ours, theirs = socketpair()
    with theirs:
        ours.sendall(frames.frame(messages.Abort([1])))
        theirs.sendall(b"what nobody reads")
        ours.close()
        assert list(map(messages.decode_to_engine, frames.payloads(theirs))) == [messages.Abort([1])]
