"""What a section found: figures, each with the bound that it has to hold; soak/results.md, where they are written."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench import report as tables

RESULTS = Path(__file__).with_name("results.md")
TITLE = "# Results of `make soak`\n\nEach section is written by the command it names."
MOST_KINDS = 40  # kinds of faults that are listed


@dataclass(frozen=True)
class Figure:
    what: str
    value: str
    bound: str = ""
    held: bool = True

    @classmethod
    def at_most(cls, what: str, value: float, bound: float, unit: str = "") -> "Figure":
        return cls(what, f"{value:.4g}{unit}", f"≤ {bound:g}{unit}", value <= bound)

    @classmethod
    def none(cls, what: str, value: int) -> "Figure":
        return cls.at_most(what, value, 0)

    @property
    def cells(self) -> list[str]:
        return [self.what, self.value, self.bound, ("yes" if self.held else "**no**") if self.bound else ""]


@dataclass
class Findings:
    """Of one section. `faults`: what went wrong, by kind."""

    title: str
    how: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def held(self) -> bool:
        return all(figure.held for figure in self.figures)

    def text(self) -> str:
        parts = [self.how, tables.table(["what", "figure", "bound", "held"], [f.cells for f in self.figures])]
        if self.faults:
            kinds = [f"- {count} × {kind}" for kind, count in self.faults.most_common(MOST_KINDS)]
            if len(self.faults) > MOST_KINDS:
                kinds.append(f"- and {len(self.faults) - MOST_KINDS} kinds more")
            parts.append("What did not hold:\n\n" + "\n".join(kinds))
        return "\n\n".join([*parts, *self.tables])


def write(findings: Findings, file: Path = RESULTS) -> None:
    if not file.exists():
        file.write_text(TITLE)
    tables.write(findings.title, f"{tables.setting('soak')}\n\n{findings.text()}", file)


def broken(all_findings: Iterable[Findings]) -> list[str]:
    """The figures that do not hold, a line each."""
    return [
        f"{found.title}: {f.what}: {f.value}, {f.bound}" for found in all_findings for f in found.figures if not f.held
    ]
