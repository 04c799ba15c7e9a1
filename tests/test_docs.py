"""The documentation beside what it describes: links, flags, and the files that `make docs` writes."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import click
import pytest

from bench import limits
from nitro.cli.main import main
from nitro.gguf.architectures import FAMILIES
from scripts import architectures, bench_chart

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("bench/*.md"),
        *ROOT.glob("soak/*.md"),
    ]
)
TOP = (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
FOR_USERS = [page for page in PAGES if page in TOP or page.is_relative_to(ROOT / "docs")]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
COMMANDS = tuple(main.commands)
COMMAND = re.compile(rf"(?:^|/|`)nitro ({'|'.join(COMMANDS)})\b([^`\n]*)|make serve ARGS=\"([^\"]*)\"", re.M)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def flags(command: str) -> frozenset[str]:
    """The options that `nitro COMMAND --help` lists; of a group, those of its commands."""
    run = [sys.executable, "-m", "nitro", *command.split(), "--help"]
    shown = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    group = main.commands.get(command)
    inner = [f"{command} {name}" for name in group.commands] if isinstance(group, click.Group) else []
    own = frozenset(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE)) | {"--help"}
    return own.union(*map(flags, inner))


def anchors(page: Path) -> set[str]:
    """The names that a link to a heading of the page may use, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        link = match[1] or match[2]
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} leads nowhere"
        assert not heading or heading in anchors(target), f"{link}: no such heading"


def test_every_page_can_be_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    missing = [
        page.name for page in ROOT.glob("docs/*.md") if page.name != "README.md" and f"({page.name}" not in index
    ]
    assert not missing


@pytest.mark.parametrize("page", FOR_USERS, ids=named)
def test_every_flag_that_is_named_exists(page: Path) -> None:
    """In a command the flags of that command, and in the text those of any."""
    text = page.read_text(encoding="utf-8")
    for match in COMMAND.finditer(text):
        command = match[1] or "serve"
        unknown = set(FLAG.findall((match[2] or match[3] or "").partition("#")[0])) - flags(command)
        assert not unknown, f"nitro {command} has no {unknown}"
    shown = {flag for span in re.findall(r"`(--[^`]*)`", text) for flag in FLAG.findall(span)}
    assert shown <= frozenset[str]().union(*map(flags, COMMANDS))


def test_every_flag_of_serve_is_described() -> None:
    described = set(re.findall(r"`(--[a-z-]+)", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")))
    assert flags("serve") - {"--help"} <= described


def test_the_architectures_are_those_that_were_recorded() -> None:
    """`make docs` writes the page. Every architecture that MLX opens is on it, and was found to be the same model."""
    page = architectures.FILE.read_text(encoding="utf-8")
    assert page == architectures.text()
    assert not [name for name in FAMILIES if f"`{name}`" not in page]
    for name, found in json.loads(architectures.RECORDED.read_text(encoding="utf-8")).items():
        most = limits.of_family(found["architecture"]).nats
        assert found["llama.cpp"] < most, name
        assert isinstance(found["mlx"], str) or found["mlx"] < most, name


def test_the_chart_shows_the_results() -> None:
    """`make docs` draws it."""
    results = bench_chart.measured()
    assert len(results.values) > 3 and all(len(measures) == 2 for measures in results.values.values())
    assert bench_chart.FILE.read_text(encoding="utf-8") == bench_chart.draw(results)


def test_the_chart_says_where_its_rows_were_measured() -> None:
    """Not where a later run measured others."""
    runs = [{"setting": [f"- {name}", "- libraries", "- command", "- model"], "rounds": 1} for name in ("one", "other")]
    measured = {panel.measure: {server: [1.0] for server in bench_chart.SERVERS} for panel in bench_chart.PANELS}
    rows = [{"run": 0, "title": "8 clients", "values": measured}, {"run": 1, "title": "start", "values": {}}]
    results = bench_chart.from_record(json.dumps({"runs": runs, "rows": rows}))
    assert results.conditions == ("one", "model; libraries") and list(results.values) == ["8 clients"]
