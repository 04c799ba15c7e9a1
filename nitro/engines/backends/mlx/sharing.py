"""How a runner's network is shared among processes: here not at all, and in ranks/group.py by several."""

from typing import Any

import mlx.core as mx

from nitro.engines.backends.mlx import sampler
from nitro.engines.backends.mlx.sampler import SamplerRow
from nitro.engines.backends.mlx.self_test import Trial


class Alone:
    """The whole network, in one process."""

    size = 1

    def share(self, network: Any) -> None:
        """Leave of the network, whose weights are not read yet, this rank's part. Raises LoadError."""

    def meet(self, fingerprint: str) -> None:
        """Wait for the others, whose parts must be of the same weights. Raises LoadError."""

    def agree(self, trial: Trial) -> Trial:
        """What trying the network out has shown to all. Raises LoadError."""
        return trial

    def least(self, number: int) -> int:
        """Of the numbers that the ranks have."""
        return number

    def draw(self, logits: mx.array, rows: list[SamplerRow], newest: mx.array | None = None) -> mx.array:
        """See sampler.sample."""
        return sampler.sample(logits, rows, newest)


ALONE = Alone()
