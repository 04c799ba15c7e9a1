"""Are two models the same? Token ids, vocabularies, chat templates and logits of both, each from its own backend.

HF folders are read by transformers, MLX folders by mlx-lm, GGUF files by llama.cpp. The reference's token ids are used
for both models' logits.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nitro.checkpoints import files as folder
from nitro.checkpoints import fingerprint
from nitro.convert import checkpoint, comparison, environments, hyperparameters, matrices
from nitro.convert.checkpoint import Checkpoint, understood
from nitro.convert.comparison import Proof
from nitro.errors import ConvertError, TemplateError
from nitro.gguf import split_files
from nitro.models.conversion_report import beside
from nitro.text.template import ChatTemplate

POSITIONS = 1000
LEAST_TOKENS = 64  # of a text: where it begins, everything is likely, and small errors show most
BACKEND = {"hf": ("transformers", "score_hf"), "mlx": ("mlx", "score_mlx"), "gguf": ("llama", "score_gguf")}
FEW = 3  # of what differs is named
PACKAGE = {"hf": "transformers", "mlx": "mlx-lm", "gguf": "llama-cpp-python"}

_HELLO = {"role": "user", "content": "Hello, who are you?"}
_TALK = [
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
CHATS = [([_HELLO], None), (_TALK, None), (_TALK[1:], None), ([_HELLO], _TOOLS), (_TALK, _TOOLS)]


class Said(msgspec.Struct):
    """What a model's backend answers."""

    strings: list[list[int]]  # token ids of the corpus's strings
    ids: list[list[int]]  # of its texts
    vocabulary: list[str | None]  # every token by id, as it is written
    settings: dict[str, Any]  # what it computes with: a configuration, completed, or a GGUF's metadata
    chats: list[str | None] | None  # as rendered, None where refused; None: no template
    logits: Path  # .npz with text_0, text_1, …: float32 [tokens, vocabulary]


@lru_cache
def corpus() -> dict[str, list[str]]:
    """`strings`, 200 of them, to tokenise; `texts` to score. All in NFC: to that some tokenizers bring what they read
    (Qwen's), and llama.cpp never does."""
    content: dict[str, list[str]] = json.loads(Path(__file__).with_name("corpus.json").read_text(encoding="utf-8"))
    return content


def verify(
    reference: Path, model: Path, positions: int = POSITIONS, say: Callable[[str], None] = lambda line: None
) -> Proof:
    """Raises ConvertError where one of them cannot be read or computed. A proof that failed is an answer."""
    with understood(reference):
        one = checkpoint.read(reference)
    with understood(model):
        other = checkpoint.read(model)
    if one.is_encoder != other.is_encoder:
        raise ConvertError(f"{(one if one.is_encoder else other).path} is there for embeddings, and the other is not.")
    try:
        with tempfile.TemporaryDirectory(prefix="nitro-verify-") as scratch:
            theirs = ask(one, None, positions, Path(scratch) / "reference.npz", say)
            ours = ask(other, theirs.ids, positions, Path(scratch) / "model.npz", say)
            return judge(one, other, theirs, ours)
    except OSError as error:
        raise ConvertError(f"The comparison needs room for logits, and failed: {error.strerror or error}.") from None


