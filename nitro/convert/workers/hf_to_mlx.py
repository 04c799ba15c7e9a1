"""HF → MLX by mlx-lm's own conversion, and which models it supports."""

import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any

# copied from the model where it has them, since mlx-lm may save them with other contents
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json"),
)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Convert. `check`: only see whether mlx-lm supports the configuration. `bits`: null for no quantisation."""
    import mlx_lm.utils

    try:
        mlx_lm.utils._get_classes(request["config"])
    except ValueError as error:
        return {"unknown": str(error)}
    if request["check"]:
        return {}
    from mlx_lm.convert import convert

    source = Path(request["source"])
    target = Path(request["target"])
    with contextlib.redirect_stdout(sys.stderr):
        convert(
            str(source),
            str(target),
            quantize=request["bits"] is not None or request["recipe"] is not None,
            q_group_size=request["group_size"],
            q_bits=request["bits"],
            dtype=request["dtype"],
            quant_predicate=request["recipe"],
        )
    for name in TOKENIZER:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    for file in source.glob("additional_chat_templates/*.jinja"):
        (target / file.parent.name).mkdir(exist_ok=True)
        shutil.copyfile(file, target / file.parent.name / file.name)
    for code in target.glob("*.py"):
        code.unlink()  # Nitro never runs it, and nothing else should
    return {}
