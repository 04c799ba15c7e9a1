"""`nitro convert` and `nitro verify`: from flags to a plan, and from a proof to lines."""

from pathlib import Path
from typing import Any

from rich.console import Console

from nitro.convert import checkpoint, output, progress, routes, verify
from nitro.convert.plan import Plan, default_target
from nitro.convert.proof import Proof
from nitro.models.proof import beside


def convert(source: Path, to: str, target: Path | None, type: str | None, **options: Any) -> None:
    """Raises ConvertError."""
    type = type.upper() if type else None
    target = target or default_target(source, to, type, options.get("bits"))
    output.clear(target)
    plan = Plan(checkpoint.read(source), to, target.absolute(), type, **options)
    found = routes.convert(plan, progress.say)
    tell(found)
    progress.say(f"made {target}; try: nitro serve {target}" if to != "hf" else f"made {target}")


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
    scores = found.scores
    lines = {
        "weights": f"{found.reference_type} → {found.type}",
        "token ids": found.token_ids,
        "template": found.chat_template,
        "KL": f"mean {scores.mean_kl:.2g}, 99th percentile {scores.p99_kl:.2g}, at {scores.positions} positions",
        "top-1": f"{scores.top1:.1%} of {scores.clear_positions} clear positions",
        "perplexity": f"{scores.reference_perplexity:.3f} → {scores.perplexity:.3f}",
        "proof": "passed" if found.passed else "FAILED: " + "; ".join(found.failures),
    }
    console = Console(soft_wrap=True)
    if title:
        console.print(title, highlight=False, markup=False)
    for name, value in lines.items():
        console.print(f"  {name:10} {value}", highlight=False, markup=False)
