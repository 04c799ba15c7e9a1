"""Checks of everything that can fail, before a weight is read. Each raises ConvertError with one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from nitro.checkpoints import architecture_faults, block_packing, quantizers
from nitro.convert import environments, llama_cpp_converter, native, output
from nitro.convert.checkpoint import FILE_TYPES, FTYPES, Checkpoint
from nitro.convert.plan import GROUP_SIZE, NEED_IMATRIX, UNQUANTIZED_BITS, ConversionPlan
from nitro.errors import ConvertError

# What --to mlx --type keeps in blocks: types that MLX's own layouts do not hold
BLOCK_TYPES = {type for type in block_packing.CODECS if type not in ("Q4_0", "Q4_1", "Q8_0", "MXFP4", "NVFP4")}
HEADROOM = 64 * 2**20  # bytes for files other than weights
BACKENDS = {"hf": "transformers", "mlx": "mlx", "gguf": "llama"}  # which computes a model of each kind
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
# Of other libraries' packed weights: endings of names, and safetensors' types, which no model has that is not packed
PACKED = (".qweight", ".weight_packed", ".SCB", ".absmax", ".weight_scale", ".weight_scale_inv")
PACKED_TYPES = ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "I8", "U8")
Notify = Callable[[str], None]


def check(plan: ConversionPlan, notify: Notify) -> None:
    """Run all checks; those that need no library come first."""
    for check_one in (
        _check_target,
        _check_options,
        _check_quantization,
        _check_tokenizer,
        _check_group_size,
        _check_disk,
    ):
        check_one(plan)
    if plan.source.kind == "gguf":
        _check_gguf(plan, notify)
    else:
        _check_folder(plan, notify)


def backends(plan: ConversionPlan, notify: Notify) -> None:
    """Make the environments that the conversion and its proof need, so that a failure shows now and not after hours.
    Raises ConvertError."""
    needed = [BACKENDS[kind] for kind in (plan.source.kind, plan.to)]
    if plan.in_blocks:
        needed.append("llama")
    if (plan.source.kind, plan.to) == ("gguf", "hf"):
        needed.append("mlx")
    interpreters = {backend: environments.python(backend, notify) for backend in needed}
    if plan.in_blocks and not environments.has(interpreters["mlx"], "mlx_kquant"):
        raise ConvertError(
            "--to mlx --type needs the package mlx-kquant, to compare what it writes: on macOS 26.2 or newer "
            "pip install '.[mlx]' brings it."
        )


def _check_target(plan: ConversionPlan) -> None:
    if plan.target.resolve() == plan.source.path.resolve():
        raise ConvertError(f"{plan.target} is the source itself; choose another target with -o.")
    output.refuse_existing(plan.target, plan.force)


def _check_options(plan: ConversionPlan) -> None:
    kind, to = plan.source.kind, plan.to
    if kind == to and to != "gguf":
        raise ConvertError(f"{plan.source.path} already is of this kind ({to}).")
    if kind == to and plan.type is None:
        raise ConvertError(f"{plan.source.path} already is a GGUF file; --type converts it to another type.")
    if to == "gguf" and (plan.bits or plan.group_size or plan.recipe or plan.dtype):
        raise ConvertError("--bits, --group-size, --recipe and --dtype are for --to mlx; use --type for a GGUF.")
    if to == "hf" and (plan.type or plan.imatrix):
        raise ConvertError("--type and --imatrix are for --to gguf, and for --to mlx.")
    if to == "mlx" and plan.type in FTYPES and FILE_TYPES[FTYPES[plan.type]] not in BLOCK_TYPES:
        raise ConvertError(f"MLX has a layout of its own for {plan.type}; use --bits and --group-size, or --dtype.")
    if to == "mlx" and plan.imatrix and not plan.type:
        raise ConvertError("--imatrix needs --type.")
    if plan.in_blocks and (plan.bits or plan.group_size or plan.recipe or plan.dtype):
        raise ConvertError("--type says how the weights are quantised; leave out --bits and --dtype.")
    if (kind == "gguf" or to == "hf") and (plan.bits or plan.group_size or plan.recipe or plan.dtype):
        raise ConvertError("This conversion keeps the type of the weights; leave out --bits and --dtype.")
    if plan.type and plan.type not in FTYPES:
        raise ConvertError(f"{plan.type} is not a supported GGUF type; supported are: {', '.join(FTYPES)}.")
    if plan.bits and plan.recipe:
        raise ConvertError("--recipe sets the bits of every layer; leave out --bits.")
    if plan.group_size and not plan.quantizes:
        raise ConvertError("--group-size needs --bits; add --bits 4 or --bits 8.")
    if plan.imatrix and not plan.imatrix.is_file():
        raise ConvertError(f"{plan.imatrix}: no such file.")
    if plan.type in NEED_IMATRIX and not plan.imatrix:
        raise ConvertError(f"{plan.type} needs an importance matrix; add --imatrix FILE.")
    if plan.imatrix:
        _check_imatrix(plan.imatrix)


def _check_imatrix(file: Path) -> None:
    from nitro.gguf import header

    try:
        tensors = header.read(file).tensors
    except header.UnreadableGGUF:
        tensors = {}
    if not any(name.endswith(".in_sum2") for name in tensors):
        raise ConvertError(
            f"{file} is not an importance matrix in GGUF, as llama-imatrix --output-format gguf writes it."
        )


def _check_quantization(plan: ConversionPlan) -> None:
    """Quantised weights are not quantised again: that would only make them worse."""
    source = plan.source
    if source.kind == "hf":
        _check_other_quantization(source)
    if plan.in_blocks and source.config.get("general.file_type") == FTYPES.get(str(plan.type), -1):
        return  # its very blocks
    if source.kind == "gguf" and (plan.to == "gguf" or plan.in_blocks) and source.type not in UNQUANTIZED_BITS:
        raise ConvertError(
            f"{source.path} is already quantised (mostly {source.type}); quantise the original weights instead."
        )


def _check_other_quantization(source: Checkpoint) -> None:
    """A folder may also hold packed weights without a word: their types tell."""
    method = quantizers.method(source.config, source.path)
    if method is None and source.quantization:
        method = "an unknown method"
    packed = [name for name, weight in source.weights.items() if name.endswith(PACKED) or weight.type in PACKED_TYPES]
    if method is None and packed:
        method = f"tensor {packed[0]} is {source.weights[packed[0]].type}"
    if method is not None:
        raise ConvertError(f"{source.path} is already quantised ({method}); convert the original weights instead.")


def _check_tokenizer(plan: ConversionPlan) -> None:
    folder = plan.source.path
    if plan.source.kind == "gguf":
        return
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ConvertError(f"{folder} has no tokenizer: none of {', '.join(VOCABULARIES)}.")
    file = folder / "tokenizer.json"
    if file.is_file():
        try:
            kind = json.loads(file.read_text(encoding="utf-8"))["model"]["type"]
        except (ValueError, KeyError, TypeError):
            raise ConvertError(f"{file} is not a tokenizer, or is damaged.") from None
        if kind not in ("BPE", "Unigram", "WordPiece", "WordLevel"):
            raise ConvertError(f"{file} has a tokenizer of the unknown kind {kind!r}.")


def _check_group_size(plan: ConversionPlan) -> None:
    """mlx-lm does not quantise a layer that it cannot group, and does not say so."""
    size = plan.group_size or GROUP_SIZE
    for name, weight in plan.source.weights.items() if plan.quantizes else ():
        if len(weight.shape) == 2 and name.endswith(".weight") and weight.shape[1] % size:
            fits = [str(each) for each in (32, 64, 128) if weight.shape[1] % each == 0]
            hint = f"; use --group-size {fits[-1]}" if fits else "; leave out --bits"
            raise ConvertError(f"A group size of {size} does not divide the {weight.shape[1]} columns of {name}{hint}.")


def _check_disk(plan: ConversionPlan) -> None:
    needed = plan.bytes + plan.scratch_bytes + HEADROOM
    free = shutil.disk_usage(plan.target.parent).free
    if needed > free:
        raise ConvertError(
            f"About {needed / 1e9:.1f} GB are needed in {plan.target.parent}, but only {free / 1e9:.1f} GB are free."
        )


def _check_gguf(plan: ConversionPlan, notify: Notify) -> None:
    if plan.to == "gguf":
        return
    in_blocks = plan.in_blocks and plan.source.type not in UNQUANTIZED_BITS
    native.check("gguf_to_mlx", plan.source.path, notify, in_blocks=in_blocks)


def _check_folder(plan: ConversionPlan, notify: Notify) -> None:
    if plan.source.kind == "mlx":
        native.check("mlx_to_hf", plan.source.path, notify)
    if plan.to == "mlx":
        _check_mlx_lm(plan, notify)
    if plan.to == "gguf" or plan.in_blocks:
        _check_converter(plan, notify)


def _check_mlx_lm(plan: ConversionPlan, notify: Notify) -> None:
    if not plan.in_blocks and (problem := architecture_faults.problem(plan.source.config)):
        raise ConvertError(f"{plan.source.path} cannot be converted by mlx-lm: {problem}.")
    reply = environments.run("mlx", "hf_to_mlx", {"check": True, "config": plan.source.config}, notify)
    if "unknown" in reply:
        raise ConvertError(
            f"{plan.source.path} has the architecture {plan.source.architecture!r}, "
            f"which {environments.pinned('mlx-lm').replace('==', ' ')} does not support."
        )


def _check_converter(plan: ConversionPlan, notify: Notify) -> None:
    names = plan.source.config.get("architectures") or []
    converter = llama_cpp_converter.folder(notify)
    if not set(names) & llama_cpp_converter.architectures(converter):
        raise ConvertError(
            f"{plan.source.path} has the architecture {', '.join(names) or plan.source.architecture!r}, which the "
            f"converter of llama-cpp-python {llama_cpp_converter.release()} does not support."
        )
    if plan.source.kind == "hf":
        check_vocabulary(plan.source.path, converter, notify)


def check_vocabulary(folder: Path, converter: Path, notify: Notify) -> None:
    """Let the converter read the tokenizer alone: it recognises a pre-tokenizer by how it splits one text. Raises
    ConvertError."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="nitro-") as scratch:
        request = {"converter": converter, "source": folder, "target": Path(scratch) / "vocab.gguf"}
        try:
            environments.run(
                "converter", "hf_to_gguf", {**request, "outtype": "f16", "name": "check", "check": True}, notify
            )
        except ConvertError as error:
            raise ConvertError(
                f"The converter of llama-cpp-python {llama_cpp_converter.release()} does not recognise "
                f"the tokenizer of {folder}: {error}"
            ) from None
