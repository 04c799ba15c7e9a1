"""The steps from one kind of model to another, and the proof at the end."""

import json
from collections.abc import Callable
from pathlib import Path

from nitro.checkpoints import architecture_faults, files
from nitro.convert import environments, llama_cpp_converter, native, output, preflight, progress, verify
from nitro.convert.checkpoint import FTYPES, reading, tokenizer_config
from nitro.convert.comparison import Proof
from nitro.convert.plan import GROUP_SIZE, UNQUANTIZED_BITS, ConversionPlan
from nitro.convert.progress import Bar
from nitro.errors import ConvertError

Step = Callable[
    [ConversionPlan, Path, Path, Bar], list[str]
]  # plan, source, target, progress bar; returns notices for the user
Notify = Callable[[str], None]


def convert(plan: ConversionPlan, notify: Notify) -> Proof:
    """Make `plan.target` completely and with its proof, or raise ConvertError and leave nothing."""
    output.remove_leftovers(plan.target)
    with reading(plan.source.path):
        preflight.check(plan, notify)
    preflight.backends(plan, notify)
    with output.writing(plan.target, plan.force) as made:
        source = plan.source.path
        steps = _steps(plan)
        for number, (title, step) in enumerate(steps, 1):
            target = made if number == len(steps) else made.with_name(f"step-{number}")
            with progress.bar(title, plan.bytes if target == made else plan.intermediate_bytes) as bar:
                for notice in step(plan, source, target, bar):
                    notify(notice)
            source = target
        notify("comparing source and result, which may take minutes")
        proof = verify.verify(plan.source.path, made, plan.positions, notify)
        if not proof.passed:
            raise ConvertError(f"The result is not the same model and was removed: {'; '.join(proof.failures)}.")
        if made.is_dir():
            verify.write(made, proof)
    if plan.target.is_file():
        verify.write(plan.target, proof)
    return proof


def _hf_to_mlx(plan: ConversionPlan, source: Path, target: Path, bar: Bar) -> list[str]:
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
    environments.run("mlx", "hf_to_mlx", request, tick=lambda: bar.measure(target))
    _name_settings(target / "config.json")
    return []


def _name_settings(file: Path) -> None:
    """Those that mlx-lm 0.32.2 would otherwise take differently. transformers 5 writes rope_theta only into
    `rope_parameters`, which some of its models do not read."""
    config = json.loads(file.read_text(encoding="utf-8"))
    base = (config.get("rope_parameters") or {}).get("rope_theta")
    named = architecture_faults.defaults(config)
    if base is not None and "rope_theta" not in config:
        named["rope_theta"] = base
    if named:
        file.write_text(json.dumps({**config, **named}, indent=4), encoding="utf-8")


def _hf_to_gguf(plan: ConversionPlan, source: Path, target: Path, bar: Bar) -> list[str]:
    """To be quantised, weights are first written to a file in their own type."""
    quantized = plan.type not in (None, *UNQUANTIZED_BITS)
    unquantized = target.with_name("unquantized.gguf") if quantized else target
    request = {
        "converter": llama_cpp_converter.folder(progress.notify),
        "source": source.absolute(),
        "target": unquantized.absolute(),
        "outtype": (plan.unquantized_type if quantized or plan.type is None else plan.type).lower(),
        "name": plan.source.path.resolve().name,
        "check": False,
        "templates": several_templates(source),
    }
    environments.run("converter", "hf_to_gguf", request, tick=lambda: bar.measure(unquantized))
    if not quantized:
        return []
    notices = _quantize(plan, unquantized, target, bar)
    unquantized.unlink()
    return notices


def several_templates(source: Path) -> dict[str, str]:
    """The chat templates of a folder by name; empty where there is one for all requests, or none."""
    with reading(source):
        found = files.chat_templates(source, tokenizer_config(source))
    return found if found.keys() - {files.DEFAULT} else {}


def _quantize(plan: ConversionPlan, source: Path, target: Path, bar: Bar) -> list[str]:
    assert plan.type
    request = {
        "source": source.absolute(),
        "target": target.absolute(),
        "ftype": FTYPES[plan.type],
        "imatrix": plan.imatrix and plan.imatrix.absolute(),
        "requantize": False,
    }
    reply = environments.run("llama", "quantize_gguf", request, tick=lambda: bar.measure(target))
    return list(reply["notices"])


def _gguf_to_mlx(plan: ConversionPlan, source: Path, target: Path, bar: Bar) -> list[str]:
    return native.convert("gguf_to_mlx", source, target, tick=lambda: bar.measure(target))


def _gguf_to_blocks(plan: ConversionPlan, source: Path, target: Path, bar: Bar) -> list[str]:
    return native.convert("gguf_to_mlx", source, target, tick=lambda: bar.measure(target), in_blocks=True)


def _mlx_to_hf(plan: ConversionPlan, source: Path, target: Path, bar: Bar) -> list[str]:
    return native.convert("mlx_to_hf", source, target, tick=lambda: bar.measure(target))


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


def _steps(plan: ConversionPlan) -> list[tuple[str, Step]]:
    """By way of a GGUF of that type, where the folder is to have its blocks; a GGUF that has the type is one."""
    if not plan.in_blocks:
        return STEPS[plan.source.kind, plan.to]
    to_type = STEPS[plan.source.kind, "gguf"] if plan.source.type in UNQUANTIZED_BITS else []
    return [*to_type, ("GGUF → MLX", _gguf_to_blocks)]
