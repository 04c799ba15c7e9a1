"""What a model's own files say of it, without its weights: a GGUF's header, or a folder's config.json."""

import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from nitro.checkpoints import encoders, sentence_files, text_settings
from nitro.checkpoints import files as texts
from nitro.errors import one_line
from nitro.gguf import embedding, header, reranking, split_files
from nitro.gguf.constants import LlamaFileType
from nitro.gguf.header import Header, UnreadableGGUF
from nitro.models import files, kv_shape
from nitro.models.kv_shape import KVShape
from nitro.models.stored_model import Format

MAX_NAME = 200  # characters of a text that a file gives
PREFIXES = ("ALL_", "MOSTLY_")  # of LlamaFileType's names
MAX_VOCABULARY = 2**24
MAX_JSON = 2**25  # bytes of a configuration; an index of weights has a few megabytes


class Facts(Struct, frozen=True, kw_only=True):
    """Plain data, which can be stored. Sizes are bytes."""

    format: Format
    problem: str | None = None  # why it cannot be served, and the cure, as a sentence
    size: int = 0  # of its files
    created: int = 0  # Unix time
    architecture: str = ""
    title: str = ""  # as the file itself is called; anyone's text
    quantization: str = ""
    trained_context: int = 0
    parameters: int = 0  # how many weights
    weights: int = 0  # bytes of tensors
    layers: int = 0
    width: int = 0  # of the embedding
    vocabulary: int = 0
    has_template: bool = False
    embeds: bool = False  # it makes vectors, and no text
    ranks: bool = False  # it scores texts for a query, and makes no text
    kv: KVShape = KVShape()


def read(path: Path, format: Format) -> Facts:
    """What the files say. A fault in them is in `problem`. Raises OSError where the system does not give them."""
    try:
        if path.is_dir():
            return _of_folder(path)
        return _of_gguf(path)
    except UnreadableGGUF as error:
        return _broken(format, f"{error} Fetch it again.", split_files.files(path))
    except (ValueError, RecursionError) as error:
        return _broken(format, f"{path} cannot be read: {error}.", [path])


def unread(path: Path, format: Format, error: OSError) -> Facts:
    """What is known of files that could not be read just now."""
    if isinstance(error, FileNotFoundError):
        return _broken(format, f"{path} is missing; fetch it again.", [])
    return _broken(format, f"{error.filename or path} cannot be read: {error.strerror or error}.", [])


def stamp(path: Path) -> tuple[int, int] | None:
    """Changes when the file does, or the files of the folder, or the parts of the split model; None where there is
    none."""
    try:
        parts = [path, *path.iterdir()] if path.is_dir() else split_files.files(path)
    except OSError:
        return None
    found = [_stat(part) for part in parts]
    there = [about for about in found if about]
    if not found or not found[0]:
        return None
    return max(about.st_mtime_ns for about in there), sum(about.st_size for about in there) + len(there)


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except (OSError, ValueError):
        return None


def _broken(format: Format, problem: str, paths: list[Path]) -> Facts:
    """`problem` may quote the file, whose bytes are anyone's."""
    size, created = _on_disk(paths)
    return Facts(format=format, problem=one_line(problem), size=size, created=created)


def _on_disk(paths: list[Path]) -> tuple[int, int]:
    """Size and time of these files, of which some may be missing."""
    found = [about for about in map(_stat, paths) if about]
    return sum(about.st_size for about in found), int(max((about.st_mtime for about in found), default=0))


def _of_gguf(path: Path) -> Facts:
    for part in split_files.files(path):
        about = _stat(part)
        if about and not stat.S_ISREG(about.st_mode):
            return Facts(format="gguf", problem=files.problem_with(part) or f"{part} is no file.")
    head = header.read_all(path, full=False, mapped=False)
    tensors = head.tensors.values()
    ranks = reranking.is_reranker(head)
    kind = None if ranks else embedding.kind_of(head)
    sees_both_sides = (kind is not None and not kind.causal) or (ranks and head.architecture in embedding.ENCODERS)
    size, created = _on_disk(split_files.files(path))
    return Facts(
        format="gguf",
        size=size,
        created=created,
        architecture=printable(head.architecture),
        title=printable(head.get("general.name")),
        quantization=_quantization(head),
        trained_context=_number(head, "{arch}.context_length"),
        parameters=sum(_product(tensor.shape) for tensor in tensors),
        weights=sum(tensor.size for tensor in tensors),
        layers=_number(head, "{arch}.block_count"),
        width=_number(head, "{arch}.embedding_length"),
        vocabulary=_vocabulary(head),
        has_template=bool(head.get(header.TEMPLATE)),
        embeds=kind is not None,
        ranks=ranks,
        kv=KVShape() if sees_both_sides else kv_shape.of_gguf(head.metadata),
        problem=_unservable(head),
    )


