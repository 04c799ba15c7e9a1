"""Writes bench/results.md: Markdown tables, sections that replace their predecessors, and the machine measured on."""

import datetime
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).with_name("results.md")
TITLE = "# Results\n\nEach section is written by the command it names. Compare numbers within a section only."
GIB = 2**30


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up in the source; all but the first two are right-aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "| " + " | ".join("-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)) + " |"
    return "\n".join([line(header), rule, *map(line, rows)])


def with_section(text: str, title: str, body: str) -> str:
    """Replace the section of this title, or append it; the others stay as they are."""
    section = f"## {title}\n\n{body.strip()}\n"
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    if not found:
        return f"{text.rstrip()}\n\n{section}"
    before = text[: found.start()]
    after = text[found.end() :]
    return before + section + ("\n" + after if after else "")


def write(title: str, body: str, file: Path = RESULTS) -> None:
    """Write a section into the file, which is made unless it exists."""
    text = file.read_text() if file.exists() else TITLE
    file.write_text(with_section(text, title, body))


def setting(module: str) -> str:
    """Date, machine, versions, and the command. Paths are cut to their last part."""
    command = shlex.join(["python", "-m", module, *(_short(argument) for argument in sys.argv[1:])])
    libraries = [f"{name} {version(name)}" for name in ("nitro", "llama-cpp-python")]
    return "\n".join(
        [
            f"- {today()}; {machine()}",
            f"- {', '.join([*libraries, f'Python {platform.python_version()}'])}",
            f"- `{command}`",
        ]
    )


def today() -> str:
    """The date, in UTC, as in "2026-11-28"."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"


def machine() -> str:
    """CPU, cores, memory and system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return f"{_cpu()}, {cores} cores, {memory:.0f} GiB; {platform.system()} {platform.machine()}"


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or "unknown CPU"


def version(package: str) -> str:
    """What is installed of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _short(argument: str) -> str:
    name, equals, value = argument.rpartition("=")
    return name + equals + (Path(value).name if "/" in value else value)
