"""`python -m bench.table`: the rows, what a failure leaves, and how results are written and read."""

import contextlib
import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import fast
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import (
    batches,
    kernel_limit,
    many_models,
    measures,
    peers,
    pictures,
    prefix_files,
    record,
    report,
    rows,
    table,
    two_users,
)
from bench.kernel_limit import LIMIT
from bench.rows import GAP, MEMORY, ROWS, SPEED, START, Goal, Outcome
from bench.workloads import OLD, SERVER, TUNED, WORKLOADS, Workload
from nitro.bench.client import LoadResult, MeasuredAnswer

FAKE = "nitro.engines.backends.fake:FakeRunner"


def speeds(**by_side: list[float]) -> Outcome:
    values = {SPEED: {"Nitro": by_side["ours"], SERVER: by_side["theirs"]}}
    return Outcome("8", "8 clients, words", 1.0, values)


# The rows


def test_every_row_shows_a_figure_that_can_be_measured() -> None:
    known = {*measures.METRICS, START, MEMORY, rows.FRAMES, rows.FIRST_FRAME, many_models.COLD, many_models.RATE}
    known |= {pictures.EIGHT, pictures.ONE, pictures.GAP, two_users.LIGHT, batches.FIRST}
    known |= {prefix_files.FIRST, prefix_files.STEP}
    for name, row in ROWS.items():
        assert row.shown and known >= set(row.shown), name
        assert {goal.metric for goal in row.goals} <= set(row.shown), name
        assert row.name


def test_a_row_knows_its_clients() -> None:
    for name, row in ROWS.items():
        named = rf"{row.clients} (clients?|conversations)\b|.* prompt among {row.clients - 1} streams"
        assert not row.clients or re.match(named, row.name), name
    assert {name for name, row in ROWS.items() if row.clients} >= {"1-text", "8-text", "32-text", "talk-text"}


def test_rows_of_one_room_are_neighbours(tmp_path: Path) -> None:
    """So that no set of servers is started twice."""
    options = table.parse(["--rows", ",".join(ROWS), "--old", str(tmp_path)])
    rooms = [
        table.workload_of(ROWS[names[0]], options).room
        for names in table.groups(options)
        if isinstance(ROWS[names[0]].work, Workload)
    ]
    assert len(set(rooms)) == len(rooms) < len(ROWS) / 2
    assert [name for names in table.groups(options) for name in names] == list(ROWS)


def test_an_old_tree_takes_part_where_it_can(tmp_path: Path) -> None:
    options = table.parse(["--old", str(tmp_path), "--without", TUNED])
    assert table.workload_of(ROWS["8"], options).peers == (OLD, SERVER)
    assert OLD not in table.workload_of(ROWS["draft-1"], options).peers
    assert OLD not in table.workload_of(ROWS["8"], table.parse([])).peers


def test_a_row_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        table.parse(["--rows", "8,nine"])
    assert "no such row: nine" in capsys.readouterr().err


def test_an_older_tree_is_imported_instead_of_ours(tmp_path: Path) -> None:
    options = table.parse(["--old", str(tmp_path), "--llama-server", "/bin/llama-server"])
    workload = table.workload_of(ROWS["8"], options)
    ours, old, theirs, tuned = (side.command(99) for side in peers.sides(options, workload) if side.command)
    assert old[:2] == ["env", f"PYTHONPATH={tmp_path.resolve()}"] and old[2:] == ours
    assert "--kv-unified" in theirs and tuned[0] == "env" and tuned != theirs


# Values


def turn(seconds: float, drafted: int = 0, accepted: int = 0, cpu: float | None = 1.0) -> measures.Turn:
    answers = [MeasuredAnswer(0.1, 1.1, 20, 0, 11, drafted=drafted, drafts_accepted=accepted)] * 2
    return measures.Turn(LoadResult(answers, seconds, client_cpu=0.01), cpu, peak=100)


def test_values_are_kept_by_round() -> None:
    values = measures.values({"a": [turn(1), turn(2, 10, 7)], "b": [turn(4), turn(2, cpu=None)]})
    assert values[SPEED] == {"a": [22, 11], "b": [5.5, 11]}
    assert values[measures.DRAFTED_TOKENS]["a"] == [0, 20] and values[measures.ACCEPTED]["a"] == [0, 14]
    assert "server CPU per token, ms" not in values


