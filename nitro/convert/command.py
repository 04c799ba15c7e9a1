"""The commands `nitro convert` and `nitro verify`: from options to a plan, and from a proof to lines."""

import shlex
from pathlib import Path
from typing import Any

from nitro.checkpoints import adapter_kinds
from nitro.checkpoints.adapters import AdapterType
from nitro.convert import adapters, checkpoint, output, progress, routes, verify
from nitro.convert.adapter_proof import AdapterProof
from nitro.convert.adapters import AdapterPlan
from nitro.convert.comparison import Cosines, LogitScores, Proof
from nitro.convert.plan import ConversionPlan, default_target
from nitro.errors import ConvertError
from nitro.models.conversion_report import path_for
from nitro.system import program, terminal

# The types of a LoRA's numbers: the option that chooses, and what it may say, the usual one first
ADAPTER_TYPES: dict[str, tuple[str, dict[str, AdapterType]]] = {
    "gguf": ("type", {"f32": "F32", "f16": "F16"}),
    "mlx": ("dtype", {"float32": "F32", "float16": "F16"}),
}


def convert(
    source: Path, to: str, target: Path | None, type: str | None, base: Path | None = None, **options: Any
) -> None:
    """Convert, and print the proof. `to`: "gguf", "hf" or "mlx"; `base`: of a LoRA, its model; `options`: other fields
    of ConversionPlan. Raises ConvertError."""
    if adapter_kinds.is_adapter(source):
        _convert_adapter(source, to, target, base, {**options, "type": type})
        return
    if base is not None:
        raise ConvertError(f"--base is for a LoRA, and {source} is none.")
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


def _convert_adapter(source: Path, to: str, target: Path | None, base: Path | None, options: dict[str, Any]) -> None:
    flag, types = ADAPTER_TYPES.get(to, ("", {}))
    used = ("force", "positions", flag)
    if unused := [name for name, value in options.items() if name not in used and value is not None]:
        raise ConvertError(f"--{unused[0].replace('_', '-')} is for models; {source} is a LoRA.")
    asked = options.get(flag) or next(iter(types), "")
    if types and asked.lower() not in types:
        raise ConvertError(f"--{flag} {asked} is for models; a LoRA is written as {' or '.join(types)}.")
    if base is None:
        raise ConvertError(f"{source} is a LoRA; name its model with --base MODEL.")
    target = (target or default_target(source, to, None, None)).absolute()
    output.remove_leftovers(target)
    type = types.get(asked.lower(), "F32")
    plan = AdapterPlan(source, to, base, target, options["force"], options["positions"], type)
    _show_adapter(adapters.convert(plan, progress.notify))
    progress.notify(f"wrote {target}")


def _show_adapter(proof: AdapterProof, title: str = "") -> None:
    computed = proof.computed
    if proof.scores:
        computed += (
            f": mean KL {proof.scores.mean_kl:.2g} from the model with it added, {proof.moved:.2g} from the model"
        )
    lines = {
        "layers": f"{proof.layers}, the largest relative error {proof.largest_error:.2g}",
        "logits": computed,
        "proof": _verdict(proof.passed, proof.failures),
    }
    _print(lines, title)


def compare(reference: Path, model: Path, original: Path | None, positions: int, base: Path | None = None) -> bool:
    """Print the proof that the model is the same as the reference; with an `original`, that both are the same as that.
    Or LoRAs of the model `base`, instead of models.

    Returns whether all proofs passed. Raises ConvertError.
    """
    named = [path for path in (reference, model, original) if path is not None]
    if any(map(adapter_kinds.is_adapter, named)):
        return _compare_adapters(named, base, positions)
    if base is not None:
        raise ConvertError(f"--base is for LoRAs, and {reference} is none.")
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


def _compare_adapters(named: list[Path], base: Path | None, positions: int) -> bool:
    """As `compare`. `named`: both, and what both are compared with, if that is given."""
    if models := [path for path in named if not adapter_kinds.is_adapter(path)]:
        raise ConvertError(f"A LoRA is compared with a LoRA, and {models[0]} is none.")
    if base is None:
        raise ConvertError(f"{named[0]} is a LoRA; name its model with --base MODEL.")
    one, other, *original = named
    passed = True
    for reference, adapter in [(original[0], one), (original[0], other)] if original else [(one, other)]:
        proof = adapters.compare(reference, adapter, base, positions, progress.notify)
        _show_adapter(proof, f"{adapter} compared with {reference}")
        passed = passed and proof.passed
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
        "proof": _verdict(proof.passed, proof.failures),
    }
    _print(lines, title)


def _verdict(passed: bool, failures: list[str]) -> str:
    return "passed" if passed else "FAILED: " + "; ".join(failures)


def _print(lines: dict[str, str], title: str = "") -> None:
    if title:
        terminal.say(title)
    terminal.facts(lines)


def _describe_scores(scores: LogitScores | Cosines) -> dict[str, str]:
    if isinstance(scores, Cosines):
        return {"cosine": f"of {scores.texts} embeddings: lowest {scores.lowest:.6f}, mean {scores.mean:.6f}"}
    return {
        "KL": f"mean {scores.mean_kl:.2g}, 99th percentile {scores.p99_kl:.2g}, at {scores.positions} positions",
        "top-1": f"{scores.top1:.1%} of {scores.clear_positions} clear positions",
        "perplexity": f"{scores.reference_perplexity:.3f} → {scores.perplexity:.3f}",
    }
