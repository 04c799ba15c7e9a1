"""Which of MLX's runners a model needs: the one that embeds or scores, or the one that generates text."""

from pathlib import Path
from typing import Any

from nitro.checkpoints import encoders, files, sentence_files
from nitro.engines.backends.mlx.encoders.runner import EncoderRunner
from nitro.engines.backends.mlx.ranks import opening
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.runner import CannotOpen, LoadError
from nitro.engines.types import EngineSpec
from nitro.gguf import embedding, header, reranking


def make(spec: EngineSpec) -> Any:
    """A ModelRunner, its model loaded. Raises LoadError, and CannotOpen for a GGUF file that only llama.cpp opens."""
    path = Path(spec.model)
    if spec.pipeline and not spec.hosts:
        raise LoadError("--pipeline is for several machines: it needs --hosts.")
    if spec.insecure_network and not spec.hosts:
        raise LoadError("--insecure-network is about other machines, and none is named (--hosts). Leave it out.")
    if path.is_dir() and _embeds(path):
        if spec.hosts:
            raise LoadError(f"{path} embeds or ranks texts, which one process does. Leave --hosts out.")
        return EncoderRunner(spec)
    if not path.is_dir():
        _refuse_embedding(path)
    return opening.make(spec) if spec.hosts else MlxRunner(spec)


def _embeds(folder: Path) -> bool:
    if (folder / sentence_files.MODULES).is_file():
        return True
    try:
        return encoders.is_encoder(files.read(folder / "config.json"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{folder / 'config.json'} cannot be read: {error}") from None


def _refuse_embedding(path: Path) -> None:
    """Raises CannotOpen for a GGUF that embeds or ranks: MLX does that with folders."""
    try:
        head = header.read_all(path, full=False)
    except (OSError, header.UnreadableGGUF):
        return  # who opens it says it better
    if embedding.kind_of(head) or reranking.is_reranker(head):
        raise CannotOpen(
            f"{path} embeds or ranks texts, which MLX does with a folder in transformers' layout, and not with a GGUF."
        )
