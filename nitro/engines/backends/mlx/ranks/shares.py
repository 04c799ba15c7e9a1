"""What is looked at before any rank is started: whether so many can share a model, and what does not go with ranks.

What mlx-lm shares is the heads of attention and the width of what follows it: each rank has the same part of every
layer. As a pipeline each rank has some of the layers.
"""

import json
from pathlib import Path
from typing import Any

from nitro.engines.hostfile import Hostfile
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.gguf import architectures
from nitro.gguf.header import UnreadableGGUF

# What a configuration has that ranks divide, as sentences call it.
DIVIDED = {
    "num_attention_heads": "attention heads",
    "num_key_value_heads": "KV heads",
    "intermediate_size": "inner features (intermediate_size)",
}
# Options that do not go with --hosts, and why.
REFUSED = {
    "draft": "the draft model would have to be shared, too",
    "lora": "an adapter would have to be divided as the weights are",
    "mmproj": "pictures are encoded by one process",
    "deterministic": "sums of several machines are not known to keep it",
    "prefix_cache": "each rank holds a part of a prefix",
}
MIB = 2**20


def check(spec: EngineSpec, hosts: Hostfile) -> None:
    """Raises LoadError for what cannot be, by the options and by what the model's files say of its sizes."""
    for field, why in REFUSED.items():
        value = getattr(spec, field)
        if value and not (field == "mmproj" and value == "off"):
            flag = "--" + field.replace("_", "-")
            raise LoadError(f"{flag} does not go with --hosts: {why}. Leave one of them out.")
    config = _configuration(Path(spec.model))
    count = len(hosts.hosts)
    if spec.pipeline:
        layers = config.get("num_hidden_layers")
        if isinstance(layers, int) and layers < count:
            raise LoadError(f"--pipeline: {spec.model} has {layers} layers, and there are {count} ranks (--hosts).")
        return
    for key, what in DIVIDED.items():
        number = config.get(key)
        if isinstance(number, int) and number % count:
            raise LoadError(
                f"--hosts: {count} ranks cannot share {spec.model}, which has {number} {what}: their number must be "
                f"divisible by {count}."
            )


def check_memory(spec: EngineSpec, hosts: Hostfile, free: list[int]) -> None:
    """Raises LoadError where a rank's part of the weights does not fit. `free`: bytes on the machine of each."""
    path = Path(spec.model)
    files = [path] if path.is_file() else path.glob("*.safetensors")
    part = sum(file.stat().st_size for file in files) // len(hosts.hosts)
    for rank, bytes in enumerate(free):
        needed = part * hosts.beside(rank)
        if needed > bytes:
            raise LoadError(
                f"--hosts: {hosts.name(rank)} has {bytes // MIB} MiB of memory free, and its part of the weights takes "
                f"{needed // MIB} MiB."
            )


def no_method(architecture: str, pipeline: bool) -> str:
    """A sentence: mlx-lm has no such way to share this architecture."""
    if pipeline:
        return f"--pipeline: mlx-lm cannot divide the layers of a {architecture} model among ranks. Leave it out."
    return f"--hosts: mlx-lm cannot share a {architecture} model among ranks. Try --pipeline."


def _configuration(path: Path) -> dict[str, Any]:
    """As config.json has it; empty where it cannot be read, of which who opens the model says more."""
    try:
        if not path.is_dir():
            return architectures.configuration(architectures.read(path))
        config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return {**config, **(config.get("text_config") or {})}
    except (OSError, ValueError, TypeError, KeyError, UnreadableGGUF):
        return {}
