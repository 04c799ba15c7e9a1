"""The findings of a section: figures with their bounds, which are written to soak/results.md.

Figures that belong to a row of `goals` stand in bench/results.md as well. What all sections found is kept in
soak/results.json, so that a run of one section leaves the others' rows as they are.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from bench import report as tables
from soak.goals import GOALS

RESULTS = Path(__file__).with_name("results.md")
KEPT = Path(__file__).with_name("results.json")
SUMMARY = "Under attack"  # the section of bench/results.md
PEER = "llama-server"
TITLE = "# Results of `make soak`\n\nEach section is written by the command it names."
MAX_KINDS = 40  # kinds of faults that are listed


@dataclass(frozen=True)
class Figure:
    """One measured value. `held`: it keeps its bound. `peer`: llama-server's in the same run. `goal`: the row of
    `goals` that it belongs to."""

    what: str
    value: str
    bound: str = ""
    held: bool = True
    peer: str = ""
    goal: str = ""

    @classmethod
    def at_most(cls, what: str, value: float, bound: float, unit: str = "") -> "Figure":
        """A value with an upper bound."""
        return cls(what, f"{value:.4g}{unit}", f"≤ {bound:g}{unit}", value <= bound)

    @classmethod
    def at_least(cls, what: str, value: float, bound: float, unit: str = "") -> "Figure":
        """A value with a lower bound."""
        return cls(what, f"{value:.4g}{unit}", f"≥ {bound:g}{unit}", value >= bound)

    @classmethod
    def yes(cls, what: str, value: bool) -> "Figure":
        """What has to be so."""
        return cls(what, "yes" if value else "no", "yes", value)

    @classmethod
    def none(cls, what: str, value: int) -> "Figure":
        """A count that has to be 0."""
        return cls.at_most(what, value, 0)

    def of(self, goal: str) -> "Figure":
        """The same, as one that a row of `goals` asks for."""
        assert goal in GOALS
        return replace(self, goal=goal)

    def beside(self, peer: str) -> "Figure":
        """The same, with llama-server's value."""
        return replace(self, peer=peer)

    @property
    def verdict(self) -> str:
        """Whether it keeps its bound, in a word."""
        return ("yes" if self.held else "**no**") if self.bound else ""

    def cells(self, peer: bool) -> list[str]:
        """The cells of the table's row."""
        return [self.what, self.value, *([self.peer] if peer else []), self.bound, self.verdict]


@dataclass
class Findings:
    """The findings of one section. `faults`: how often each kind of fault occurred."""

    title: str
    how: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def held(self) -> bool:
        """Do all figures keep their bounds?"""
        return all(figure.held for figure in self.figures)

    def text(self) -> str:
        """The section as Markdown."""
        peer = any(figure.peer for figure in self.figures)
        columns = ["what", "figure", *([PEER] if peer else []), "bound", "held"]
        parts = [self.how, tables.table(columns, [figure.cells(peer) for figure in self.figures])]
        if self.faults:
            kinds = [f"- {count} × {kind}" for kind, count in self.faults.most_common(MAX_KINDS)]
            if len(self.faults) > MAX_KINDS:
                kinds.append(f"- and {len(self.faults) - MAX_KINDS} kinds more")
            parts.append("What did not hold:\n\n" + "\n".join(kinds))
        return "\n\n".join([*parts, *self.tables])


class Kept(msgspec.Struct, frozen=True):
    """What a section found when it was last run. `setting`: date, machine, versions and command."""

    setting: str
    figures: list[Figure]


def write(findings: Findings, file: Path = RESULTS, kept: Path = KEPT, summary: Path = tables.RESULTS) -> None:
    """Write the section into the first file, which is made unless it exists, and its figures into the others."""
    if not file.exists():
        file.write_text(TITLE)
    setting = tables.setting("soak")
    tables.write(findings.title, f"{setting}\n\n{findings.text()}", file)
    sections = msgspec.json.decode(kept.read_bytes(), type=dict[str, Kept]) if kept.exists() else {}
    sections[findings.title] = Kept(setting, findings.figures)
    kept.write_bytes(msgspec.json.format(msgspec.json.encode(sections), indent=1) + b"\n")
    if any(figure.goal for figure in findings.figures):
        tables.write(SUMMARY, summarized(sections), summary)


def summarized(sections: dict[str, Kept]) -> str:
    """The goals, each with what was measured, and where."""
    rows: list[list[str]] = []
    settings: list[str] = []
    for goal, (what, wanted) in GOALS.items():
        about = [what, wanted]
        for title, section in sections.items():
            found = [figure for figure in section.figures if figure.goal == goal]
            for figure in found:
                rows.append([*about, *figure.cells(peer=True)])
                about = ["", ""]
            if found:
                settings.append(f"{title}:\n\n{section.setting}")
    columns = ["what", "goal", "figure", "measured", PEER, "bound", "held"]
    intro = "`make soak`, whose sections with all their figures are in soak/results.md."
    return "\n\n".join([intro, tables.table(columns, rows), *dict.fromkeys(settings)])


def broken(all_findings: Iterable[Findings]) -> list[str]:
    """The figures that break their bounds, one line each."""
    return [
        f"{found.title}: {f.what}: {f.value}, {f.bound}" for found in all_findings for f in found.figures if not f.held
    ]
