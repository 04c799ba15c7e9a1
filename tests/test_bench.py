"""The parts of bench/ that start nothing: prompts, statistics, tables, sections."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import client, report, serve, workloads
from bench.client import Answer, Load, chat_body
from bench.prompts import WORDS, Prompts
from bench.stats import Ratio, percentile, turns


def words(messages: list[dict]) -> list[str]:
    return [word for message in messages for word in message["content"].split()]


def turn(first: float, seconds: float, cpu: float | None = 1.0) -> serve.Turn:
    """Two answers of 11 tokens, a tenth of a second each token."""
    return serve.Turn(Load([Answer(first, first + 1, 200, 4, 11)] * 2, seconds, client_cpu=0.011), cpu)


# Prompts


def test_prompts_are_distinct_and_of_equal_length():
    prompts = Prompts(seed=1)
    made = [words(prompts.next(50)) for _ in range(200)]
    assert len({tuple(prompt) for prompt in made}) == 200
    assert {len(prompt) for prompt in made} == {52}, "fifty words, and the first of each message"


def test_a_seed_gives_its_prompts_again_and_no_other_does():
    first, again, other = (Prompts(seed).next(50) for seed in (1, 1, 2))
    assert first == again != other


def test_words_are_distinct():
    assert len(set(WORDS)) == len(WORDS) > 200


def test_both_sides_of_a_round_get_the_same_prompts_and_no_round_those_of_another():
    """Whatever a workload asks for."""
    seen = []
    for number in (1, 1, 2):
        asked: list[bytes] = []
        play_all(asked, number)
        seen.append(asked)
    assert len(seen[0]) > 50 and seen[0] == seen[1]
    assert not set(seen[0]) & set(seen[2])


def play_all(asked: list[bytes], number: int) -> None:
    async def chat(address, body, keep_text=False, on_text=lambda: None) -> Answer:
        asked.append(body)
        on_text()
        await asyncio.sleep(0)
        return Answer(0.1, 0.2, 10, 0, 5, text="so it is and so it was before")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "chat", chat)
        for workload in [*workloads.WORKLOADS.values(), *(w for pair in workloads.OWN.values() for w in pair)]:
            load = asyncio.run(workload.play(("", 0), Prompts(number)))
            assert load.answers and any(answer.first is not None for answer in load.answers)


def test_a_request_asks_for_a_fixed_length_and_for_usage():
    body = chat_body([], 7)
    for part in (b'"max_tokens": 7', b'"ignore_eos": true', b'"include_usage": true', b'"temperature": 0'):
        assert part in body


# The client


async def read(stream: bytes) -> Answer:
    """What the client makes of a chunked body, the chunks cut where no frame ends."""
    reader = asyncio.StreamReader()
    cuts = [stream[i : i + 7] for i in range(0, len(stream), 7)]
    reader.feed_data(b"".join(b"%x\r\n%b\r\n" % (len(cut), cut) for cut in [*cuts, b""]))
    reader.feed_eof()
    return await client.read_stream(reader, began=time.perf_counter())


def frames(*parsed: dict) -> bytes:
    made = [b"data: " + json.dumps(each, separators=(",", ":")).encode() + b"\n\n" for each in parsed]
    return b"".join([*made, b"data: [DONE]\n\n"])


def delta(**fields: str) -> dict:
    return {"choices": [{"index": 0, "delta": fields}], "usage": None}


def test_tokens_are_counted_from_usage():
    usage = {"prompt_tokens": 20, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}
    parts = [delta(role="assistant", content=""), delta(content="a"), delta(content="bc"), delta()]
    answer = asyncio.run(read(frames(*parts, {"choices": [], "usage": usage})))
    assert (answer.prompt_tokens, answer.cached_tokens, answer.tokens) == (20, 3, 9)
    assert 0 < answer.first <= answer.last


@pytest.mark.parametrize("parts", [[delta(content="a")], [{"choices": [], "usage": {"prompt_tokens": 1}}]])
def test_a_stream_without_text_or_usage_is_a_fault(parts: list[dict]):
    with pytest.raises(RuntimeError):
        asyncio.run(read(frames(*parts)))


# Statistics


@pytest.mark.parametrize(
    ("share", "value"),
    [(0.9, 9), (0.5, 5), (1, 10), (0.01, 1), (0.91, 10)],
)
def test_a_percentile_is_a_value_of_the_sample(share: float, value: float):
    assert percentile([3, 1, 2, 10, 9, 8, 7, 6, 5, 4], share) == value


def test_a_ratio_pairs_the_rounds():
    ratio = Ratio.of([1, 2, 30], [2, 2, 20])
    assert (ratio.median, ratio.least, ratio.most) == (1, 0.5, 1.5)
    assert str(ratio) == "1.00 (0.50–1.50)"


def test_turns_cancel_a_steady_drift():
    order = [which for both in turns(4) for which in both]
    assert order == [0, 1, 1, 0, 0, 1, 1, 0]
    times = [[i for i, which in enumerate(order) if which == server] for server in (0, 1)]
    assert sum(times[0]) == sum(times[1])


def test_rows_show_both_servers_and_their_ratio():
    ours, theirs = [turn(0.2, 2.0), turn(0.4, 2.0)], [turn(0.1, 1.0), turn(0.1, 1.0)]
    rows = {row[1]: row[2:] for row in serve.rows("two", ours, theirs)}
    assert rows["TTFT, ms"] == ["300", "100", "3.00 (2.00–4.00)"]
    assert rows["TTFT p90, ms"] == ["400", "100", "3.00 (2.00–4.00)"]
    assert rows["time per output token, ms"] == ["100", "100", "1.00 (1.00–1.00)"]
    assert rows["tokens/s"] == ["11", "22", "0.50 (0.50–0.50)"]
    assert rows["client CPU per token, ms"][:2] == ["0.5", "0.5"]
    assert rows["tokens of a prompt"] == ["200–200, cached 4", "200–200, cached 4", ""]


def test_rows_leave_out_what_could_not_be_measured():
    names = [row[1] for row in serve.rows("one", [turn(0.1, 1, cpu=None)], [turn(0.1, 1)])]
    assert "server CPU per token, ms" not in names
    assert "tokens/s" in names


# Results


def test_a_table_is_aligned():
    assert report.table(["a", "b", "c"], [["1", "long", "2.5"], ["10", "x", "12.25"]]).splitlines() == [
        "| a  | b    |     c |",
        "| -- | ---- | ----: |",
        "| 1  | long |   2.5 |",
        "| 10 | x    | 12.25 |",
    ]


def test_a_section_is_appended_and_then_replaced(tmp_path: Path):
    file = tmp_path / "results.md"
    report.write("One", "old", file)
    report.write("Two", "second", file)
    report.write("One", "new", file)
    assert file.read_text() == f"{report.TITLE}\n\n## One\n\nnew\n\n## Two\n\nsecond\n"
    report.write("Two", "third", file)
    assert file.read_text() == f"{report.TITLE}\n\n## One\n\nnew\n\n## Two\n\nthird\n"


def test_the_setting_names_no_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["x", "--model", "/some/where/m.gguf", "--llama-server=/else/where/llama-server"])
    setting = report.setting("bench.serve")
    assert "`python -m bench.serve --model m.gguf --llama-server=llama-server`" in setting
    assert "where" not in setting
