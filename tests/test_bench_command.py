"""`nitro bench` against real servers: the fake engine's, one that takes nothing it does not know, and none at all."""

import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner, Result
from running import RunningServer

from nitro.bench import command, compare, endpoint
from nitro.bench.client import LoadResult, MeasuredAnswer
from nitro.cli.main import main
from nitro.errors import BenchError


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", *arguments, "--clients", "2", "--tokens", "4"], terminal_width=200)


def lines(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line]


def test_a_server_is_measured(serve: Callable[..., RunningServer]) -> None:
    server = serve(context=16384)
    result = bench(f"{server.url}/v1")
    assert result.exit_code == 0, result.output
    for row in ("TTFT, ms", "time per output token, ms", "tokens/s of an answer"):
        assert len(re.findall(rf"{row} *│ *[\d.,]+ *│ *[\d.,]+ *│ *[\d.,]+ *│", result.stdout)) == 4, result.stdout
    tokens = [4 * answers for answers in (2 * 2, 2 * 2, 2 * 3, 2 * 2)]
    assert [int(n) for n in re.findall(r"(\d+) tokens in", result.stdout)] == tokens


def test_v1_may_be_left_out_and_a_key_is_sent(serve: Callable[..., RunningServer]) -> None:
    server = serve(context=16384, api_key="secret")
    assert bench(server.url.removeprefix("http://"), "--api-key", "secret").exit_code == 0


def test_two_servers_are_compared(serve: Callable[..., RunningServer]) -> None:
    servers = [serve(context=16384, api_key="secret"), serve(context=16384)]
    result = bench(servers[0].url, "--api-key", "secret", "--compare", servers[1].url)
    assert result.exit_code == 0, result.output
    ratio = r"[\d.]+ \([\d.]+–[\d.]+\)"
    for row in ("tokens/s of all", "TTFT p50, ms", "time per output token p90, ms", "longest gap, ms"):
        assert len(re.findall(rf"{row} *│ *[\d.,]+ *│ *[\d.,]+ *│ *{ratio} *│", result.stdout)) == 4, result.stdout
    assert "does not accept" not in result.stderr


def test_both_get_only_what_both_accept(serve: Callable[..., RunningServer]) -> None:
    with strict() as url:
        result = bench(serve(context=16384).url, "--model", "known", "--compare", url)
    assert result.exit_code == 0, result.output
    assert "tokens/s of all" in result.stdout
    assert "It does not accept min_p, seed, top_k, top_p either, and chooses them itself." in lines(result)


def test_drafts_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    drafting = LoadResult([MeasuredAnswer(0.1, 1, 9, 0, 10, drafted=8, drafts_accepted=6)], 1.0, 0.1)
    plain = LoadResult([MeasuredAnswer(0.1, 1, 9, 0, 10)], 1.0, 0.1)
    command.show("one", drafting)
    command.show("two", plain)
    compare.show("both", [drafting, drafting], [plain, plain])
    one, two, both = re.split("^(?=two|both)", capsys.readouterr().out, flags=re.MULTILINE)
    assert "6 of 8 (75 %) drafted tokens accepted" in one and "drafted" not in two
    assert re.search(r"longest gap, ms *│ *0 *│ *0 *│ *│", both), "no ratio to nothing"
    assert re.search(r"drafted tokens accepted *│ *12 of 16 \(75 %\) *│ *│ *│", both)


def test_a_wrong_key_is_one_line(serve: Callable[..., RunningServer]) -> None:
    server = serve(api_key="secret")
    result = bench(f"{server.url}/v1", "--api-key", "wrong")
    assert result.exit_code == 1 and not result.stdout
    assert len(said := lines(result)) == 1 and said[0].startswith("nitro: the server answers 401: ")


