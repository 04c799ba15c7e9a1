"""Which of MLX's runners a model needs: one for encoders, or the one for models that generate."""

from pathlib import Path

from nitro.checkpoints import files
from nitro.checkpoints.encoders import MODEL_TYPES
from nitro.engines.backends.mlx.encoders.runner import EncoderRunner
from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.runner import LoadError, ModelRunner
from nitro.engines.types import EngineSpec


def make(spec: EngineSpec) -> ModelRunner:
    """The runner, its model loaded. Raises LoadError, and CannotOpen for a GGUF file that only llama.cpp opens."""
    return EncoderRunner(spec) if _is_encoder(Path(spec.model)) else MlxRunner(spec)


def _is_encoder(path: Path) -> bool:
    if not path.is_dir():
        return False
    try:
        return files.read(path / "config.json").get("model_type") in MODEL_TYPES
    except (OSError, ValueError) as error:
        raise LoadError(f"{path / 'config.json'} cannot be read: {error}") from None
