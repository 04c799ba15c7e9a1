"""Compares two models: token ids, vocabularies, chat templates, hyperparameters, matrices and logits.

HF folders are computed by transformers, MLX folders by mlx-lm, GGUF files by llama.cpp. Both models' logits are
computed for the reference's token ids."""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nitro.checkpoints import files as folder
from nitro.checkpoints import fingerprint
from nitro.convert import checkpoint, comparison, environments, hyperparameters, matrices, native, progress
from nitro.convert.checkpoint import Checkpoint, reading
from nitro.convert.comparison import Proof
from nitro.convert.progress import Notify
from nitro.errors import ConvertError, TemplateError
from nitro.gguf import header, split_files
from nitro.models.conversion_report import path_for
from nitro.text.template import ChatTemplate

POSITIONS = 1000
MAX_FLOAT32 = 4 << 30  # bytes of a model in float32 that is made to compare blocks exactly
MIN_TEXT_TOKENS = 64  # at the beginning of a text everything is likely, and small errors show most
WORKERS = {"hf": ("transformers", "score_hf"), "mlx": ("mlx", "score_mlx"), "gguf": ("llama", "score_gguf")}
MAX_NAMED = 3  # tokens or matrices that differ
PACKAGES = {"hf": "transformers", "mlx": "mlx-lm", "gguf": "llama-cpp-python"}

_HELLO = {"role": "user", "content": "Hello, who are you?"}
_CONVERSATION = [
    {"role": "system", "content": "You answer in one sentence."},
    _HELLO,
    {"role": "assistant", "content": "A program."},
    {"role": "user", "content": "What is 2 + 2?"},
]
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
CHATS = [
    ([_HELLO], None),
    (_CONVERSATION, None),
    (_CONVERSATION[1:], None),
    ([_HELLO], _TOOLS),
    (_CONVERSATION, _TOOLS),
]


class ModelOutput(msgspec.Struct):
    """The output of one model, computed by its backend."""

    strings: list[list[int]]  # token ids of the corpus's strings
    ids: list[list[int]]  # token ids of the texts that were scored
    vocabulary: list[str | None]  # the tokens' texts by id
    settings: dict[str, Any]  # the configuration as the backend completed it, or a GGUF's metadata
    chats: list[str | None] | None  # the prompts of CHATS, None where the template refuses; None: no template
    logits: Path  # .npz with text_0, text_1, …: float32 [tokens, vocabulary]


@lru_cache
def corpus() -> dict[str, list[str]]:
    """`strings`: 200 strings to tokenise; `texts`: texts to score. All are in NFC, since some tokenizers (Qwen's)
    normalise to it, and llama.cpp never does."""
    content: dict[str, list[str]] = json.loads(Path(__file__).with_name("corpus.json").read_text(encoding="utf-8"))
    return content


def verify(
    reference_path: Path, model_path: Path, positions: int = POSITIONS, notify: Notify = lambda line: None
) -> Proof:
    """Compare a model with a reference, on so many positions of texts.

    A proof that failed is a result. Raises ConvertError where a model cannot be read or computed.
    """
    with reading(reference_path):
        reference = checkpoint.read(reference_path)
    with reading(model_path):
        model = checkpoint.read(model_path)
    if reference.is_encoder != model.is_encoder:
        encoder = reference if reference.is_encoder else model
        raise ConvertError(f"{encoder.path} is a model for embeddings, and the other is not.")
    try:
        with tempfile.TemporaryDirectory(prefix="nitro-verify-") as scratch:
            computed = [reference, model]
            if exact := in_same_blocks(reference, model):
                computed = [_in_float32(each, Path(scratch) / "float32.gguf") for each in computed]
            expected = compute(computed[0], Path(scratch) / "reference.npz", positions, notify=notify)
            output = compute(computed[1], Path(scratch) / "model.npz", positions, ids=expected.ids, notify=notify)
            return prove(reference, model, expected, output, notify, comparison.SAME_BLOCKS if exact else None)
    except OSError as error:
        raise ConvertError(
            f"The comparison needs disk space for logits, and failed: {error.strerror or error}."
        ) from None


def in_same_blocks(reference: Checkpoint, model: Checkpoint) -> bool:
    """Are they a GGUF and an MLX folder of its blocks, small enough to be computed in float32?"""
    kinds = {each.kind for each in (reference, model)}
    return (
        kinds == {"gguf", "mlx"}
        and bool(reference.blocks or model.blocks)
        and reference.type == model.type
        and model.parameters * 4 <= MAX_FLOAT32
    )


