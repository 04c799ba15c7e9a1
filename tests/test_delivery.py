"""A reply on its way to its client: one write for what came together, none while the client does not read."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from running import CEILING

from nitro.api.http_protocol import _ReplyTransport
from nitro.api.middleware import RequestMiddleware
from nitro.api.openai import reply_options
from nitro.api.openai.chat import ChatRenderer
from nitro.api.openai.completions import CompletionRenderer
from nitro.api.openai.renderer import MARK
from nitro.api.reply_writer import EXTENSION, ReplyWriter
from nitro.engines.client.generation import MAX_BURST, Generation
from nitro.engines.client.generations import Generations
from nitro.engines.client.suspects import Suspects
from nitro.engines.types import Output
from nitro.errors import SequenceFailed
from nitro.service import delivery
from nitro.service.delivery import Delivery
from nitro.service.events import CallDelta, Event, ReasoningDelta, Started, TextDelta
from nitro.service.renderer import Renderer


class Texts:
    """A source whose events are given beforehand; None: nothing has come yet."""

    def __init__(self, *bursts: str | None):
        self.listener: Callable[[], None] | None = None
        self._bursts = list(bursts)

    @property
    def ended(self) -> bool:
        return not self._bursts

    @property
    def held(self) -> int:
        return sum(len(text or "") for text in self._bursts)

    def take(self) -> list[Event]:
        text = self._bursts.pop(0)
        return [] if text is None else [TextDelta(0, text)]

    def opening(self, renderer: Renderer) -> bytes:
        return b"<"

    def render(self, renderer: Renderer, burst: list[Event]) -> bytes:
        if burst[0].text == "fault":  # type: ignore[union-attr]
            raise ValueError("no such frame, says the test")
        return burst[0].text.encode() + b">" * self.ended  # type: ignore[union-attr]


class Client:
    """Takes `room` writes, then none until there is room again."""

    def __init__(self, room: int = 1000):
        self.on_room: Callable[[], None] = lambda: None
        self.written: list[bytes] = []
        self.held_from: int | None = None  # the write from which on they may wait
        self.room = room
        self.waited_for: list[int] = []  # bytes that were held each time

    @property
    def full(self) -> bool:
        return self.room <= 0

    def write(self, data: bytes) -> None:
        self.room -= 1
        self.written.append(data)

    def wait(self, held: int) -> None:
        self.waited_for.append(held)

    def hold(self) -> None:
        self.held_from = len(self.written)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(CEILING):
            await scenario()

    asyncio.run(limited())


def deliver(source: Texts, client: Client) -> Delivery:
    delivery = Delivery(source, None, client)  # type: ignore[arg-type]
    delivery.begin()
    return delivery


def test_what_has_come_is_written_in_the_call_that_brings_it() -> None:
    async def scenario() -> None:
        source, client = Texts(None, "a", "b"), Client()
        delivery = deliver(source, client)
        assert client.written == [b"<"] and source.listener
        source.listener()
        source.listener()
        assert client.written == [b"<", b"a", b"b>"] and client.held_from == 2
        await delivery.ended()
        assert source.listener is None

    run(scenario)


def test_a_connection_holds_back_what_is_soon_followed_by_more() -> None:
    """The head of a reply, and its last frames: both go out with what comes next, and with the connection's end."""
    written: list[bytes] = []
    lost: list[bool] = []
    socket = SimpleNamespace(write=written.append, is_closing=lambda: bool(lost))
    protocol = SimpleNamespace(transport=socket, write=socket.write, end=lambda: written.append(b"end"), hold_back=None)
    transport = _ReplyTransport(protocol)  # type: ignore[arg-type]
    transport.write(b"a")
    transport.hold()
    transport.write(b"b")
    transport.hold()
    transport.write(b"c")
    assert written == [b"a"]
    transport.release()
    transport.release()
    transport.write(b"d")
    assert written == [b"a", b"bc", b"d"]
    transport.hold()
    transport.write(b"e")
    transport.close()
    assert written == [b"a", b"bc", b"d", b"e", b"end"]
    transport.hold()
    transport.write(b"f")
    lost.append(True)
    transport.release()  # to a connection that is closed nothing may be written
    assert written[-1] == b"end"


