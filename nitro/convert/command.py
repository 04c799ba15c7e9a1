"""`nitro convert` and `nitro verify`: from flags to a plan, and from a proof to lines."""

from pathlib import Path
from typing import Any

from rich.console import Console

from nitro.convert import checkpoint, output, progress, routes, verify
from nitro.convert.comparison import Cosines, Proof, Scores
from nitro.convert.plan import Plan, default_target
from nitro.models.conversion_report import beside


def convert(source: Path, to: str, target: Path | None, type: str | None, **options: Any) -> None:
    """Raises ConvertError."""
    type = type.upper() if type else None
    with checkpoint.understood(source):
        model = checkpoint.read(source)
    target = target or default_target(source, to, type, options.get("bits"))
    output.clear(target)
    plan = Plan(model, to, target.absolute(), type, **options)
    found = routes.convert(plan, progress.say)
    tell(found)
    served = to != "hf" and not plan.source.is_encoder
    progress.say(f"made {target}; try: nitro serve {target}" if served else f"made {target}")


def compare(reference: Path, model: Path, original: Path | None, positions: int) -> bool:
    """Whether the model is the reference, or with an `original`, whether both are that. Raises ConvertError."""
    pairs = [(reference, model)] if original is None else [(original, reference), (original, model)]
    passed = True
    for one, other in pairs:
        found = verify.verify(one, other, positions, progress.say)
        tell(found, f"{other} beside {one}")
        passed = passed and found.passed
        try:
            verify.write(other, found)
        except OSError as error:
            progress.say(f"the proof cannot be written to {beside(other)}: {error.strerror}")
    return passed


def tell(found: Proof, title: str = "") -> None:
    lines = {
        "weights": f"{found.reference_type} → {found.type}",
        "token ids": found.token_ids,
        "vocabulary": found.vocabulary,
        "template": found.chat_template,
        "contents": f"{found.settings} settings and {found.matrices} matrices compared",
        **_measured(found.scores),
        "proof": "passed" if found.passed else "FAILED: " + "; ".join(found.failures),
    }
    console = Console(soft_wrap=True)
    if title:
        console.print(title, highlight=False, markup=False)
    for name, value in lines.items():
        console.print(f"  {name:10} {value}", highlight=False, markup=False)


def _measured(scores: Scores | Cosines) -> dict[str, str]:
    if isinstance(scores, Cosines):
        return {"cosine": f"of {scores.texts} embeddings {scores.least:.6f} and more, {scores.mean:.6f} in the mean"}
    return {
        "KL": f"mean {scores.mean_kl:.2g}, 99th percentile {scores.p99_kl:.2g}, at {scores.positions} positions",
        "top-1": f"{scores.top1:.1%} of {scores.clear_positions} clear positions",
        "perplexity": f"{scores.reference_perplexity:.3f} → {scores.perplexity:.3f}",
    }
