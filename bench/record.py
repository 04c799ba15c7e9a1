"""What bench.table measured: written as JSON with every value, and from that as Markdown.

A table may be measured in several runs. A run replaces the rows that it measured, and keeps the others with what is
known of the run that they are from.
"""

import json
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import report
from bench.kernel_limit import LIMIT
from bench.measures import ACCEPTED, DRAFTED_TOKENS
from bench.peers import OURS
from bench.rows import ROWS, SPEED, Goal, Outcome
from nitro.bench.stats import Ratio

FILE = Path(__file__).with_name("results.json")
ACCEPTANCE = "drafted tokens accepted"
HEADER = ["workload", "metric", "beside", OURS, "the other", "ratio", "limit", "to reach", "", "run", "date", "commit"]
READING = """\
Ratios are Nitro ÷ the other within a round: median (lowest–highest); for tokens/s and frames/s higher is better, for
the rest lower. In every round each server gets the same new prompts and seeds, one server after another, and the next
round goes in reverse order. tokens/s counts the tokens of all clients over the whole time, prompts included. "words":
random words, greedy; "texts": requests as people write them, of several kinds, sampled with seeds. Compare figures
within a run only: from one to the next the machine may have become faster or slower.

"llama_decode alone" computes in the same round what our server had computed, with as many tokens cached, in the best
order and with nothing around it (bench/kernel_limit.py). "limit" is its tokens/s ÷ the other's: what a server could
reach that had no work of its own and no drafts. It is as noisy as a server's figures, so read it over several rounds;
where the other had more tokens cached, its work was less."""


@dataclass
class Run:
    """What rows were measured with. `setting`: lines about date, machine, versions and command."""

    setting: list[str]
    rounds: int

    @property
    def lines(self) -> list[str]:
        """As in the table's list."""
        return [*self.setting, f"- rounds: {self.rounds}"]


@dataclass
class Record:
    """Every row as it was measured last. `rows`: by name, the index of the run, and the outcome."""

    runs: list[Run] = field(default_factory=list)
    rows: dict[str, tuple[int, Outcome]] = field(default_factory=dict)

    def begin(self, run: Run) -> None:
        """The rows that are put from now on are of this run."""
        self.runs.append(run)

    def put(self, outcome: Outcome) -> None:
        """Add a row of the last run, or replace it. Runs of which no row is left are forgotten."""
        rows = {**self.rows, outcome.name: (len(self.runs) - 1, outcome)}
        used = sorted({run for run, _ in rows.values()})
        self.runs = [self.runs[run] for run in used]
        self.rows = {name: (used.index(rows[name][0]), rows[name][1]) for name in ROWS if name in rows}

    def write(self, file: Path) -> None:
        """Write everything as JSON."""
        rows = [{"run": run, **asdict(outcome)} for run, outcome in self.rows.values()]
        content = {"runs": [asdict(run) for run in self.runs], "rows": rows}
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def markdown(self) -> str:
        """The section of bench/results.md."""
        lines = [
            [*line, str(run + 1), outcome.date, outcome.commit]
            for run, outcome in self.rows.values()
            for line in table_lines(outcome)
        ]
        failures = _failures([outcome for _, outcome in self.rows.values()])
        return f"{_settings(self.runs)}\n\n{READING}\n\n{report.table(HEADER, lines)}{failures}"


def read(file: Path) -> Record:
    """What `Record.write` wrote, but for rows that are there no more; nothing where there is no file."""
    if not file.exists():
        return Record()
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    rows = {row["name"]: (row.pop("run"), Outcome(**row)) for row in content["rows"] if row["name"] in ROWS}
    return Record([Run(**run) for run in content["runs"]], rows)


def _settings(runs: list[Run]) -> str:
    """What is the same of all runs, and then what is each one's own."""
    of_all = [line for line in runs[0].lines if all(line in run.lines for run in runs)]
    own = {n: [line.removeprefix("- ") for line in run.lines if line not in of_all] for n, run in enumerate(runs, 1)}
    return "\n".join([*of_all, *(f"- run {number}: {'; '.join(lines)}" for number, lines in own.items() if lines)])


def table_lines(outcome: Outcome) -> list[list[str]]:
    """A row's lines in the table: of each shown metric one line for each other server."""
    row = ROWS[outcome.name]
    lines = []
    for metric in row.shown:
        ours, *others = _by_side(outcome, metric)
        for name, values in others:
            goal = next((goal for goal in row.goals if goal.metric == metric and name in goal.peers), None)
            compared = _cells(ours[1], values, goal)
            lines.append([outcome.title, metric, name, *compared[:3], _limit(outcome, metric, name), *compared[3:]])
    drafted, accepted = (outcome.values.get(metric, {}) for metric in (DRAFTED_TOKENS, ACCEPTED))
    shares = {name: share for name in drafted if (share := _share(sum(accepted[name]), sum(drafted[name])))}
    ours_share = shares.pop(OURS, "none")
    for name, share in shares.items() or ({"": ""}.items() if ours_share != "none" else ()):
        lines.append([outcome.title, ACCEPTANCE, name, ours_share, share, "", "", "", ""])
    return lines


def _by_side(outcome: Outcome, metric: str) -> list[tuple[str, list[float]]]:
    """Ours first. One empty series where nothing was measured."""
    by_side = outcome.values.get(metric, {})
    return [(OURS, by_side.get(OURS, [])), *((name, values) for name, values in by_side.items() if name != OURS)]


def _cells(ours: list[float], theirs: list[float], goal: Goal | None) -> list[str]:
    shown = [f"{statistics.median(values):.4g}" for values in (ours, theirs)]
    if not all(theirs):
        return [*shown, "", "", ""]  # no ratio to nothing
    ratio = Ratio.of(ours, theirs)
    if goal is None:
        return [*shown, str(ratio), "", ""]
    value = statistics.median(ours) - statistics.median(theirs) if goal.difference else ratio.median
    compared = f"{value:+.2f}" if goal.difference else str(ratio)
    return [*shown, compared, goal.text, "reached" if goal.is_met(value) else "missed"]


def _limit(outcome: Outcome, metric: str, other: str) -> str:
    """llama_decode alone ÷ another server; empty where it was not measured."""
    by_side = outcome.values.get(metric, {})
    if metric != SPEED or other == LIMIT or LIMIT not in by_side or not all(by_side[other]):
        return ""
    return str(Ratio.of(by_side[LIMIT], by_side[other]))


def _share(accepted: float, drafted: float) -> str:
    return f"{100 * accepted / drafted:.0f} % of {drafted:.0f}" if drafted else ""


def _failures(outcomes: list[Outcome]) -> str:
    lines = [f"- {o.title}, {who}: {' '.join(why.split())}" for o in outcomes for who, why in o.failed.items()]
    return "\n\nNot measured:\n\n" + "\n".join(lines) if lines else ""


def versions(llama_server: Path, old: Path | None) -> list[str]:
    """Lines about what is measured: llama-server's version, and the commits of the source trees."""
    said = subprocess.run([llama_server, "--version"], capture_output=True, text=True, check=False)
    first = next(iter((said.stdout + said.stderr).splitlines()), "unknown")
    lines = [f"- llama-server: {first.removeprefix('version: ')}", f"- Nitro: {commit(Path(__file__).parents[1])}"]
    return [*lines, f"- Nitro before: {commit(old)}"] if old else lines


def commit(tree: Path) -> str:
    """The commit of a source tree, or that it has none."""
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        said = ""
    return said or "no commit"
