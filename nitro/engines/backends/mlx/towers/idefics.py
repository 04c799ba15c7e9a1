"""Idefics 3 and SmolVLM: a picture is cut into squares, and sent small as a whole, too; a tower of SigLIP's layers, of
which some patches become one row, and a Llama."""

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np

from nitro.engines.backends.mlx.towers.family import (
    Arrays,
    Family,
    Settings,
    TowerInput,
    check,
    check_llama,
    text_settings,
)

OPENS, WHOLE = "<fake_token_around_image>", "<global-img>"


def _settings(config: Settings) -> Settings:
    text = text_settings({"text_config": config["text_config"]})
    check_llama(text, rope_scaling=None, model_type=("llama",))
    vision = {**config["vision_config"]}
    check(vision, hidden_act="gelu_pytorch_tanh", num_channels=3)
    return {"text_config": text, "vision_config": vision}


def _pieces(model: Any, arrays: Arrays) -> Iterator[str | TowerInput]:
    """As the processors of transformers write them."""
    rows, columns = int(arrays["rows"][0][0]), int(arrays["cols"][0][0])
    squares = [_square(model, pixels) for pixels in arrays["pixel_values"][0]]
    for row in range(rows):
        for column in range(columns):
            newline = "\n" if row and not column else ""
            yield f"{newline}{OPENS}<row_{row + 1}_col_{column + 1}>"
            yield squares[row * columns + column]
    yield ("\n\n" if rows else "") + OPENS + WHOLE
    yield squares[-1]
    yield OPENS


def _square(model: Any, pixels: np.ndarray) -> TowerInput:
    patches = pixels.shape[1] // model.config.vision_config.patch_size
    return TowerInput({"pixel_values": pixels}, (patches // model.config.scale_factor) ** 2)


def _encode(model: Any, arrays: Arrays) -> mx.array:
    tower = model.vision_model
    pixels = mx.array(arrays["pixel_values"])[None].transpose(0, 2, 3, 1)
    size = model.config.vision_config.patch_size
    full = mx.ones((1, pixels.shape[1] // size, pixels.shape[2] // size), mx.bool_)
    hidden, *_ = tower(pixels.astype(tower.embeddings.patch_embedding.weight.dtype), patch_attention_mask=full)
    rows: mx.array = model.connector(hidden)[0]
    return rows


def _family(module: str) -> Family:
    return Family(
        module=module,
        tower="vision_model",
        settings=_settings,
        names=(
            (r"^lm_head\.", "language_model.lm_head."),
            (r"^model\.text_model\.", "language_model."),
            (r"^model\.", ""),
        ),
        pieces=_pieces,
        encode=_encode,
        processor={"return_row_col_info": True},
    )


IDEFICS3, SMOLVLM = _family("idefics3"), _family("smolvlm")
