"""MLX as its runner has it, but for who multiplies: for a real model's servers in tests that are not about kernels.

MLX's CPU build multiplies packed weights in loops; for a prompt they take fifteen times as long as NumPy, which
multiplies here. All else is the runner's own: caches, groups, sampling, grammars, vectors. What MLX's own products
give, tests of the engine "mlx" tell. On a GPU those are used.
"""

from unittest.mock import patch

from mlx_scorer import with_fast_products

from nitro.engines.backends.mlx import library, runner
from nitro.engines.backends.mlx.model import MlxModel
from nitro.engines.types import EngineSpec


class QuickMlx(runner.MlxRunner):
    """Given as `--engine quick_mlx:QuickMlx`, with a model without biases."""

    def __init__(self, spec: EngineSpec):
        opened = runner.open_model

        def quick(*arguments: object) -> MlxModel:
            model = opened(*arguments)
            if not library.gpu_kind():
                model.network = with_fast_products(model.network)
            return model

        with patch.object(runner, "open_model", quick):
            super().__init__(spec)
