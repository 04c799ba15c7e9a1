"""Three servers behind something, under load, while one of them is killed and another is told to end.

Conversations have a long system message in common and go on for some turns, as streams and whole. Whoever asks tries
nothing again.
"""

import json
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from running import CEILING, FAKE, ServerProcess, server_process, until

EXAMPLES = Path(__file__).parents[2] / "examples" / "replicas"
sys.path.insert(0, str(EXAMPLES))
import prefix_key  # noqa: E402

CLIENTS = 6
TURNS = 4
TOKENS = 20
SYSTEM = "You answer briefly, and only what was asked. " * 20
LONG, ENDLESS = 6_000, 60_000  # tokens: of a stream that is to come whole, and of one that never does


@dataclass
class Load:
    """What came of many conversations. `lost`: replies that broke off, each with whether it had begun."""

    prompt: int = 0
    cached: int = 0
    whole: int = 0
    lost: list[tuple[bool, Exception]] = field(default_factory=list)

    @property
    def hits(self) -> float:
        """The share of prompts that was in a cache."""
        return self.cached / self.prompt


class Replica:
    """One of the servers."""

    def __init__(self, server: ServerProcess):
        self.server = server
        self.url = server.wait_ready()
        self.address = self.url.removeprefix("http://")

    def shown(self, name: str) -> float:
        """A number of its metrics."""
        with http(self.url) as asked:
            families = list(text_string_to_metric_families(asked.get("/metrics").text))
        return next(sample.value for family in families for sample in family.samples if sample.name == name)

    def has(self, id: str) -> bool:
        """Whether a request of this id is under way there."""
        with http(self.url) as asked, asked.stream("GET", "/v1/server/events") as events:
            snapshot = next(line for line in events.iter_lines() if line.startswith("data: "))
        requests = json.loads(snapshot.removeprefix("data: "))["requests"]
        return any(each["id"] == id and each["phase"] == "answer" for each in requests)

    def kill(self) -> None:
        self.server.process.kill()
        self.server.process.wait()

    def drain(self) -> None:
        self.server.process.send_signal(signal.SIGTERM)


@contextmanager
def three() -> Iterator[list[Replica]]:
    with ExitStack() as stack:
        arguments = ("--engine", FAKE, "--no-state", "--ctx", "65536", "--parallel", "8", "--grace", "60")
        servers = [stack.enter_context(server_process(*arguments)) for _ in range(3)]
        yield [Replica(server) for server in servers]


def http(url: str) -> httpx.Client:
    """A client of a server at `http://…`, or on a Unix socket at `unix:…`."""
    path = url.removeprefix("unix:")
    transport = None if path == url else httpx.HTTPTransport(uds=path)
    return httpx.Client(transport=transport, base_url="http://localhost" if transport else url, timeout=CEILING)


def client(url: str) -> openai.OpenAI:
    own = {"http_client": http(url)} if url.startswith("unix:") else {}
    base = "http://localhost" if own else url
    return openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0, timeout=CEILING, **own)


def under_load(url: str, names: range, hashed: bool) -> Load:
    """As many conversations as `names`, from several clients at once. `hashed`: they send x-nitro-prefix."""
    load, lock = Load(), threading.Lock()

    def converse(name: int) -> None:
        with client(url) as asked:
            for turn, prompt, cached, failure in _turns(asked, name, hashed):
                with lock:
                    load.prompt += prompt
                    load.cached += cached
                    load.whole += turn
                    load.lost += failure

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(converse, names))
    return load


Turn = tuple[int, int, int, list[tuple[bool, Exception]]]