@pytest.mark.parametrize(
    ("goal", "value", "met", "text"),
    [
        (Goal(SPEED, 1.1), 1.096, True, "≥ 1.10"),
        (Goal(SPEED, 1.1), 1.09, False, "≥ 1.10"),
        (Goal(GAP, 0.1), 0.1, True, "≤ 0.10"),
        (Goal(START, 0.35, difference=True), 0.4, False, "≤ +0.35"),
    ],
)
def test_goals(goal: Goal, value: float, met: bool, text: str) -> None:
    assert (goal.is_met(value), goal.text) == (met, text)


# Results


def test_the_table_has_each_peer_with_its_ratio_and_the_goal() -> None:
    (line,) = record.table_lines(speeds(ours=[11, 22, 33], theirs=[10, 10, 30]))
    assert line == ["8 clients, words", SPEED, SERVER, "22", "10", "1.10 (1.10–2.20)", "", "≥ 1.10", "reached"]


def test_there_is_no_ratio_to_nothing() -> None:
    (line,) = record.table_lines(speeds(ours=[11, 22, 33], theirs=[10, 0, 30]))
    assert line[3:] == ["22", "10", "", "", "", ""]


def test_no_peer_has_a_comma_in_its_name() -> None:
    """Since --without takes several."""
    assert not any("," in name for name in (*peers.PEERS, LIMIT))


def test_a_difference_is_shown_as_one() -> None:
    values = {START: {"Nitro": [1.5, 1.5], SERVER: [1.0, 1.0]}, MEMORY: {"Nitro": [300.0] * 2, SERVER: [200.0] * 2}}
    start, memory = record.table_lines(Outcome("start", "start", 1.0, values))
    assert start[3:] == ["1.5", "1", "+0.50", "", "≤ +0.35", "missed"]
    assert memory[3:] == ["300", "200", "1.50 (1.50–1.50)", "", "≤ 1.20", "missed"]


def test_acceptance_is_shown_of_all_that_draft() -> None:
    values = measures.values({"Nitro": [turn(1, 40, 10)], SERVER: [turn(1)], TUNED: [turn(1, 10, 9)]})
    lines = record.table_lines(Outcome("8", "8", 1.0, values))
    assert [line[2:5] for line in lines if line[1] == record.ACCEPTANCE] == [[TUNED, "25 % of 80", "90 % of 20"]]
    values = measures.values({"Nitro": [turn(1, 40, 10)], SERVER: [turn(1)]})
    lines = record.table_lines(Outcome("8", "8", 1.0, values))
    assert [line[2:5] for line in lines if line[1] == record.ACCEPTANCE] == [["", "25 % of 80", ""]]


def test_the_limit_is_shown_as_our_share_of_it_and_as_the_highest_ratio_to_each_peer() -> None:
    outcome = speeds(ours=[10, 11], theirs=[10, 10])
    outcome.values[rows.P90] = {"Nitro": [1, 1], SERVER: [1, 1]}
    took = [measures.Turn(LoadResult(turn(1).result.answers, seconds, 0), 0.5, None) for seconds in (22 / 12, 2)]
    kernel_limit.add(outcome.values, took)
    assert rows.P90 in outcome.values and LIMIT not in outcome.values[rows.P90]
    peer, limit = record.table_lines(outcome)
    assert peer[2:] == [SERVER, "10.5", "10", "1.05 (1.00–1.10)", "1.15 (1.10–1.20)", "≥ 1.10", "missed"]
    assert limit[2:] == [LIMIT, "10.5", "11.5", "0.92 (0.83–1.00)", "", "", ""]
    assert all(len(line) + 3 == len(record.HEADER) for line in (peer, limit))


