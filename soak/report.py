"""The findings of a section: figures with their bounds, which are written to soak/results.md."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench import report as tables

RESULTS = Path(__file__).with_name("results.md")
TITLE = "# Results of `make soak`\n\nEach section is written by the command it names."
MAX_KINDS = 40  # kinds of faults that are listed


@dataclass(frozen=True)
class Figure:
    """One measured value. `held`: it keeps its bound."""

    what: str
    value: str
    bound: str = ""
    held: bool = True

    @classmethod
    def at_most(cls, what: str, value: float, bound: float, unit: str = "") -> "Figure":
        """A value with an upper bound."""
        return cls(what, f"{value:.4g}{unit}", f"≤ {bound:g}{unit}", value <= bound)

    @classmethod
    def none(cls, what: str, value: int) -> "Figure":
        """A count that has to be 0."""
        return cls.at_most(what, value, 0)

    @property
    def cells(self) -> list[str]:
        """The cells of the table's row."""
        return [self.what, self.value, self.bound, ("yes" if self.held else "**no**") if self.bound else ""]


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
        parts = [self.how, tables.table(["what", "figure", "bound", "held"], [f.cells for f in self.figures])]
        if self.faults:
            kinds = [f"- {count} × {kind}" for kind, count in self.faults.most_common(MAX_KINDS)]
            if len(self.faults) > MAX_KINDS:
                kinds.append(f"- and {len(self.faults) - MAX_KINDS} kinds more")
            parts.append("What did not hold:\n\n" + "\n".join(kinds))
        return "\n\n".join([*parts, *self.tables])


def write(findings: Findings, file: Path = RESULTS) -> None:
    """Write the section into the file, which is made unless it exists."""
    if not file.exists():
        file.write_text(TITLE)
    tables.write(findings.title, f"{tables.setting('soak')}\n\n{findings.text()}", file)


def broken(all_findings: Iterable[Findings]) -> list[str]:
    """The figures that break their bounds, one line each."""
    return [
        f"{found.title}: {f.what}: {f.value}, {f.bound}" for found in all_findings for f in found.figures if not f.held
    ]
