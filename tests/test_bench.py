"""The parts of bench/ that start nothing: prompts, statistics, tables, sections."""

import asyncio
import importlib
import json
import os
import pkgutil
import random
import re
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from running import CEILING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bench
from bench import gguf_on_mlx, measures, peers, prefix_files, processes, report, serve, workloads
from nitro.bench import client, scenarios, texts
from nitro.bench.client import LoadResult, MeasuredAnswer
from nitro.bench.endpoint import BenchEndpoint
from nitro.bench.prompts import WORDS, Prompts
from nitro.bench.stats import Ratio, percentile, turns
from nitro.errors import BenchError


def words(messages: list[dict]) -> list[str]:
    return [word for message in messages for word in message["content"].split()]


def turn(first: float, seconds: float, cpu: float | None = 1.0, **more: int) -> measures.Turn:
    """Two answers of 11 tokens, a tenth of a second each token."""
    answers = [MeasuredAnswer(first, first + 1, 200, 4, 11, **more)] * 2
    return measures.Turn(LoadResult(answers, seconds, client_cpu=0.011), cpu, peak=100 * seconds)


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
        sent: list[bytes] = []
        run_all(sent, number)
        seen.append(sent)
    assert len(seen[0]) > 50 and seen[0] == seen[1]
    assert not set(seen[0]) & set(seen[2])


def run_all(sent: list[bytes], number: int, chosen: list[scenarios.Scenario] | None = None) -> None:
    async def chat(endpoint, body, keep_text=False, on_text=lambda: None) -> MeasuredAnswer:
        sent.append(body)
        on_text()
        await asyncio.sleep(0)
        return MeasuredAnswer(0.1, 0.2, 10, 0, 5, text=" ".join(f"w{i}" for i in range(100)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "chat", chat)
        all_scenarios = chosen or [s for w in workloads.WORKLOADS.values() for s in (w.scenario, w.baseline) if s]
        prompts = Prompts(number)
        for scenario in all_scenarios:
            result = asyncio.run(scenario(BenchEndpoint("", 0), prompts))
            assert result.answers and any(answer.ttft is not None for answer in result.answers)


def test_a_prediction_is_wrong_in_places_and_no_part_of_the_prompt():
    sent: list[bytes] = []
    run_all(sent, 1)
    predicted = [found for body in sent if "prediction" in (found := json.loads(body))]
    assert predicted
    for body in predicted:
        content = body["prediction"]["content"].split()
        assert content.count("other") == len(content) // 30 + (len(content) % 30 > 15) > 2
        assert " ".join(content[:10]) not in json.dumps(body["messages"])


def test_what_streams_run_beside_is_there_all_the_time_and_does_not_count():
    requests: list[str] = []
    ended = []

    async def chat(endpoint, body, keep_text=False, on_text=lambda: None) -> MeasuredAnswer:
        kind = "kept" if "json_schema" in json.loads(body) else "free"
        requests.append(kind)
        on_text()
        try:
            if kind == "kept":
                await asyncio.Event().wait()
        finally:
            ended.append(kind)
        return MeasuredAnswer(0.1, 0.2, 10, 0, 5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "chat", chat)
        result = asyncio.run(scenarios.beside_request(3, 5, workloads.WITH_SCHEMA)(BenchEndpoint("", 0), Prompts(1)))
    assert requests == ["kept", "free", "free", "free"]
    assert len(result.answers) == 3 and ended == ["free"] * 3 + ["kept"]


def test_what_streams_run_beside_may_not_fail():
    async def chat(endpoint, body, keep_text=False, on_text=lambda: None) -> MeasuredAnswer:
        if "json_schema" in json.loads(body):
            raise BenchError("refused")
        return MeasuredAnswer(0.1, 0.2, 10, 0, 5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "chat", chat)
        with pytest.raises(BenchError, match="refused"):
            asyncio.run(scenarios.beside_request(3, 5, workloads.WITH_SCHEMA)(BenchEndpoint("", 0), Prompts(1)))


def test_the_schema_of_the_workload_is_one_that_can_be_kept(fake_server):
    """By answers of any length; and it ends none of them."""
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 300, **workloads.WITH_SCHEMA}
    reply = httpx.post(f"{fake_server.url}/v1/chat/completions", json=body, timeout=60)
    assert reply.json()["choices"][0]["finish_reason"] == "length"