def recorded(*runs: tuple[record.Run, list[Outcome]]) -> record.Record:
    made = record.Record()
    for run, outcomes in runs:
        made.begin(run)
        for outcome in outcomes:
            made.put(outcome)
    return made


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    failed = Outcome("long", "long", failed={"long": "died\nat once"})
    eight = speeds(ours=[1, 2, 3], theirs=[1, 1, 1])
    made = recorded((record.Run(["- a machine"], 3), [eight]), (record.Run(["- another"], 1), [failed]))
    made.write(tmp_path / "results.json")
    again = record.read(tmp_path / "results.json")
    assert again == made and again.markdown() == made.markdown()
    assert "- long, long: died at once" in made.markdown() and "2.00 (1.00–3.00)" in made.markdown()


def test_nothing_is_read_where_nothing_was_written(tmp_path: Path) -> None:
    assert record.read(tmp_path / "results.json") == record.Record()


def test_a_row_that_is_no_more_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    recorded((record.Run(["- a machine"], 3), [speeds(ours=[1], theirs=[1])])).write(file)
    file.write_text(file.read_text().replace('"name": "8"', '"name": "nine"'))
    assert not record.read(file).rows


def test_a_run_keeps_the_rows_that_it_does_not_measure() -> None:
    first = record.Run(["- a machine", "- `all rows`"], 3)
    second = record.Run(["- a machine", "- `one row`"], 2)
    eight, again = speeds(ours=[11], theirs=[10]), speeds(ours=[40], theirs=[10])
    one, talk = (dataclasses.replace(eight, name=name, title=name) for name in ("1", "talk"))
    made = recorded((first, [one, eight, talk]), (second, [again]))
    assert made.runs == [first, second]
    assert list(made.rows.items()) == [("1", (0, one)), ("8", (1, again)), ("talk", (0, talk))]
    lines = made.markdown().splitlines()
    assert lines[:3] == ["- a machine", "- run 1: `all rows`; rounds: 3", "- run 2: `one row`; rounds: 2"]
    ratios = [[cell.strip() for cell in line.split("|")][6:11:4] for line in lines if line.startswith("|")]
    assert ratios[2:] == [["1.10 (1.10–1.10)", "1"], ["4.00 (4.00–4.00)", "2"], ["1.10 (1.10–1.10)", "1"]]


def test_every_row_in_the_results_has_its_date_and_commit() -> None:
    rows = [outcome for _, outcome in record.read(record.FILE).rows.values()]
    assert rows and all(re.fullmatch(r"\d{4}-\d\d-\d\d", row.date) and row.commit for row in rows)
    line = next(
        line for line in record.read(record.FILE).markdown().splitlines() if line.startswith(f"| {rows[0].title}")
    )
    assert [cell.strip() for cell in line.split("|")[-3:-1]] == [rows[0].date, rows[0].commit]


def test_a_run_of_which_no_row_is_left_is_forgotten() -> None:
    old, kept, new = (record.Run([f"- {name}"], 1) for name in ("old", "kept", "new"))
    eight = speeds(ours=[11], theirs=[10])
    one = dataclasses.replace(eight, name="1", title="1")
    made = recorded((old, [eight]), (kept, [one]), (new, [eight]))
    assert made.runs == [kept, new]
    assert [(name, made.runs[run]) for name, (run, _) in made.rows.items()] == [("1", kept), ("8", new)]


# A whole run, with servers that compute nothing


@pytest.fixture
def llama_server(tmp_path: Path) -> Path:
    """A server with llama-server's options that computes nothing, and does not start with --no-kv-unified."""
    script = tmp_path / "llama-server"
    script.write_text(f"""#!{sys.executable}
import os, sys
if "--version" in sys.argv:
    sys.exit(print("version: 9 (abc)"))
if "--no-kv-unified" in sys.argv:
    sys.exit("cannot do that")
port = sys.argv[sys.argv.index("--port") + 1]
serve = ["-P", "-m", "nitro", "serve", "--engine", "{FAKE}", "--ctx", "4096", "--parallel", "8", "--port", port]
os.execv(sys.executable, [sys.executable, *serve])
""")
    script.chmod(0o755)
    return script


