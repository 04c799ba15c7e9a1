"""Has MLX read the weights that it has opened, in pieces, so that it can be told how far it is."""

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from nitro.engines.weights_read import OF_THIS_PROCESS

PIECE = 1 << 28  # bytes that are read together: MLX reads the arrays of one call side by side


def read(network: Any) -> None:
    """Read all that is not read yet."""
    arrays = [array for _, array in tree_flatten(network.parameters())]
    OF_THIS_PROCESS.begin(sum(array.nbytes for array in arrays))
    piece: list[mx.array] = []
    size = 0
    for array in arrays:
        piece.append(array)
        size += array.nbytes
        if size >= PIECE:
            mx.eval(piece)
            OF_THIS_PROCESS.add(size)
            piece, size = [], 0
    mx.eval(piece)
    OF_THIS_PROCESS.add(size)