def test_a_request_carries_what_its_endpoint_says():
    body = json.loads(BenchEndpoint("", 0, fields={"ignore_eos": True, "model": "m"}).chat_body([], 7, seed=3))
    assert (body["max_tokens"], body["temperature"], body["seed"], body["model"]) == (7, 0, 3, "m")
    assert body["ignore_eos"] is body["stream"] is body["stream_options"]["include_usage"] is True


def test_texts_are_of_all_kinds_and_short():
    prompts = Prompts(seed=1)
    made = [prompts.text() for _ in range(100)]
    assert len({json.dumps(messages) for messages in made}) == 100
    assert len({messages[0]["content"] for messages in made}) > 95, "so that no prefix is shared"
    assert all(25 <= len(words(messages)) <= 85 for messages in made)
    said = " ".join(messages[1]["content"] for messages in made)
    for start in ("Words:", "I live in", "```", "packing list", "Repeat this text"):
        assert start in said
    for kind in texts.KINDS:
        assert len({kind(random.Random(seed)) for seed in range(200)}) > 50
        assert not re.search(r"[{}]name|[{}]n[{}]", kind(random.Random(1))), "all is filled in"


def test_texts_are_sampled_with_the_same_seeds_by_all_and_greedy_where_so_wanted():
    def bodies(scenario: scenarios.Scenario) -> list[dict]:
        sent: list[bytes] = []
        run_all(sent, 7, [scenario])
        return [json.loads(body) for body in sent]

    first = bodies(scenarios.real_texts(3, 5))
    assert first == bodies(scenarios.real_texts(3, 5)) and len({body["seed"] for body in first}) == 6
    assert all(scenarios.SAMPLING.items() <= body.items() for body in first)
    assert {body["temperature"] for body in bodies(scenarios.real_texts(3, 5, sampling={}))} == {0}
    talk = bodies(scenarios.real_conversations(2, 3, 5))
    assert len(talk) == 6 == len({body["seed"] for body in talk})
    assert max(len(body["messages"]) for body in talk) == 1 + 3 + 2


# Statistics


@pytest.mark.parametrize(
    ("share", "value"),
    [(0.9, 9), (0.5, 5), (1, 10), (0.01, 1), (0.91, 10)],
)
def test_a_percentile_is_a_value_of_the_sample(share: float, value: float):
    assert percentile([3, 1, 2, 10, 9, 8, 7, 6, 5, 4], share) == value


def test_a_ratio_pairs_the_rounds():
    ratio = Ratio.of([1, 2, 30], [2, 2, 20])
    assert (ratio.median, ratio.lowest, ratio.highest) == (1, 0.5, 1.5)
    assert str(ratio) == "1.00 (0.50–1.50)"


def test_turns_cancel_a_steady_drift():
    order = [which for both in turns(4) for which in both]
    assert order == [0, 1, 1, 0, 0, 1, 1, 0]
    times = [[i for i, which in enumerate(order) if which == server] for server in (0, 1)]
    assert sum(times[0]) == sum(times[1])


def test_three_sides_take_turns():
    assert turns(3, 3) == [(0, 1, 2), (2, 1, 0), (0, 1, 2)]


def test_rows_show_each_side_and_our_ratio_to_it():
    ours, theirs = [turn(0.2, 2.0), turn(0.4, 2.0)], [turn(0.1, 1.0), turn(0.1, 1.0)]
    rows = {row[1]: row[2:] for row in measures.rows("two", [ours, theirs, ours])}
    assert rows["TTFT p50, ms"] == ["200", "100", "3.00 (2.00–4.00)", "200", "1.00 (1.00–1.00)"]
    assert rows["TTFT p90, ms"][:3] == ["400", "100", "3.00 (2.00–4.00)"]
    assert rows["time per output token p99, ms"][:3] == ["100", "100", "1.00 (1.00–1.00)"]
    assert rows["tokens/s"][:3] == ["11", "22", "0.50 (0.50–0.50)"]
    assert rows["client CPU per token, ms"][:2] == ["0.5", "0.5"]
    assert rows["peak memory, MiB"][:3] == ["200", "100", "2.00 (2.00–2.00)"]
    assert rows["tokens of a prompt"] == ["200–200, cached 4", "200–200, cached 4", "", "200–200, cached 4", ""]
    assert "tokens of predictions" not in rows


