"""The files of an adapter: its own, where it is one file, or those in its folder."""

from pathlib import Path

from nitro.checkpoints import fingerprint as fingerprints

KINDS = (".json", ".safetensors")


def fingerprint(path: Path) -> str:
    """A hash in hex, which changes with the weights and the settings. Raises OSError."""
    found = sorted(file for file in path.iterdir() if file.suffix in KINDS) if path.is_dir() else [path]
    return fingerprints.of(found)