def _in_float32(model: Checkpoint, target: Path) -> Checkpoint:
    """A GGUF with the same numbers in float32, since llama.cpp rounds what it multiplies with blocks to 8 bits."""
    if model.kind != "gguf":
        return model
    request = {"source": model.path.absolute(), "target": target, "ftype": checkpoint.FTYPES["F32"], "imatrix": None}
    environments.run("llama", "quantize_gguf", {**request, "requantize": True})
    return replace(model, path=target)


def compute(
    model: Checkpoint,
    logits: Path,
    positions: int,
    *,
    ids: list[list[int]] | None = None,
    notify: Notify = lambda line: None,
) -> ModelOutput:
    """Run the model's backend. `logits`: the .npz file to write. `ids`: token ids to score, instead of the texts as
    this model's tokenizer encodes them. Raises ConvertError, OSError."""
    backend, worker = WORKERS[model.kind]
    texts = corpus()["texts"][: max(positions // MIN_TEXT_TOKENS, 1)]
    request = {
        "model": str(model.path.absolute()),
        "strings": corpus()["strings"],
        "texts": texts,
        "limit": positions // len(texts),
        "ids": ids,
        "chats": CHATS,
        "encoder": model.is_encoder,
        "out": str(logits),
        "nitro": str(native.PACKAGE.absolute()),
    }
    try:
        title = f"computing {positions} positions of {model.path.name} with {PACKAGES[model.kind]}"
        with progress.working(title, notify) as tick:
            reply = environments.run(backend, worker, request, notify, tick)
    except ConvertError as error:
        raise ConvertError(f"{model.path} cannot be computed by {PACKAGES[model.kind]}: {error}") from None
    with np.load(logits) as arrays:
        flat = arrays["strings"].tolist()
    rows = iter(flat)
    strings = [[next(rows) for _ in range(length)] for length in reply["lengths"]]
    with reading(model.path):
        chats = reply["chats"] if model.kind == "hf" else render_chats(model)
    return ModelOutput(
        strings=strings,
        ids=reply["ids"],
        vocabulary=reply["vocabulary"],
        settings=reply.get("settings", model.config),
        chats=chats,
        logits=logits,
    )


def prove(
    reference: Checkpoint,
    model: Checkpoint,
    expected: ModelOutput,
    output: ModelOutput,
    notify: Notify = lambda line: None,
    limits: comparison.ProofLimits | None = None,
) -> Proof:
    """Compare everything, and list what fails. `limits`: None for those of the types. Raises ConvertError where a
    matrix cannot be read."""
    failures = []
    strings = corpus()["strings"]
    differing = comparison.differing(strings, expected.strings, output.strings)
    if comparison.unexpected(differing, reference.is_encoder):
        failures.append(f"token ids differ in {len(differing)} of {len(strings)} strings, such as {differing[0]!r}")
    tokens, differing_ids = comparison.vocabularies(expected.vocabulary, output.vocabulary)
    if differing_ids:
        examples = _describe_tokens(differing_ids, expected, output)
        failures.append(f"{len(differing_ids)} of {tokens} tokens differ, such as {examples}")
    template = "none" if expected.chats is None and output.chats is None else "equal"
    if expected.chats != output.chats:
        template = _describe_chats(expected.chats, output.chats)
        failures.append(f"the chat template {template}")
    numbers = [
        hyperparameters.of(each.architecture, each.kind, settings)
        for each, settings in ((reference, expected.settings), (model, output.settings))
    ]
    failures += hyperparameters.differences(*numbers)
    with reading(model.path):
        matrix_count, matrix_failures = compare_matrices(reference, model, notify)
    failures += matrix_failures
    limits = limits or comparison.limits(reference.type, model.type)
    compare = comparison.compare_states if reference.is_encoder else comparison.compare
    with progress.working("comparing what both have computed", notify) as tick:
        scores = compare(_pairs(expected, output, tick))
    failures += comparison.failures(scores, limits)
    return Proof(
        passed=not failures,
        failures=failures,
        reference=reference.path.name,
        reference_type=reference.type,
        type=model.type,
        token_ids=f"{len(strings) - len(differing)} of {len(strings)}",
        vocabulary=f"{tokens - len(differing_ids)} of {tokens}",
        chat_template=template,
        settings=len(numbers[0].keys() & numbers[1].keys()),
        matrices=matrix_count,
        scores=scores,
        limits=asdict(limits),
        fingerprint=fingerprint_of(model.path),
        versions={PACKAGES[each.kind]: _version(each.kind) for each in (reference, model)},
    )


def compare_matrices(
    reference: Checkpoint, model: Checkpoint, notify: Notify = lambda line: None
) -> tuple[int, list[str]]:
    """How many matrices were compared, and the failure, if some differ."""
    expected = matrices.of(reference)
    compared = {name: matrix for name, matrix in matrices.of(model).items() if name in expected}
    in_blocks = reference.blocks or model.blocks
    worst = []
    for name in progress.each("comparing matrices", list(compared), notify) if compared else ():
        matrix = compared[name]
        error = matrices.relative_error(expected[name], matrix)
        limits = comparison.limits(expected[name].type, matrix.type)
        if in_blocks and expected[name].type == matrix.type:
            limits = comparison.SAME_BLOCKS
        if not error <= limits.matrix:
            worst.append((error, name))
    if not worst:
        return len(compared), []
    worst.sort(reverse=True)
    examples = ", ".join(f"{name} (relative error {error:.2g})" for error, name in worst[:MAX_NAMED])
    return len(compared), [f"{len(worst)} of {len(compared)} matrices differ, such as {examples}"]


def _describe_tokens(ids: list[int], expected: ModelOutput, output: ModelOutput) -> str:
    """The first few of these tokens, in the reference and in the model."""
    in_reference = dict(enumerate(expected.vocabulary))
    in_model = dict(enumerate(output.vocabulary))
    return ", ".join(f"{id} ({in_reference.get(id)!r}, {in_model.get(id)!r})" for id in ids[:MAX_NAMED])


def render_chats(model: Checkpoint) -> list[str | None] | None:
    """The prompts of CHATS, rendered as the server does it; None where the template refuses. None: no template."""
    if model.kind == "gguf":
        source = model.config.get(header.TEMPLATE)
        of_tools = model.config.get(f"{header.TEMPLATE}.{folder.TOOL_USE}")
        bos, eos = (_gguf_token(model.config, key) for key in ("bos", "eos"))
    else:
        settings = checkpoint.tokenizer_config(model.path)
        templates = folder.chat_templates(model.path, settings)
        source, of_tools = templates.get(folder.DEFAULT), templates.get(folder.TOOL_USE)
        bos, eos = (folder.token(settings.get(key)) for key in ("bos_token", "eos_token"))
    if not source:
        return None
    try:
        template, with_tools = (ChatTemplate(each, bos, eos) for each in (source, of_tools or source))
    except TemplateError:
        return [None for _ in CHATS]
    return [_render(with_tools if tools else template, messages, tools) for messages, tools in CHATS]


def fingerprint_of(path: Path) -> str:
    """The fingerprint of a model, the same that an engine reports. Raises OSError."""
    if path.is_dir():
        return fingerprint.of(sorted([path / "config.json", *path.glob("*.safetensors")]))
    return fingerprint.of(split_files.files(path))


def write(model: Path, proof: Proof) -> None:
    """Write the proof beside the model. Raises OSError."""
    target = path_for(model)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(proof), indent=2) + b"\n")
    partial.replace(target)


