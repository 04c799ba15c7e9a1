"""What llama.cpp's quantiser takes long for: it searches for half a minute before it writes types of two bits. So it is
made once, and kept in the cache folder under a name that tells what it was made of."""

import hashlib
import os
import shutil
from importlib import metadata
from pathlib import Path

from bench.quantized_models import quantize
from nitro.system import folders


def quantized(source: Path, target: Path, kind: str, others: dict[str, str], pure: bool = True) -> Path:
    """As `quantize` makes it. The source may lie anywhere."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    made_of = repr((metadata.version("llama-cpp-python"), digest, kind, sorted(others.items()), pure))
    kept = folders.cache() / "tests" / f"{hashlib.sha256(made_of.encode()).hexdigest()[:32]}.gguf"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        quantize(source, part, kind, pure, others).rename(kept)
    return Path(shutil.copyfile(kept, target))