@pytest.fixture
def run(tmp_path: Path, llama_server: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    def run(*arguments: str) -> dict:
        fast.skip_server()
        file = tmp_path / "results.json"
        monkeypatch.setattr("bench.report.RESULTS", tmp_path / "results.md")
        monkeypatch.setattr("bench.report.write", lambda title, body: (tmp_path / "results.md").write_text(body))
        fake = ["--nitro-args", f"--engine {FAKE}", "--llama-server", str(llama_server), "--json", str(file)]
        monkeypatch.setattr(sys, "argv", ["bench.table", *fake, *arguments])
        table.main()
        assert (tmp_path / "results.md").read_text() == record.read(file).markdown()
        return json.loads(file.read_text())

    return run


def test_a_run_goes_on_without_a_server_that_does_not_start(
    run: Callable[..., dict], capfd: pytest.CaptureFixture[str]
) -> None:
    result = run("--rounds", "2", "--rows", "1-text,8", "--without", LIMIT)
    assert [row["name"] for row in result["rows"]] == ["1-text", "8"]
    for row in result["rows"]:
        assert row["date"] == report.today() and row["commit"] == record.commit(Path(__file__).parents[1])
        assert {name: len(values) for name, values in row["values"][SPEED].items()} == {"Nitro": 2, SERVER: 2}
        assert "cannot do that" in row["failed"][TUNED]
    assert any("llama-server: 9 (abc)" in line for line in result["runs"][0]["setting"])
    assert re.search(r"8 clients, texts|1 client, texts", capfd.readouterr().out)


class FakeKernels(kernel_limit.KernelProcess):
    """Takes a second for everything, and fails in its third round."""

    def __init__(self) -> None:
        self.asked: list[list[kernel_limit.Wave]] = []

    def compute(self, work: list[kernel_limit.Wave]) -> kernel_limit.Cost:
        self.asked.append(work)
        if len(self.asked) > 2:
            raise RuntimeError("no more")
        return kernel_limit.Cost(1.0, 2.0)


def test_the_limit_is_measured_in_each_round_and_servers_stand_without_it(
    run: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = FakeKernels()
    monkeypatch.setattr(kernel_limit, "running", lambda *_: contextlib.nullcontext(kernels))
    result = run("--rounds", "2", "--rows", "1-text,8", "--without", TUNED)
    one, eight = result["rows"]
    assert one["values"][SPEED][LIMIT] == [4 * 40] * 2 and not one["failed"]
    assert one["values"]["server CPU per token, ms"][LIMIT] == [2000 / (4 * 40)] * 2
    assert [[share.answer for share in wave] for wave in kernels.asked[0]] == [[40]] * 4
    assert all(share.prompt > 0 for work in kernels.asked for wave in work for share in wave)
    assert eight["failed"] == {LIMIT: "RuntimeError: no more"} and len(eight["values"][SPEED][SERVER]) == 2


def test_a_row_that_fails_says_why_and_the_others_go_on(
    run: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(options: object) -> rows.Values:
        raise OSError("no such thing")

    broken = dataclasses.replace(WORKLOADS["long"], flags=("--no-such-flag",))
    monkeypatch.setitem(ROWS, "long", dataclasses.replace(ROWS["long"], work=broken))
    monkeypatch.setitem(ROWS, "start", dataclasses.replace(ROWS["start"], work=fails))
    result = run("--rounds", "1", "--rows", "1-text,long,start", "--without", f"{TUNED},{LIMIT}")
    first, long, start = result["rows"]
    assert first["values"] and not first["failed"]
    assert "no-such-flag" in long["failed"][long["title"]] and not long["values"]
    assert start["failed"] == {start["title"]: "OSError: no such thing"}


def test_a_table_is_measured_in_several_runs(run: Callable[..., dict]) -> None:
    run("--rounds", "1", "--rows", "1-text,8", "--without", f"{TUNED},{LIMIT}")
    before = run("--rounds", "1", "--rows", "8", "--without", f"{TUNED},{LIMIT}")
    assert [(row["name"], row["run"]) for row in before["rows"]] == [("1-text", 0), ("8", 1)]
    after = run("--rounds", "2", "--rows", "8", "--without", f"{TUNED},{LIMIT}")
    assert [run["rounds"] for run in after["runs"]] == [1, 2]
    assert after["rows"][0] == before["rows"][0] and after["runs"][0] == before["runs"][0]
    assert "--rows 8" in " ".join(after["runs"][1]["setting"])