def _pairs(
    expected: ModelOutput, output: ModelOutput, tick: Callable[[], None]
) -> Iterator[tuple[list[int], comparison.Logits, comparison.Logits]]:
    """One text at a time in memory."""
    with np.load(expected.logits) as reference_logits, np.load(output.logits) as model_logits:
        for number, ids in enumerate(expected.ids):
            tick()
            yield ids, reference_logits[f"text_{number}"], model_logits[f"text_{number}"]


def _render(template: ChatTemplate, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str | None:
    try:
        return template.render(messages, tools)
    except TemplateError:
        return None


def _describe_chats(expected: list[str | None] | None, chats: list[str | None] | None) -> str:
    """How the chat templates differ."""
    if expected is None or chats is None:
        return f"is only in the {'model' if expected is None else 'reference'}"
    number = next(i for i, (one, other) in enumerate(zip(expected, chats, strict=True)) if one != other)
    with_tools = " with tools" if CHATS[number][1] else ""
    return f"renders a different prompt for a chat of {len(CHATS[number][0])} messages{with_tools}"


def _gguf_token(metadata: dict[str, Any], key: str) -> str:
    id = metadata.get(f"tokenizer.ggml.{key}_token_id")
    tokens = metadata.get("tokenizer.ggml.tokens", [])
    return str(tokens[id]) if isinstance(id, int) and 0 <= id < len(tokens) else ""


def _version(kind: str) -> str:
    if kind == "hf":
        pin = next(pin for pin in environments.BACKENDS["transformers"].pins if pin.startswith("transformers"))
        return pin.partition("==")[2]
    return environments.pinned(PACKAGES[kind]).partition("==")[2]
