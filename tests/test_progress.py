"""What conversions and comparisons say while they take their time: bars on a terminal, elsewhere lines."""

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from tiny_models import write_gguf

from nitro.cli.main import main
from nitro.convert import progress


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    shown = io.StringIO()
    return Console(file=shown, force_terminal=terminal, width=100), shown


def test_a_step_of_unknown_length_says_that_it_goes_on() -> None:
    lines: list[str] = []
    times = iter([0.0, 1.0, 29.0, 30.0, 31.0, 59.0, 61.0, 200.0])
    with progress.working("computing", lines.append, console(False)[0], lambda: next(times)) as tick:
        for _ in range(7):
            tick()
    assert lines == [
        "computing",
        "computing: 30 s so far",
        "computing: 61 s so far",
        "computing: 200 s so far",
    ]


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, ["comparing: 0"]),
        (1, ["comparing: 1"]),
        (3, ["comparing: 3", "comparing: 2 of 3", "comparing: 3 of 3"][:2]),
        (8, ["comparing: 8", "comparing: 2 of 8", "comparing: 4 of 8", "comparing: 6 of 8"]),
        (1000, ["comparing: 1000", *(f"comparing: {n} of 1000" for n in (250, 500, 750))]),
    ],
)
def test_many_items_are_counted(count: int, said: list[str]) -> None:
    lines: list[str] = []
    items = [str(number) for number in range(count)]
    assert list(progress.each("comparing", items, lines.append, console(False)[0])) == items
    assert lines[0] == said[0] and set(said) <= {*lines} and len(lines) <= 1 + progress.PARTS


def test_a_terminal_shows_bars_and_no_lines() -> None:
    lines: list[str] = []
    terminal, shown = console(True)
    assert list(progress.each("comparing", ["a", "b"], lines.append, terminal)) == ["a", "b"]
    with progress.working("computing", lines.append, terminal) as tick:
        tick()
    assert not lines and "comparing" in shown.getvalue() and "2/2" in shown.getvalue()
    assert "computing" in shown.getvalue()


def test_verify_says_what_it_does(tmp_path: Path) -> None:
    one, other = write_gguf(tmp_path / "one.gguf"), write_gguf(tmp_path / "a-long-name-of-another-file-by-far.gguf")
    done = CliRunner().invoke(main, ["verify", str(one), str(other), "--positions", "64"])
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert lines[:3] == [
        "nitro: computing 64 positions of one.gguf with llama-cpp-python",
        "nitro: computing 64 positions of a-long-name-of-another-file-by-far.gguf with llama-cpp-python",
        "nitro: comparing matrices: 16",
    ]
    assert lines[-1] == "nitro: comparing what both have computed"