def _unservable(head: Header) -> str | None:
    """Files of GGUF that are no language model's."""
    kind = head.get("general.type", "model")
    if kind in ("mmproj", "adapter", "imatrix") or head.architecture in ("clip", "diffusion"):
        return f"It is no language model ({printable(kind)}, {printable(head.architecture)}), but goes with one."
    return None if head.tensors else "It has a vocabulary only, and no weights; fetch a file with weights."


def _quantization(head: Header) -> str:
    try:
        name = LlamaFileType(head.get("general.file_type")).name
    except ValueError:
        sizes: Counter[str] = Counter()
        for tensor in head.tensors.values():
            sizes[tensor.type] += tensor.size
        return sizes.most_common(1)[0][0] if sizes else ""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _vocabulary(head: Header) -> int:
    embedding = head.tensors.get("token_embd.weight")
    return min(embedding.shape[0], MAX_VOCABULARY) if embedding else 0


def _of_folder(folder: Path) -> Facts:
    if problem := files.problem_with(folder):
        return Facts(format="mlx", problem=problem)
    config = _json(folder / "config.json")
    text = text_settings.read(config)
    weights = sorted([*folder.glob("*.safetensors")]) or sorted(folder.glob("*.bin"))
    encoder, ranks = encoders.is_encoder(config), encoders.is_cross_encoder(config)
    size, created = _on_disk([file for file in folder.iterdir() if file.is_file()])
    return Facts(
        format="mlx" if _is_mlx(config) else "hf",
        size=size,
        created=created,
        problem=_fault(folder, config, weights),
        architecture=printable(config.get("model_type")),
        quantization=_bits(config),
        trained_context=_positive(text, "max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"),
        weights=_on_disk(weights)[0],
        layers=_positive(text, "num_hidden_layers", "n_layers", "n_layer"),
        width=_positive(text, "hidden_size", "n_embd", "d_model"),
        vocabulary=_positive(text, "vocab_size"),
        has_template=_has_template(folder),
        embeds=(encoder or (folder / sentence_files.MODULES).is_file()) and not ranks,
        ranks=ranks,
        kv=KVShape() if encoder else kv_shape.of_config(config),
    )


def _json(file: Path) -> dict[str, Any]:
    """The object in a file; empty where it is missing, or larger than any of its kind is."""
    about = _stat(file)
    return texts.read(file) if about and about.st_size <= MAX_JSON else {}


def _has_template(folder: Path) -> bool:
    return (folder / texts.DEFAULT_FILE).is_file() or bool(_json(folder / "tokenizer_config.json").get("chat_template"))


def _is_mlx(config: dict[str, Any]) -> bool:
    """Packed as MLX does it; what transformers saves has "quantization_config" at most."""
    return isinstance(config.get("quantization"), dict)


def _bits(config: dict[str, Any]) -> str:
    """ "4-bit", "gptq", "BF16"."""
    packed = config.get("quantization") or config.get("quantization_config")
    if isinstance(packed, dict):
        bits, method = packed.get("bits"), packed.get("quant_method")
        return f"{bits}-bit" if isinstance(bits, int) else printable(method or packed.get("mode") or "packed")
    type = config.get("dtype") or config.get("torch_dtype")
    return {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}.get(type, "") if isinstance(type, str) else ""


def _fault(folder: Path, config: dict[str, Any], weights: list[Path]) -> str | None:
    """What a folder lacks."""
    if not config:
        return f"{folder} has no config.json that can be read; fetch it again."
    listed = _json(folder / "model.safetensors.index.json").get("weight_map")
    named = {str(name) for name in listed.values()} if isinstance(listed, dict) else set()
    missing = sorted(name for name in named if not (folder / name).is_file())
    if missing:
        return f"{missing[0]} is missing ({len(missing)} of {len(named)} files of weights); fetch the model again."
    gone = [file for file in weights if not file.is_file()]  # links into a cache
    if gone or not weights:
        return f"{gone[0].name if gone else 'model.safetensors'} is missing; fetch the model again."
    if not (folder / "tokenizer.json").is_file():
        return "tokenizer.json is missing; fetch the model again."
    return None


def _positive(config: Mapping[str, Any], *keys: str) -> int:
    values = (config.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int) and 0 < value < 2**31), 0)


def _number(head: Header, key: str) -> int:
    value = head.get(key)
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def printable(value: Any) -> str:
    """A text from a file that anyone may have written, as it can be shown."""
    line = " ".join(str(value or "").encode(errors="replace").decode().split())
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)[:MAX_NAME]
