"""Tokens/s and time to the first token against numbers of clients: `nitro bench --plot`, and what `make docs` draws."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from running import RunningServer

from bench.rows import FIRST, ROWS, SPEED
from bench.workloads import SERVER, SWEEP, TUNED
from nitro.bench import line_chart, sweep
from nitro.bench.line_chart import Panel
from nitro.cli.main import main
from scripts import clients_chart

SVG = "{http://www.w3.org/2000/svg}"


def points(svg: str, server: int) -> list[list[tuple[float, float]]]:
    """The lines of a server, without the one in the legend."""
    lines = ElementTree.fromstring(svg).iter(f"{SVG}polyline")
    found = [line.attrib["points"] for line in lines if line.attrib["class"] == f"s{server} line"]
    return [[tuple(map(float, point.split(","))) for point in line.split()] for line in found[1:]]


def texts(svg: str) -> list[str]:
    return [str(element.text) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


# Lines


def test_a_line_goes_where_its_values_are() -> None:
    lines = {"one": {1: 0.0, 2: 50.0, 4: 100.0}, "other & more": {1: 100.0, 4: 0.0}}
    svg = line_chart.draw("speed", [Panel("tokens/s", lines)], ["a note"])
    (one,), (other,) = points(svg, 0), points(svg, 1)
    bottom, top = line_chart.TOP + line_chart.TALL, line_chart.TOP
    assert one == [(62.0, bottom), (62.0 + line_chart.PLOT / 2, (bottom + top) / 2), (62.0 + line_chart.PLOT, top)]
    assert other == [(one[0][0], top), (one[2][0], bottom)]
    assert {"one", "other & more", "tokens/s", "a note", "clients", "1", "2", "4", "0", "100"} <= set(texts(svg))


def test_equal_factors_are_equal_steps_where_they_are_to_be() -> None:
    svg = line_chart.draw("", [Panel("", {"one": {1: 1.0, 2: 10.0, 4: 100.0}}, powers=True)])
    (((_, first), (_, second), (_, third)),) = points(svg, 0)
    assert first - second == pytest.approx(second - third, abs=0.2) and second > third


def test_a_picture_is_for_light_and_dark_and_runs_nothing() -> None:
    svg = line_chart.draw("", [Panel("", {name: {1: 1.0} for name in "abcde"})])
    assert "@media (prefers-color-scheme: dark)" in svg
    for index in range(5):
        assert len(re.findall(rf" \.s{index} {{ stroke: #", svg)) == 2, "a colour for each"
    assert not re.search(r"<script|href|url\(|@import|onload", svg)


@pytest.mark.parametrize(
    ("highest", "marks"),
    [
        (3, [0, 0.5, 1, 1.5, 2, 2.5, 3]),
        (10, [0, 2, 4, 6, 8, 10]),
        (61, [0, 20, 40, 60, 80]),
        (200, [0, 50, 100, 150, 200]),
        (0, [0, 0.2]),
    ],
)
def test_round_numbers(highest: float, marks: list[float]) -> None:
    assert line_chart.steps(highest) == pytest.approx(marks)


@pytest.mark.parametrize(
    ("lowest", "highest", "marks"),
    [
        (170, 6000, [100, 200, 500, 1000, 2000, 5000, 10000]),
        (1, 1, [1, 2]),
        (0.3, 17, [0.2, 0.5, 1, 2, 5, 10, 20]),
        (5, 10, [5, 10]),
    ],
)
def test_round_powers(lowest: float, highest: float, marks: list[float]) -> None:
    assert line_chart.powers(lowest, highest) == pytest.approx(marks)


# nitro bench --plot


def plot(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", *arguments, "--tokens", "4"], env={"COLUMNS": "200"})


def test_the_numbers_of_clients() -> None:
    assert sweep.numbers(32) == [1, 2, 4, 8, 16, 32] == list(SWEEP)
    assert sweep.numbers(1) == [1] and sweep.numbers(6) == [1, 2, 4, 6]
    assert [sweep.requests(number) for number in (1, 3, 8, 32)] == [8, 2, 1, 1]


def test_a_server_is_drawn(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    server = serve(context=16384)
    file = tmp_path / "speed.svg"
    result = plot(server.url, "--clients", "3", "--plot", str(file))
    assert result.exit_code == 0, result.output
    rows = re.findall(r"^│ *(\d+) *│ *([\d.,]+) *│ *([\d.,]+) *│$", result.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2", "3"]
    speed, first = points(file.read_text(encoding="utf-8"), 0)
    assert len(speed) == len(first) == 3
    told = [float(row[1].replace(",", "")) for row in rows]
    heights = [height for _, height in speed]
    assert (told[0] > told[2]) == (heights[0] < heights[2])
    assert server.url.removeprefix("http://") in texts(file.read_text(encoding="utf-8"))


def test_two_servers_are_drawn(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    url = serve(context=16384).url
    file = tmp_path / "speed.svg"
    result = plot(url, "--compare", url, "--clients", "2", "--plot", str(file))
    assert result.exit_code == 0, result.output
    name = url.removeprefix("http://")
    assert {f"first: {name}", f"second: {name}"} <= set(texts(file.read_text(encoding="utf-8")))
    assert len(points(file.read_text(encoding="utf-8"), 1)) == 2
    assert result.stdout.count(f"second: {name}") == 2


def test_a_place_that_is_none_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    result = plot("http://127.0.0.1:1", "--plot", str(tmp_path / "nowhere/speed.svg"))
    assert result.exit_code == 1 and "there is no such folder" in result.stderr


# What `make docs` draws


def record(**changes: object) -> str:
    """As bench.table writes it, where our server does n tokens/s with n clients, and the other twice as many."""

    def row(number: int) -> dict:
        factors = {"Nitro": 1.0, SERVER: 2.0, TUNED: 3.0}
        values = {
            SPEED: {name: [number * factor] * 3 for name, factor in factors.items()},
            FIRST: {name: [1000 * number * factor, 1.0, 10**6] for name, factor in factors.items()},
        }
        return {
            "run": 0,
            "name": f"clients-{number}",
            "date": "2026-11-28",
            "commit": "abc",
            "values": values,
            **changes,
        }

    runs = [{"setting": ["- 2026-11-28; a machine", "- libraries", "- `command`", "- Nitro: abc", "- a model"]}]
    return json.dumps({"runs": runs, "rows": [row(number) for number in SWEEP]})


def test_the_rows_are_measured_by_make_bench() -> None:
    assert set(clients_chart.ROWS) <= {name for name, row in ROWS.items() if not row.extra}


def test_picture_and_table_have_the_medians_of_the_record() -> None:
    results = clients_chart.measured(record())
    assert results and results.values[SPEED] == {
        name: {number: number * factor for number in SWEEP}
        for name, factor in (("Nitro", 1.0), (SERVER, 2.0), (TUNED, 3.0))
    }
    assert results.values[FIRST]["Nitro"][8] == 8000
    assert results.notes == ("2026-11-28; a machine", "a model; libraries; commit abc; medians of 3 rounds")
    lines = clients_chart.table(results).splitlines()
    assert [cell.strip() for cell in lines[5].split("|")[1:-1]] == ["8", "8", "16", "24", "8,000", "16,000", "24,000"]
    assert {"Nitro", SERVER, TUNED, *results.notes} <= set(texts(clients_chart.draw(results)))


def test_nothing_is_shown_where_a_row_is_missing() -> None:
    content = json.loads(record())
    del content["rows"][2]
    assert clients_chart.measured(json.dumps(content)) is None


def test_a_server_that_failed_somewhere_is_left_out() -> None:
    content = json.loads(record())
    for of in content["rows"][0]["values"].values():
        del of[TUNED]
    results = clients_chart.measured(json.dumps(content))
    assert results and list(results.values[SPEED]) == ["Nitro", SERVER]


def test_the_page_keeps_what_is_around_the_table() -> None:
    begin, end = clients_chart.BEGIN, clients_chart.END
    page = f"# Speed\n\n{begin}\nold\n{end}\n\nmore\n"
    once = clients_chart.in_page(page, "new")
    assert once == f"# Speed\n\n{begin}\n\nnew\n\n{end}\n\nmore\n" == clients_chart.in_page(once, "new")
    with pytest.raises(ValueError, match="has no"):
        clients_chart.in_page("# Speed", "new")


def test_the_pages_show_the_results() -> None:
    """`make docs` writes them."""
    results = clients_chart.newest()
    for page, content in clients_chart.contents(results).items():
        text = page.read_text(encoding="utf-8")
        assert text == clients_chart.in_page(text, content), f"{page.name}: make docs"
    file = clients_chart.FILE
    assert (file.read_text(encoding="utf-8") if file.exists() else None) == (
        clients_chart.draw(results) if results else None
    )


def test_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs").mkdir()
    pages = {"README": tmp_path / "README.md", "PAGE": tmp_path / "docs/speed.md"}
    for name, page in pages.items():
        page.write_text(f"# {name}\n\n{clients_chart.BEGIN}\n{clients_chart.END}\n")
        monkeypatch.setattr(clients_chart, name, page)
    before = {page: page.read_text() for page in pages.values()}
    monkeypatch.setattr(clients_chart, "ROOT", tmp_path)
    monkeypatch.setattr(clients_chart, "FILE", tmp_path / "docs/bench-clients.svg")
    monkeypatch.setattr(clients_chart, "RECORD", tmp_path / "results.json")
    clients_chart.RECORD.write_text(record())
    clients_chart.main()
    assert f"{clients_chart.PICTURE}(docs/bench-clients.svg)" in pages["README"].read_text()
    assert f"{clients_chart.PICTURE}(bench-clients.svg)\n\n| clients |" in pages["PAGE"].read_text()
    assert "Nitro" in texts(clients_chart.FILE.read_text()) and not capsys.readouterr().out
    clients_chart.RECORD.write_text(json.dumps({"runs": [], "rows": []}))
    clients_chart.main()
    assert {page: page.read_text() for page in pages.values()} == before and not clients_chart.FILE.exists()
    assert "bench.table --rows clients-1," in capsys.readouterr().out
