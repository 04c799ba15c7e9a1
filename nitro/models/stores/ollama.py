"""Ollama's models, as Ollama 0.12 and later store them (server sources: manifest/, types/model/name.go).

    $OLLAMA_MODELS, or ~/.ollama/models; /usr/share/ollama/.ollama/models where it is a service on Linux
        manifests/HOST/NAMESPACE/MODEL/TAG      JSON
        manifests-v2/HOST/NAMESPACE/MODEL/TAG   the same, as a link to a blob; comes before the first
        blobs/sha256-HEX                        what the manifests name; an unfinished one is blobs/sha256-HEX-partial

A manifest has `layers` of `mediaType`, `digest` and `size`; application/vnd.ollama.image.model is a GGUF, …projector a
projector, …adapter a LoRA adapter, …tensor one tensor. A manifest of several forms has `manifests` instead, each whole,
or with a `digest` that names it. Models of the registry's own library are called MODEL:TAG, others NAMESPACE/MODEL:TAG;
those of another host have it before that.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from nitro.models.stored_model import StoredModel
from nitro.models.stores.store import Found, Store

HOSTS = ("registry.ollama.ai", "ollama.com")  # its own
HUBS = ("hf.co", "huggingface.co")
LIBRARY, LATEST = "library", "latest"
MANIFESTS = ("manifests-v2", "manifests")
KIND = "application/vnd.ollama.image."
MAX_BYTES = 2**20  # of a manifest
MAX_MANIFESTS = 10_000
DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


def _roots() -> list[Path]:
    if configured := os.environ.get("OLLAMA_MODELS"):
        return [Path(configured).expanduser()]
    return [Path.home() / ".ollama/models", Path("/usr/share/ollama/.ollama/models")]


def _find(root: Path) -> Iterator[Found]:
    seen: set[tuple[str, ...]] = set()
    for folder in MANIFESTS:
        for count, file in enumerate(sorted((root / folder).glob("*/*/*/*"))):
            name = _without_own_host(file.relative_to(root / folder).parts)
            if count < MAX_MANIFESTS and name not in seen and os.path.isfile(file):
                seen.add(name)
                yield _model(root, file, name)


def _model(root: Path, file: Path, name: tuple[str, ...]) -> Found:
    manifest = _runnable(root, _read(file))
    layers = _layers(manifest)
    weights, projectors = layers.get("model", []), layers.get("projector", [])
    path = _blob(root, weights[0]) if weights else None
    names = _names(name)
    return Found(
        name=names[0],
        names=names[1:],
        path=path or file,
        projector=_blob(root, projectors[0]) if projectors else None,
        problem=_problem(layers, path, names[0]),
    )


def _problem(layers: dict[str, list[dict[str, Any]]], path: Path | None, name: str) -> str | None:
    if "tensor" in layers:
        return "Ollama stores it as single tensors, which only Ollama opens; fetch a GGUF or an MLX model of it."
    if path is None:
        return f"Its manifest names no weights, or cannot be read; `ollama pull {name}` fetches it again."
    if not os.path.isfile(path):
        return f"{path.name} is missing; `ollama pull {name}` fetches it again."
    if "adapter" in layers:
        return "It is a model with an adapter, which Nitro does not apply yet."
    return None


def _names(name: tuple[str, ...]) -> tuple[str, ...]:
    """As Ollama calls it, and as others do: without the tag where that is `latest`, and without the hub's host."""
    *path, tag = name
    whole = "/".join(path)
    short = whole.partition("/")[2] if path[0] in HUBS else ""
    others = [f"{short}:{tag}"] if short else []
    if tag == LATEST:
        others += [whole, *([short] if short else [])]
    return (f"{whole}:{tag}", *others)


def _without_own_host(parts: tuple[str, ...]) -> tuple[str, ...]:
    host, namespace, model, tag = parts
    if host not in HOSTS:
        return parts
    return (model, tag) if namespace == LIBRARY else (namespace, model, tag)


def _runnable(root: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest itself; of one of several forms the one with a GGUF, which is llama.cpp's or Ollama's runner's."""
    forms = manifest.get("manifests")
    if not isinstance(forms, list):
        return manifest
    found = [form if form.get("layers") else _read(_blob(root, form)) for form in forms if isinstance(form, dict)]
    return next((form for form in found if "model" in _layers(form)), found[0] if found else {})


def _layers(manifest: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By the last word of their media type."""
    found: dict[str, list[dict[str, Any]]] = {}
    layers = manifest.get("layers")
    for layer in layers if isinstance(layers, list) else []:
        kind = layer.get("mediaType") if isinstance(layer, dict) else None
        if isinstance(kind, str) and kind.startswith(KIND):
            found.setdefault(kind.removeprefix(KIND).partition(";")[0], []).append(layer)
    return found


def _blob(root: Path, layer: dict[str, Any]) -> Path | None:
    digest = DIGEST.fullmatch(str(layer.get("digest", "")))
    return root / "blobs" / f"sha256-{digest[1].lower()}" if digest else None


def _read(file: Path | None) -> dict[str, Any]:
    """A manifest; empty where it is none."""
    try:
        if file is None or not file.is_file() or file.stat().st_size > MAX_BYTES:
            return {}
        content = msgspec.json.decode(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _removal(model: StoredModel) -> str:
    return f"ollama rm {model.name}"


OLLAMA = Store(name="ollama", title="Ollama", roots=_roots, find=_find, removal=_removal)