def test_a_wrong_path_is_one_line(serve: Callable[..., RunningServer]) -> None:
    result = bench(f"{serve().url}/elsewhere")
    assert result.exit_code == 1
    assert len(said := lines(result)) == 1 and said[0].startswith("nitro: the server answers 40")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/v1", "127.0.0.1:1 cannot be reached"),
        ("ftp://127.0.0.1/v1", "is not the URL of a server"),
        ("http://127.0.0.1:notaport", "is not the URL of a server"),
        ("http://", "is not the URL of a server"),
    ],
)
def test_where_no_server_is_one_line_says_so(url: str, said: str) -> None:
    result = bench(url)
    assert result.exit_code == 1
    assert len(lines(result)) == 1 and said in lines(result)[0]


class Strict(socketserver.StreamRequestHandler):
    """Refuses parameters and models it does not know; tells no usage, and ends an answer with the connection."""

    KNOWN = frozenset(("messages", "temperature", "max_tokens", "stream", "stream_options", "model"))

    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split()[1])
        body = json.loads(self.rfile.read(length))
        if unknown := body.keys() - self.KNOWN:
            return self.refuse("400 Bad Request", f"what is {min(unknown)}?")
        if body["model"] != "known":
            return self.refuse("404 Not Found", "no such model")
        frame = {"choices": [{"delta": {"content": "a"}}]}
        frames = f"data: {json.dumps(frame)}\r\n\r\n" * 3
        self.wfile.write(f"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{frames}data: [DONE]\r\n".encode())

    def refuse(self, status: str, message: str) -> None:
        self.wfile.write(f"HTTP/1.0 {status}\r\n\r\n{json.dumps({'error': {'message': message}})}".encode())


@contextmanager
def strict() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Strict) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_strict_server_is_asked_for_less() -> None:
    with strict() as url:
        result = bench(url, "--model", "known")
    assert result.exit_code == 0, result.output
    assert "The server does not accept ignore_eos, so answers may be shorter than requested." in lines(result)
    assert "It does not accept min_p, seed, top_k, top_p either, and chooses them itself." in lines(result)
    assert "12 tokens in" in result.stdout


def test_a_wrong_model_is_one_line() -> None:
    with strict() as url:
        result = bench(url, "--model", "other")
    assert (result.exit_code, lines(result)) == (1, ["nitro: the server answers 404: no such model"])


def test_a_percentile_is_counted_from_the_better_end() -> None:
    answers = [MeasuredAnswer(i / 1000, 1 + i, 9, 0, 10) for i in range(1, 101)]
    first, _, speed = command.METRICS
    assert first.percentiles(answers) == ["50", "90", "99"]
    assert speed.percentiles(answers) == ["0.1961", "0.1099", "0.1"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.000123456, "0.0001235"),
        (0.01234, "0.01234"),
        (1.5, "1.5"),
        (9.9999, "10"),
        (100, "100"),
        (123.456, "123.5"),
        (1234.56, "1,235"),
        (9999.6, "10,000"),
        (20760, "20,760"),
        (1234567.8, "1,234,568"),
        (-2.5, "-2.5"),
    ],
)
def test_numbers_are_plain(value: float, text: str) -> None:
    assert command.number(value) == text


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://a", ("a", 80, "/v1", False)),
        ("a:8080/v1/", ("a", 8080, "/v1", False)),
        ("https://a/some/where", ("a", 443, "/some/where", True)),
        ("http://[::1]:99", ("::1", 99, "/v1", False)),
    ],
)
def test_urls(url: str, parts: tuple[str, int, str, bool]) -> None:
    at = endpoint.parse(url, None, {})
    assert (at.host, at.port, at.path, at.tls) == parts


def test_hosts_are_named_as_browsers_do() -> None:
    named = {url: endpoint.parse(url, "k", {}).http_request(b"{}") for url in ("https://a", "http://[::1]:99")}
    assert b"\r\nHost: a\r\n" in named["https://a"] and b"\r\nHost: [::1]:99\r\n" in named["http://[::1]:99"]
    assert all(b"\r\nAuthorization: Bearer k\r\n" in request for request in named.values())


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(BenchError, match="looks like http"):
        endpoint.parse("file:///etc", None, {})