@pytest.mark.parametrize("length", [b"2", None])
def test_a_whole_reply_is_one_write(length: bytes | None) -> None:
    """One that tells its length; the head of another one goes out before its body is there."""
    written: list[bytes] = []
    socket = SimpleNamespace(write=written.append, is_closing=lambda: False)
    transport = _ReplyTransport(SimpleNamespace(transport=socket, write=socket.write, end=None, hold_back=None))  # type: ignore[arg-type]
    writer = ReplyWriter(SimpleNamespace(), transport)  # type: ignore[arg-type]
    scope: dict[str, Any] = {
        "type": "http",
        "path": "/",
        "method": "GET",
        "headers": [],
        "extensions": {EXTENSION: writer},
    }
    scope |= {"client": ("127.0.0.1", 1), "scheme": "http", "server": ("127.0.0.1", 2), "root_path": ""}

    async def send(message: Any) -> None:
        transport.write(b"head" if message["type"] == "http.response.start" else message["body"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", length)] if length else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ab", "more_body": False})

    app.routes = []  # type: ignore[attr-defined]
    guard = SimpleNamespace(cors=lambda *_: {}, check=lambda *_: None, check_host=lambda *_: None)
    metrics = SimpleNamespace(answered=lambda *_: None)
    middleware = RequestMiddleware(app, guard, metrics, max_body=1)  # type: ignore[arg-type]
    asyncio.run(middleware(scope, None, send))  # type: ignore[arg-type]
    writer.release()  # as the connection does at the end of a reply
    assert written == ([b"headab"] if length else [b"head", b"ab"])


def test_a_client_that_does_not_read_is_waited_for() -> None:
    async def scenario() -> None:
        source, client = Texts("a", "b"), Client(room=1)
        delivery = deliver(source, client)
        assert source.listener
        source.listener()
        assert client.written == [b"<"] and not source.ended
        assert client.waited_for == [2, 2], "it may give the client up"
        client.room = 1
        client.on_room()
        client.on_room()
        assert client.written == [b"<", b"a"]
        client.room = 1
        client.on_room()
        assert client.written == [b"<", b"a", b"b>"]
        await delivery.ended()

    run(scenario)


def test_nothing_holds_it_when_it_has_ended() -> None:
    """A connection that stays open would keep all that was generated, and a circle waits for the garbage collector."""

    async def scenario() -> None:
        source, client = Texts("a"), Client()
        delivery = deliver(source, client)
        await delivery.ended()
        ended = weakref.ref(delivery)
        del delivery
        assert ended() is None and client.written == [b"<", b"a>"]

    gc.disable()
    try:
        run(scenario)
    finally:
        gc.enable()


def test_one_that_is_closed_before_it_is_waited_for_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SILENCE", 0.0)

    async def scenario() -> None:
        source, client = Texts(None, "a"), Client()
        deliver(source, client).close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        client.on_room()
        assert source.listener is None and client.written == [b"<"]

    run(scenario)


def test_one_that_is_cancelled_writes_nothing_more() -> None:
    async def scenario() -> None:
        source, client = Texts(None, "a"), Client()
        delivery = deliver(source, client)
        waiting = asyncio.ensure_future(delivery.ended())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        client.on_room()
        assert source.listener is None and client.written == [b"<"]

    run(scenario)


def test_a_fault_ends_it() -> None:
    async def scenario() -> None:
        delivery = deliver(Texts("fault", "a"), Client())
        with pytest.raises(ValueError, match="says the test"):
            await delivery.ended()

    run(scenario)


class Owner:
    """Notes what a generation says of itself."""

    def __init__(self) -> None:
        self.changes = 0

    def changed(self, generation: Generation) -> None:
        self.changes += 1

    def abort(self, ids: list[int]) -> None: ...
    def ended(self, generation: Generation, completed: bool) -> None: ...


def test_a_generation_tells_once_of_all_that_came_and_again_of_what_is_left() -> None:
    async def scenario() -> None:
        owner = Owner()
        generation = Generation(owner, [7], 1, b"")
        for token in range(MAX_BURST + 1):
            generation.deliver(Output(7, [token], [b"a"]))
        assert owner.changes == 1
        generation.tell()
        assert len(generation.take()) == MAX_BURST
        assert owner.changes == 2
        generation.tell()
        assert [output.tokens for _, output in generation.take()] == [[MAX_BURST]]
        assert generation.take() == [] and owner.changes == 2

    run(scenario)


