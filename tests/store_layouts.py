"""Models laid out as other programs store them: each function takes a GGUF and puts it into a home folder, as a link
where the layout allows it. They return the name by which the model is found."""

import hashlib
import json
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def ollama(home: Path, gguf: Path, name: str = "registry.ollama.ai/library/tiny/1b", v2: bool = False) -> str:
    root = home / ".ollama/models"
    blob = _blob(root / "blobs", gguf)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": blob, "size": gguf.stat().st_size}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": "sha256:" + "0" * 64},
        "layers": [layer, {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "1" * 64}],
    }
    file = root / ("manifests-v2" if v2 else "manifests") / name
    file.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(manifest)
    if v2:
        digest = hashlib.sha256(content.encode()).hexdigest()
        (root / "blobs" / f"sha256-{digest}").write_text(content)
        file.symlink_to(root / "blobs" / f"sha256-{digest}")
    else:
        file.write_text(content)
    return "tiny:1b"


def lm_studio(home: Path, gguf: Path) -> str:
    folder = home / ".lmstudio/models/maker/tiny-GGUF"
    folder.mkdir(parents=True)
    (folder / "tiny-Q4_K_M.gguf").symlink_to(gguf)
    return "maker/tiny-GGUF:Q4_K_M"


def jan(home: Path, gguf: Path) -> str:
    data = home / ".local/share/Jan/data"
    folder = data / "llamacpp/models/maker/tiny_Q4"
    folder.mkdir(parents=True)
    (folder / "model.gguf").symlink_to(gguf)
    (folder / "model.yml").write_text(
        "embedding: false\nmodel_path: llamacpp/models/maker/tiny_Q4/model.gguf\nname: 'Tiny Q4'\nsize_bytes: 1\n"
    )
    return "maker/tiny_Q4"


def old_jan(home: Path, gguf: Path) -> str:
    folder = home / "cortexcpp/models/cortex.so/tiny/main"
    folder.mkdir(parents=True)
    (folder / "model.gguf").symlink_to(gguf)
    (folder / "model.yml").write_text(
        "# BEGIN GENERAL GGUF METADATA\nid: tiny\nmodel: tiny:main # Model ID\nfiles:             # where\n"
        "  - models/cortex.so/tiny/main/model.gguf\nengine: llama-cpp\n"
    )
    return "tiny:main"


def llama_cpp(home: Path, gguf: Path) -> str:
    cache = home / ".cache/llama.cpp"
    cache.mkdir(parents=True)
    (cache / "maker_tiny-GGUF_tiny-Q8_0.gguf").symlink_to(gguf)
    (cache / "maker_tiny-GGUF_tiny-Q8_0.gguf.etag").write_text("etag")
    manifest = {"ggufFile": {"rfilename": "tiny-Q8_0.gguf", "size": 1}}
    (cache / "manifest=maker=tiny-GGUF=Q8_0.json").write_text(json.dumps(manifest))
    return "maker/tiny-GGUF:Q8_0"


def hub(home: Path, gguf: Path, file: str = "tiny-Q4_0.gguf", repository: str = "maker/tiny-GGUF") -> str:
    return hub_files(home, {file: gguf}, repository) + ":Q4_0"


def hub_files(home: Path, files: dict[str, Path], repository: str) -> str:
    """These files, by their names in the repository; each is a link to a blob, which is a link to the file."""
    root = home / ".cache/huggingface/hub" / ("models--" + repository.replace("/", "--"))
    for name, content in files.items():
        blob = root / "blobs" / hashlib.sha256(name.encode()).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.symlink_to(content)
        pointer = root / "snapshots" / COMMIT / name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.symlink_to(blob)
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs/main").write_text(COMMIT)
    return repository


def _blob(folder: Path, file: Path) -> str:
    digest = hashlib.sha256(str(file).encode()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / f"sha256-{digest}").exists():
        (folder / f"sha256-{digest}").symlink_to(file)
    return f"sha256:{digest}"


LAYOUTS = {
    "ollama": ollama,
    "lm_studio": lm_studio,
    "jan": jan,
    "old_jan": old_jan,
    "llama_cpp": llama_cpp,
    "hub": hub,
}