def ask(model: Checkpoint, ids: list[list[int]] | None, positions: int, out: Path, say: Callable[[str], None]) -> Said:
    """`ids`: what to score; None: the texts, as this model's tokenizer has them."""
    backend, worker = BACKEND[model.kind]
    texts = corpus()["texts"][: max(positions // LEAST_TOKENS, 1)]
    request = {
        "model": str(model.path.absolute()),
        "strings": corpus()["strings"],
        "texts": texts,
        "limit": positions // len(texts),
        "ids": ids,
        "chats": CHATS,
        "encoder": model.is_encoder,
        "out": str(out),
    }
    try:
        answer = environments.run(backend, worker, request, say)
    except ConvertError as error:
        raise ConvertError(f"{model.path} cannot be computed by {PACKAGE[model.kind]}: {error}") from None
    with np.load(out) as arrays:
        flat = arrays["strings"].tolist()
    rows = iter(flat)
    strings = [[next(rows) for _ in range(length)] for length in answer["lengths"]]
    with understood(model.path):
        chats = answer["chats"] if model.kind == "hf" else rendered(model)
    said = answer.get("settings", model.config)
    return Said(strings, answer["ids"], answer["vocabulary"], said, chats, out)


def judge(one: Checkpoint, other: Checkpoint, theirs: Said, ours: Said) -> Proof:
    failures = []
    strings = corpus()["strings"]
    differing = comparison.differing(strings, theirs.strings, ours.strings)
    if comparison.unexpected(differing, one.is_encoder):
        failures.append(f"token ids differ in {len(differing)} of {len(strings)} strings, as in {differing[0]!r}")
    tokens, others = comparison.vocabularies(theirs.vocabulary, ours.vocabulary)
    if others:
        failures.append(f"{len(others)} of {tokens} tokens are others, as {_tokens(others, theirs, ours)}")
    template = "none" if theirs.chats is None and ours.chats is None else "equal"
    if theirs.chats != ours.chats:
        template = _difference(theirs.chats, ours.chats)
        failures.append(f"the chat template {template}")
    numbers = [
        hyperparameters.of(model.architecture, model.kind, said.settings)
        for model, said in ((one, theirs), (other, ours))
    ]
    failures += hyperparameters.differences(*numbers)
    with understood(other.path):
        compared, moved = compare_matrices(one, other)
    failures += moved
    limits = comparison.limits(one.type, other.type)
    scores = (comparison.compare_states if one.is_encoder else comparison.compare)(_pairs(theirs, ours))
    failures += comparison.failures(scores, limits)
    return Proof(
        passed=not failures,
        failures=failures,
        reference=one.path.name,
        reference_type=one.type,
        type=other.type,
        token_ids=f"{len(strings) - len(differing)} of {len(strings)}",
        vocabulary=f"{tokens - len(others)} of {tokens}",
        chat_template=template,
        settings=len(numbers[0].keys() & numbers[1].keys()),
        matrices=compared,
        scores=scores,
        limits=asdict(limits),
        fingerprint=marks(other.path),
        versions={PACKAGE[each.kind]: _version(each.kind) for each in (one, other)},
    )


def compare_matrices(one: Checkpoint, other: Checkpoint) -> tuple[int, list[str]]:
    """How many were compared, and what is said of those that are others."""
    theirs, ours = matrices.of(one), matrices.of(other)
    errors = {
        name: (matrices.error(matrix, ours[name]), comparison.limits(matrix.type, ours[name].type).matrix)
        for name, matrix in theirs.items()
        if name in ours
    }
    worst = sorted(((error, name) for name, (error, limit) in errors.items() if not error <= limit), reverse=True)
    named = ", ".join(f"{name} (by {error:.2g} of its size)" for error, name in worst[:FEW])
    return len(errors), [f"{len(worst)} of {len(errors)} matrices are others, as {named}"] if worst else []


def _tokens(ids: list[int], theirs: Said, ours: Said) -> str:
    """The first few, as the reference and the model have them."""
    both = [dict(enumerate(said.vocabulary)) for said in (theirs, ours)]
    return ", ".join(f"{id} ({both[0].get(id)!r}, {both[1].get(id)!r})" for id in ids[:FEW])


def rendered(model: Checkpoint) -> list[str | None] | None:
    """The chats by the model's template, as the server renders them."""
    if model.kind == "gguf":
        source = model.config.get("tokenizer.chat_template")
        bos, eos = (_gguf_token(model.config, key) for key in ("bos", "eos"))
    else:
        about = checkpoint.text_files(model.path)
        source = folder.chat_template(model.path, about)
        bos, eos = folder.token(about.get("bos_token")), folder.token(about.get("eos_token"))
    if not source:
        return None
    try:
        template = ChatTemplate(source, bos, eos)
    except TemplateError:
        return [None for _ in CHATS]
    return [_render(template, *chat) for chat in CHATS]


def marks(path: Path) -> str:
    """The fingerprint that an engine gives of the same model."""
    if path.is_dir():
        return fingerprint.of(sorted([path / "config.json", *path.glob("*.safetensors")]))
    return fingerprint.of(split_files.files(path))


def write(model: Path, found: Proof) -> None:
    """Raises OSError."""
    target = beside(model)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    partial.replace(target)


def _pairs(theirs: Said, ours: Said) -> Iterator[tuple[list[int], comparison.Logits, comparison.Logits]]:
    """One text at a time in memory."""
    with np.load(theirs.logits) as one, np.load(ours.logits) as other:
        for number, ids in enumerate(theirs.ids):
            yield ids, one[f"text_{number}"], other[f"text_{number}"]


def _render(template: ChatTemplate, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str | None:
    try:
        return template.render(messages, tools)
    except TemplateError:
        return None


def _difference(theirs: list[str | None] | None, ours: list[str | None] | None) -> str:
    if theirs is None or ours is None:
        return f"is in the {'model' if theirs is None else 'reference'} only"
    number = next(i for i, (one, other) in enumerate(zip(theirs, ours, strict=True)) if one != other)
    with_tools = " with tools" if CHATS[number][1] else ""
    return f"renders another prompt for a chat of {len(CHATS[number][0])} messages{with_tools}"


def _gguf_token(metadata: dict[str, Any], key: str) -> str:
    id, tokens = metadata.get(f"tokenizer.ggml.{key}_token_id"), metadata.get("tokenizer.ggml.tokens", [])
    return str(tokens[id]) if isinstance(id, int) and 0 <= id < len(tokens) else ""


def _version(kind: str) -> str:
    if kind == "hf":
        pin = next(pin for pin in environments.BACKENDS["transformers"].pins if pin.startswith("transformers"))
        return pin.partition("==")[2]
    return environments.pinned(PACKAGE[kind]).partition("==")[2]
