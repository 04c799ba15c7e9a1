"""Which of several forms of one model a name means on this machine."""

from collections.abc import Sequence

from nitro.models import fit, openers
from nitro.models.stored_model import StoredModel

FORMS = {"gguf": 2, "mlx": 1, "hf": 0}
FORMS_OF_MLX = {"mlx": 2, "hf": 1, "gguf": 0}


def best(models: Sequence[StoredModel], memory: int) -> StoredModel:
    """The one that is whole and that an engine here opens; in the form that this machine runs best; that fits into so
    many bytes; and of these the largest, which is the most exact. Of those that do not fit, the smallest."""
    if len(models) == 1:
        return models[0]
    forms = FORMS_OF_MLX if openers.prefers_mlx() else FORMS

    def rank(model: StoredModel) -> tuple[bool, bool, int, bool, int]:
        fits = fit.fits(model, memory)
        size = model.size if fits else -model.size
        return model.problem is None, bool(openers.of(model)), forms[model.format], fits, size

    return max(models, key=rank)