def test_rows_leave_out_what_could_not_be_measured():
    names = [row[1] for row in measures.rows("one", [[turn(0.1, 1, cpu=None)], [turn(0.1, 1)]])]
    assert "server CPU per token, ms" not in names
    assert "tokens/s" in names


def test_predictions_are_counted():
    rows = {row[1]: row[2:] for row in measures.rows("p", [[turn(1, 1, accepted=9, rejected=2)], [turn(1, 1)]])}
    assert rows["tokens of predictions"] == ["18 accepted, 4 rejected", "", ""]


def test_drafted_tokens_are_counted():
    ours = turn(1, 1, drafted=9, drafts_accepted=6)
    rows = {row[1]: row[2:] for row in measures.rows("p", [[ours, ours], [turn(1, 1)] * 2])}
    assert rows["drafted tokens"] == ["24 of 36 accepted", "", ""]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux only")
def test_the_peak_of_memory_is_seen():
    with processes.Peak(processes.Server(port=0, pid=os.getpid())) as peak:
        pass
    assert peak.mib > 1


def test_variables_and_another_tree_are_set_for_the_command(tmp_path: Path):
    command = processes.with_variables(processes.listening(["serve"]), A="1", B="2")
    assert command(5) == ["env", "A=1", "B=2", "serve", "--host", "127.0.0.1", "--port", "5"]
    assert processes.nitro("m", tree=tmp_path)(5)[:3] == ["env", f"PYTHONPATH={tmp_path}", sys.executable]


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


def test_reasons_are_numbered_and_name_no_folders() -> None:
    reasons = gguf_on_mlx.Reasons()
    said = [gguf_on_mlx.without_paths(ValueError(f"/tmp/nitro-bench-{run}/a.gguf: no blocks.")) for run in ("x1", "y2")]
    assert [reasons.number(text) for text in (*said, "too large")] == [1, 1, 2]
    assert str(reasons) == "1. no blocks\n2. too large"


def test_every_module_can_be_imported() -> None:
    names = [module.name for module in pkgutil.iter_modules(bench.__path__)]
    assert "convert" in names and all(importlib.import_module(f"bench.{name}") for name in names)


def test_a_server_that_is_measured_twice_hears_no_prompt_twice(monkeypatch: pytest.MonkeyPatch):
    heard: dict[str, list[str]] = {"ours": [], "theirs": [], "ours without": []}

    async def take_turn(server: processes.Server, side: peers.Side, prompts: Prompts) -> measures.Turn:
        heard[side.name].append(prompts.words(20))
        return turn(0.1, 1.0)

    monkeypatch.setattr(serve, "take_turn", take_turn)
    scenario = scenarios.independent(1, 4)
    command = processes.nitro("model")
    sides = [
        peers.Side("ours", command, scenario),
        peers.Side("theirs", command, scenario),
        peers.Side("ours without", None, scenario),
    ]
    server = processes.Server(0, 0)
    counted = asyncio.run(serve.measure([server] * 3, sides, workloads.WORKLOADS["rewrite"], rounds=3, seed=1))
    assert [len(turns) for turns in counted] == [3, 3, 3]
    assert heard["ours"] == heard["theirs"] and len({*heard["ours"], *heard["ours without"]}) == 2 * (1 + 3)


EVENT = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'


def test_gaps_of_a_stream_are_of_what_comes_after_the_others() -> None:
    """From a server that answers at once, but for the stream, which goes on when all others have been answered."""
    answered: list[int] = []
    cut = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(re.search(rb"Content-Length: (\d+)", head)[1])
        tokens = json.loads(await reader.readexactly(size))["max_tokens"]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (tokens * len(EVENT)))
        if tokens == prefix_files.STREAM:
            writer.write(EVENT)
            while len(answered) <= prefix_files.EVICTING:
                await asyncio.sleep(0)
            writer.write(2 * prefix_files.GAPS * EVENT)
            with suppress(ConnectionError):
                await reader.read()  # until it is cut
            cut.set()
        else:
            answered.append(tokens)
            writer.write(tokens * EVENT)
        writer.close()

    async def measured() -> list[float]:
        async with asyncio.timeout(CEILING), await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            found = await prefix_files.stream_gaps(processes.Server(port, 0), Prompts(1))
            await cut.wait()
            return found

    gaps = client.run(measured())
    assert len(gaps) >= prefix_files.GAPS and all(gap >= 0 for gap in gaps)
    assert answered == [4] + [1] * prefix_files.EVICTING
