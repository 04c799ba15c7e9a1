"""Everything that can be known to fail before a weight is read. Each check raises ConvertError with one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from nitro.convert import environments, llama_cpp_converter, native, output
from nitro.convert.checkpoint import FTYPES
from nitro.convert.plan import GROUP_SIZE, NEED_IMATRIX, PLAIN, Plan
from nitro.errors import ConvertError

ROOM = 64 * 2**20  # bytes for what is written beside the weights
BACKENDS = {"hf": "transformers", "mlx": "mlx", "gguf": "llama"}  # who computes a model of each kind
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
Say = Callable[[str], None]


def check(plan: Plan, say: Say) -> None:
    """What needs no library comes first."""
    for look in (_target, _options, _quantized, _tokenizer, _group_size, _disk):
        look(plan)
    (_gguf_source if plan.source.kind == "gguf" else _folder_source)(plan, say)


def backends(plan: Plan, say: Say) -> None:
    """What the way and the proof need is there or made now, and not found to be impossible after hours."""
    needed = [BACKENDS[kind] for kind in (plan.source.kind, plan.to)]
    if (plan.source.kind, plan.to) == ("gguf", "hf"):
        needed.append("mlx")
    for backend in needed:
        environments.python(backend, say)


def _target(plan: Plan) -> None:
    if plan.target.resolve() == plan.source.path.resolve():
        raise ConvertError(f"{plan.target} is the source itself; name another with -o.")
    output.refuse_existing(plan.target, plan.force)


def _options(plan: Plan) -> None:
    kind, to = plan.source.kind, plan.to
    if kind == to and to != "gguf":
        raise ConvertError(f"{plan.source.path} is of that kind already ({to}).")
    if kind == to and plan.type is None:
        raise ConvertError(f"{plan.source.path} is a GGUF file already; --type makes one of another type.")
    if to == "gguf" and (plan.bits or plan.group_size or plan.recipe or plan.dtype):
        raise ConvertError("--bits, --group-size, --recipe and --dtype are for --to mlx; a GGUF has --type.")
    if to != "gguf" and (plan.type or plan.imatrix):
        raise ConvertError("--type and --imatrix are for --to gguf; MLX has --bits and --group-size.")
    if (kind == "gguf" or to == "hf") and (plan.bits or plan.group_size or plan.recipe or plan.dtype):
        raise ConvertError("The weights of this conversion keep the type that they have; leave out --bits and --dtype.")
    if plan.type and plan.type not in FTYPES:
        raise ConvertError(f"{plan.type} is no type of a GGUF that is known here; these are: {', '.join(FTYPES)}.")
    if plan.bits and plan.recipe:
        raise ConvertError("--recipe has the bits of every layer; leave out --bits.")
    if plan.group_size and not plan.quantizes:
        raise ConvertError("--group-size says how --bits groups the weights; add --bits 4 or --bits 8.")
    if plan.imatrix and not plan.imatrix.is_file():
        raise ConvertError(f"{plan.imatrix}: no such file.")
    if plan.type in NEED_IMATRIX and not plan.imatrix:
        raise ConvertError(f"{plan.type} needs an importance matrix; name it with --imatrix.")
    if plan.imatrix:
        _importance(plan.imatrix)


def _importance(file: Path) -> None:
    from nitro.gguf import header

    try:
        known = header.read(file).tensors
    except header.UnreadableGGUF:
        known = {}
    if not any(name.endswith(".in_sum2") for name in known):
        raise ConvertError(f"{file} is no importance matrix in GGUF, as llama-imatrix --output-format gguf writes it.")


def _quantized(plan: Plan) -> None:
    """Weights that were quantised before cannot be made better, only worse."""
    source = plan.source
    if source.kind == "hf" and source.quantization:
        method = source.quantization.get("quant_method", "an unknown method")
        raise ConvertError(f"{source.path} is already quantised ({method}); convert the original weights instead.")
    if source.kind == "mlx" and source.quantization and source.quantization.get("mode", "affine") != "affine":
        raise ConvertError(f"{source.path} is quantised as {source.quantization['mode']}; only affine can be unpacked.")
    if source.kind == "gguf" and plan.to == "gguf" and source.type not in PLAIN:
        raise ConvertError(
            f"{source.path} is already quantised (mostly {source.type}); quantise the original weights instead."
        )


def _tokenizer(plan: Plan) -> None:
    folder = plan.source.path
    if plan.source.kind == "gguf":
        return
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ConvertError(f"{folder} has no tokenizer: none of {', '.join(VOCABULARIES)}.")
    if (file := folder / "tokenizer.json").is_file():
        try:
            kind = json.loads(file.read_text(encoding="utf-8"))["model"]["type"]
        except (ValueError, KeyError, TypeError):
            raise ConvertError(f"{file} is no tokenizer, or a damaged one.") from None
        if kind not in ("BPE", "Unigram", "WordPiece", "WordLevel"):
            raise ConvertError(f"{file} has a tokenizer of the unknown kind {kind!r}.")


def _group_size(plan: Plan) -> None:
    """mlx-lm leaves a layer that it cannot group unquantised, without a word."""
    size = plan.group_size or GROUP_SIZE
    for name, weight in plan.source.weights.items() if plan.quantizes else ():
        if len(weight.shape) == 2 and name.endswith(".weight") and weight.shape[1] % size:
            fits = [str(each) for each in (32, 64, 128) if weight.shape[1] % each == 0]
            cure = f"; --group-size {fits[-1]} does" if fits else "; leave out --bits"
            raise ConvertError(f"A group size of {size} does not divide the {weight.shape[1]} columns of {name}{cure}.")


def _disk(plan: Plan) -> None:
    need, free = plan.bytes + plan.scratch_bytes + ROOM, shutil.disk_usage(plan.target.parent).free
    if need > free:
        raise ConvertError(
            f"About {need / 1e9:.1f} GB are needed in {plan.target.parent}, and {free / 1e9:.1f} GB are free."
        )


def _gguf_source(plan: Plan, say: Say) -> None:
    if plan.to == "gguf":
        return
    native.check("gguf_to_mlx", plan.source.path, say)


def _folder_source(plan: Plan, say: Say) -> None:
    if plan.source.kind == "mlx":
        native.check("mlx_to_hf", plan.source.path, say)
    if plan.to == "mlx":
        _known_to_mlx(plan, say)
    if plan.to == "gguf":
        _known_to_converter(plan, say)


def _known_to_mlx(plan: Plan, say: Say) -> None:
    answer = environments.run("mlx", "hf_to_mlx", {"check": True, "config": plan.source.config}, say)
    if "unknown" in answer:
        raise ConvertError(
            f"{plan.source.path} has the architecture {plan.source.architecture!r}, "
            f"which {environments.pinned('mlx-lm').replace('==', ' ')} does not know."
        )


def _known_to_converter(plan: Plan, say: Say) -> None:
    names = plan.source.config.get("architectures") or []
    converter = llama_cpp_converter.converter(say)
    if not set(names) & llama_cpp_converter.architectures(converter):
        raise ConvertError(
            f"{plan.source.path} has the architecture {', '.join(names) or plan.source.architecture!r}, which the "
            f"converter of llama-cpp-python {llama_cpp_converter.release()} does not know."
        )
    if plan.source.kind == "hf":
        vocabulary(plan.source.path, converter, say)


def vocabulary(folder: Path, converter: Path, say: Say) -> None:
    """The converter's own look at the tokenizer: it knows a pre-tokenizer by what it makes of one text."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="nitro-") as scratch:
        request = {"converter": converter, "source": folder, "target": Path(scratch) / "vocab.gguf"}
        try:
            environments.run(
                "converter", "hf_to_gguf", {**request, "outtype": "f16", "name": "check", "check": True}, say
            )
        except ConvertError as error:
            raise ConvertError(
                f"The tokenizer of {folder} is not one that the converter of "
                f"llama-cpp-python {llama_cpp_converter.release()} "
                f"recognises: {error}"
            ) from None
