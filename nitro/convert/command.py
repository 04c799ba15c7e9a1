"""The commands `nitro convert` and `nitro verify`: from options to a plan, and from a proof to lines."""

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console

from nitro.convert import checkpoint, output, progress, routes, verify
from nitro.convert.comparison import Cosines, LogitScores, Proof
from nitro.convert.plan import ConversionPlan, default_target
from nitro.models.conversion_report import path_for
from nitro.system import program


def convert(source: Path, to: str, target: Path | None, type: str | None, **options: Any) -> None:
    """Convert, and print the proof. `to`: "gguf", "hf" or "mlx"; `options`: other fields of ConversionPlan. Raises
    ConvertError."""
    type = type.upper() if type else None
    with checkpoint.reading(source):
        model = checkpoint.read(source)
    target = target or default_target(source, to, type, options.get("bits"))
    output.remove_leftovers(target)
    plan = ConversionPlan(model, to, target.absolute(), type, **options)
    proof = routes.convert(plan, progress.notify)
    show(proof)
    can_be_served = to != "hf" and not plan.source.is_encoder
    command = f"; try: {program.name()} serve {shlex.quote(str(target))}" if can_be_served else ""
    progress.notify(f"wrote {target}{command}")


def compare(reference: Path, model: Path, original: Path | None, positions: int) -> bool:
    """Print the proof that the model is the same as the reference; with an `original`, that both are the same as that.

    Returns whether all proofs passed. Raises ConvertError.
    """
    pairs = [(reference, model)] if original is None else [(original, reference), (original, model)]
    passed = True
    for one, other in pairs:
        proof = verify.verify(one, other, positions, progress.notify)
        show(proof, f"{other} compared with {one}")
        passed = passed and proof.passed
        try:
            verify.write(other, proof)
        except OSError as error:
            progress.notify(f"the proof cannot be written to {path_for(other)}: {error.strerror}")
    return passed


def show(proof: Proof, title: str = "") -> None:
    """Print a proof to stdout, one line for each comparison."""
    lines = {
        "weights": f"{proof.reference_type} → {proof.type}",
        "token ids": proof.token_ids,
        "vocabulary": proof.vocabulary,
        "template": proof.chat_template,
        "contents": f"{proof.settings} settings and {proof.matrices} matrices compared",
        **_describe_scores(proof.scores),
        "proof": "passed" if proof.passed else "FAILED: " + "; ".join(proof.failures),
    }
    console = Console(soft_wrap=True)
    if title:
        console.print(title, highlight=False, markup=False)
    for name, value in lines.items():
        console.print(f"  {name:10} {value}", highlight=False, markup=False)


def _describe_scores(scores: LogitScores | Cosines) -> dict[str, str]:
    if isinstance(scores, Cosines):
        return {"cosine": f"of {scores.texts} embeddings: lowest {scores.lowest:.6f}, mean {scores.mean:.6f}"}
    return {
        "KL": f"mean {scores.mean_kl:.2g}, 99th percentile {scores.p99_kl:.2g}, at {scores.positions} positions",
        "top-1": f"{scores.top1:.1%} of {scores.clear_positions} clear positions",
        "perplexity": f"{scores.reference_perplexity:.3f} → {scores.perplexity:.3f}",
    }