def test_what_nobody_takes_of_a_generation_is_weighed() -> None:
    """The longer it waits the more, and nothing once it is taken."""

    async def scenario() -> None:
        generation = Generation(Owner(), [7], 1, b"")
        weights = []
        for _ in range(3):
            generation.deliver(Output(7, [1, 2], [b"a" * 1000, b"b"]))
            weights.append(generation.held)
        assert weights[0] > 1000 and weights == [weights[0], 2 * weights[0], 3 * weights[0]]
        generation.take()
        assert generation.held == 0

    run(scenario)


def test_a_listener_that_fails_costs_the_others_nothing() -> None:
    async def scenario() -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        generations = Generations(8, 8, Suspects(), lambda message: None)
        told: list[int] = []

        def listener(number: int) -> Callable[[], None]:
            return lambda: told.append(1 // number)

        for number in (1, 0, 1):
            generation = Generation(generations, [number], 1, b"")
            generation.listener = listener(number)
            generations.changed(generation)
        await asyncio.sleep(0)
        assert told == [1, 1]
        assert [type(fault["exception"]) for fault in faults] == [ZeroDivisionError]

    run(scenario)


def test_an_error_that_comes_with_tokens_is_told_after_them() -> None:
    """A stream takes once each time it is told: without another word it would wait for ever."""

    async def scenario() -> None:
        owner = Owner()
        generation = Generation(owner, [7], 1, b"")
        generation.deliver(Output(7, [1], [b"a"]))
        generation.fail(SequenceFailed("The engine failed, says the test."))
        assert owner.changes == 1
        generation.tell()
        assert len(generation.take()) == 1
        assert owner.changes == 2
        generation.tell()
        with pytest.raises(SequenceFailed, match="says the test"):
            generation.take()
        assert owner.changes == 2

    run(scenario)


TEXTS = ["a", " ", '"', "\\", "\n", "\0", MARK * 2, "é", "😀", "<|im_end|>", "\u2028", "x" * 5000]
STARTED = Started(f'a {MARK} "model" \\u0000', "fp_1", 1_700_000_000, 2, 5)
CHAT_OPTIONS: list[dict[str, Any]] = [
    {},
    {"include_usage": True},
    {"both_reasonings": True},
    {"hides_reasoning": True},
    {"legacy_functions": True},
    {"return_tokens": True},
    {"logprobs": 0},
    {"continuous_usage": True, "include_usage": True},
]


@pytest.mark.parametrize("options", CHAT_OPTIONS)
def test_a_prepared_frame_is_the_encoded_one(options: dict[str, Any]) -> None:
    renderer = ChatRenderer(STARTED, reply_options.encode(reply_options.ChatReplyOptions(**options)))
    for text in ["", *TEXTS]:
        for event in (
            TextDelta(1, text, ids=[3]),
            ReasoningDelta(0, text),
            CallDelta(0, 2, text),
            CallDelta(0, 2, text, "id", "name"),
        ):
            assert renderer.events([event]) == renderer._encoded([event]), (text, event)
    many: list[Event] = [TextDelta(i % 2, text) for i, text in enumerate(TEXTS)]
    assert renderer.events(many) == renderer._encoded(many)


@pytest.mark.parametrize("options", [{}, {"include_usage": True}, {"return_tokens": True}, {"logprobs": 2}])
def test_so_is_one_of_a_completion(options: dict[str, Any]) -> None:
    renderer = CompletionRenderer(STARTED, reply_options.encode(reply_options.CompletionReplyOptions(**options)))
    for text in ["", *TEXTS]:
        event = TextDelta(1, text, ids=[3])
        assert renderer.events([event]) == renderer._encoded([event])


def test_a_completion_repeats_its_prompt_once() -> None:
    options = reply_options.CompletionReplyOptions(prompts=["Once"])
    renderer = CompletionRenderer(Started("m", "fp", 1, 1, 1, [[b"Once"]]), reply_options.encode(options))
    first, second = renderer.events([TextDelta(0, " upon")]), renderer.events([TextDelta(0, " a")])
    assert b'"text":"Once upon"' in first and b'"text":" a"' in second