def _turns(asked: openai.OpenAI, name: int, hashed: bool) -> Iterator[Turn]:
    """1 for a whole reply, its tokens, or how it was lost."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"Conversation {name} begins."}]
    key = prefix_key.of_messages(messages)
    headers = {"x-nitro-prefix": key} if hashed else {}
    for turn in range(TURNS):
        begun = False
        try:
            options = {"stream": True, "stream_options": {"include_usage": True}} if turn % 2 else {}
            reply = asked.chat.completions.with_raw_response.create(
                model="", messages=messages, max_tokens=TOKENS, extra_headers=headers, **options
            )
            assert reply.headers["x-nitro-prefix"] == key
            said, usage = "", None
            for part in reply.parse() if options else [reply.parse()]:
                begun = True
                usage = part.usage or usage
                for choice in part.choices:
                    said += (choice.delta if options else choice.message).content or ""
            assert usage and usage.completion_tokens == TOKENS
            yield 1, usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, []
        except (openai.APIError, httpx.HTTPError) as error:
            yield 0, 0, 0, [(begun, error)]
            continue
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "Go on, please, " * 5}]


@contextmanager
def long_stream(
    url: str, replicas: list[Replica], tokens: int, headers: dict[str, str] | None = None
) -> Iterator[tuple[openai.Stream, Replica]]:
    """A stream that has begun, and the server that it comes from."""
    with client(url) as asked:
        messages = [{"role": "user", "content": "A long one."}]
        options = {"max_tokens": tokens, "extra_body": {"ignore_eos": True}, "extra_headers": headers}
        with asked.chat.completions.create(model="", messages=messages, stream=True, **options) as stream:
            next(stream)
            id = stream.response.headers.get_list("x-request-id")[0]  # Ray's own follows
            (replica,) = [each for each in replicas if each.has(id)]
            yield stream, replica


def whole(stream: openai.Stream) -> bool:
    """Read it to its end."""
    return [chunk.choices[0].finish_reason for chunk in stream][-1] == "length"


def check_killed(url: str, replicas: list[Replica]) -> Replica:
    """A stream that runs on a server when that is killed breaks off. Returns the server."""
    with long_stream(url, replicas, ENDLESS) as (stream, replica):
        replica.kill()
        with pytest.raises((openai.APIError, httpx.HTTPError)):
            list(stream)
    return replica


def check_drained(url: str, replicas: list[Replica]) -> Replica:
    """A stream that runs on a server when that is told to end comes whole. Returns the server, which has ended."""
    with long_stream(url, replicas, LONG) as (stream, replica):
        replica.drain()
        assert whole(stream)
    assert replica.server.process.wait(CEILING) == 0
    return replica


def check_left(url: str, replicas: list[Replica]) -> None:
    """A client that leaves ends the work at its stream."""
    with long_stream(url, replicas, ENDLESS) as (_, replica):
        assert replica.shown("nitro_requests_running") == 1
    until(lambda: replica.shown("nitro_requests_running") == 0)
    assert replica.shown("nitro_generated_tokens_total") < ENDLESS


def check_well(url: str, replicas: list[Replica], hashed: bool) -> Load:
    """All servers take part, and nothing is lost."""
    well = under_load(url, range(0, 48), hashed)
    assert (well.whole, well.lost) == (48 * TURNS, [])
    shares = [replica.shown("nitro_generated_tokens_total") for replica in replicas]
    assert all(shares), shares
    return well


def check_killed_under_load(url: str, replicas: list[Replica], hashed: bool, resent: bool) -> tuple[Load, Replica]:
    """Only what the killed server was at is lost. `resent`: of that only what had begun."""
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(under_load, url, range(100, 148), hashed)
        killed = check_killed(url, replicas)
        worse = loading.result()
    assert worse.whole + len(worse.lost) == 48 * TURNS
    assert len(worse.lost) <= CLIENTS and (not resent or all(begun for begun, _ in worse.lost)), worse.lost
    return worse, killed


def check_hits(well: Load, left: Replica, lost: int) -> None:
    """As many prefixes are found as one server finds alone, nearly."""
    alone = under_load(left.url, range(300, 348), False)
    print(f"prefix hits {well.hits:.3f}, of one server {alone.hits:.3f}; lost {lost}")
    assert well.hits >= 0.9 * alone.hits


def check(url: str, replicas: list[Replica], hashed: bool) -> None:
    """Nothing is lost but what a killed server was at; and conversations find their prefixes."""
    well = check_well(url, replicas, hashed)
    worse, killed = check_killed_under_load(url, replicas, hashed, resent=True)
    rest = [replica for replica in replicas if replica is not killed]
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(under_load, url, range(200, 248), hashed)
        drained = check_drained(url, rest)
        ending = loading.result()
    assert (ending.whole, ending.lost) == (48 * TURNS, [])
    (left,) = [replica for replica in rest if replica is not drained]
    check_hits(well, left, len(worse.lost))
