"""From one kind of model to another, step by step, and the proof at the end."""

import json
from collections.abc import Callable
from pathlib import Path

from nitro.convert import environments, llama_cpp_converter, native, output, preflight, progress, verify
from nitro.convert.checkpoint import FTYPES, understood
from nitro.convert.comparison import Proof
from nitro.convert.plan import GROUP_SIZE, PLAIN, Plan
from nitro.convert.progress import Bar
from nitro.errors import ConvertError

Step = Callable[[Plan, Path, Path, Bar], list[str]]  # plan, source, target; notices
Say = Callable[[str], None]


def convert(plan: Plan, say: Say) -> Proof:
    """Makes `plan.target`, whole and proven, or raises ConvertError and leaves nothing."""
    output.clear(plan.target)
    with understood(plan.source.path):
        preflight.check(plan, say)
    preflight.backends(plan, say)
    with output.whole(plan.target, plan.force) as made:
        source = plan.source.path
        steps = STEPS[plan.source.kind, plan.to]
        for number, (what, step) in enumerate(steps, 1):
            target = made if number == len(steps) else made.with_name(f"step-{number}")
            with progress.bar(what, plan.bytes if target == made else plan.between_bytes) as bar:
                for notice in step(plan, source, target, bar):
                    say(notice)
            source = target
        say("comparing the two")
        found = verify.verify(plan.source.path, made, plan.positions, say)
        if not found.passed:
            raise ConvertError(f"The result is not the same model, and was removed: {'; '.join(found.failures)}.")
        if made.is_dir():
            verify.write(made, found)
    if plan.target.is_file():
        verify.write(plan.target, found)
    return found


def _hf_to_mlx(plan: Plan, source: Path, target: Path, bar: Bar) -> list[str]:
    request = {
        "check": False,
        "config": plan.source.config,
        "source": source.absolute(),
        "target": target.absolute(),
        "bits": plan.bits,
        "group_size": plan.group_size or GROUP_SIZE,
        "recipe": plan.recipe,
        "dtype": plan.dtype,
    }
    environments.run("mlx", "hf_to_mlx", request, tick=lambda: bar.look(target))
    _name_rope_base(target / "config.json")
    return []


def _name_rope_base(file: Path) -> None:
    """transformers 5 writes it into `rope_parameters` only, where some models of mlx-lm 0.32.2 do not look."""
    config = json.loads(file.read_text(encoding="utf-8"))
    base = (config.get("rope_parameters") or {}).get("rope_theta")
    if base is not None and "rope_theta" not in config:
        file.write_text(json.dumps({**config, "rope_theta": base}, indent=4), encoding="utf-8")


def _hf_to_gguf(plan: Plan, source: Path, target: Path, bar: Bar) -> list[str]:
    """Weights that are to be quantised go through a file in their own type."""
    quantized = plan.type not in (None, *PLAIN)
    plain = target.with_name("plain.gguf") if quantized else target
    request = {
        "converter": llama_cpp_converter.converter(progress.say),
        "source": source.absolute(),
        "target": plain.absolute(),
        "outtype": (plan.plain if quantized or plan.type is None else plan.type).lower(),
        "name": plan.source.path.resolve().name,
        "check": False,
    }
    environments.run("converter", "hf_to_gguf", request, tick=lambda: bar.look(plain))
    if not quantized:
        return []
    notices = _quantize(plan, plain, target, bar)
    plain.unlink()
    return notices


def _quantize(plan: Plan, source: Path, target: Path, bar: Bar) -> list[str]:
    assert plan.type
    request = {
        "source": source.absolute(),
        "target": target.absolute(),
        "ftype": FTYPES[plan.type],
        "imatrix": plan.imatrix and plan.imatrix.absolute(),
        "requantize": False,
    }
    answer = environments.run("llama", "quantize_gguf", request, tick=lambda: bar.look(target))
    return list(answer["notices"])


def _gguf_to_mlx(plan: Plan, source: Path, target: Path, bar: Bar) -> list[str]:
    return native.convert("gguf_to_mlx", source, target, tick=lambda: bar.look(target))


def _mlx_to_hf(plan: Plan, source: Path, target: Path, bar: Bar) -> list[str]:
    return native.convert("mlx_to_hf", source, target, tick=lambda: bar.look(target))


# by (kind of the source, kind of the target)
STEPS: dict[tuple[str, str], list[tuple[str, Step]]] = {
    ("hf", "mlx"): [("HF → MLX", _hf_to_mlx)],
    ("hf", "gguf"): [("HF → GGUF", _hf_to_gguf)],
    ("gguf", "mlx"): [("GGUF → MLX", _gguf_to_mlx)],
    ("gguf", "hf"): [("GGUF → MLX", _gguf_to_mlx), ("MLX → HF", _mlx_to_hf)],
    ("gguf", "gguf"): [("quantising", _quantize)],
    ("mlx", "hf"): [("MLX → HF", _mlx_to_hf)],
    ("mlx", "gguf"): [("MLX → HF", _mlx_to_hf), ("HF → GGUF", _hf_to_gguf)],
}
