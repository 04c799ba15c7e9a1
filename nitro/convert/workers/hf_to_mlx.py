"""HF → MLX by mlx-lm's own conversion, and what it knows."""

import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any

# the tokenizer's files are the model's own where it has them: those that are saved anew may be others
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json"),
)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """`check` only: whether mlx-lm knows the configuration. Else the whole way, `bits` null for none."""
    import mlx_lm.utils

    try:
        mlx_lm.utils._get_classes(request["config"])
    except ValueError as error:
        return {"unknown": str(error)}
    if request["check"]:
        return {}
    from mlx_lm.convert import convert

    source, target = Path(request["source"]), Path(request["target"])
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
    for code in target.glob("*.py"):
        code.unlink()  # nothing of ours will run it, and nothing else should
    return {}
