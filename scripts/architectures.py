"""Writes docs/architectures.md from what the tests recorded: tests/data/architectures.json
(tests/convert/record_architectures.py)."""

import json
from pathlib import Path
from typing import Any

from bench import converted_families
from nitro.gguf import architectures

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "architectures.md"
RECORDED = ROOT / "tests" / "data" / "architectures.json"
HEAD = """# Architectures

`make docs` writes this file from what the tests recorded.

A tiny random checkpoint of each kind was made by transformers and converted to GGUF by llama.cpp's own converter, in
float32. A number is the mean Kullback–Leibler divergence of next-token distributions, in nats, over 200 tokens: how far
an engine is from transformers (llama.cpp, and MLX on the checkpoint itself), or from llama.cpp (MLX on the GGUF). What
float32 rounding alone explains is about 1e-9. MLX on a folder that `nitro convert` made of the GGUF computes exactly
what it computes on the GGUF.

llama.cpp opens many more architectures than this page lists. A GGUF that MLX cannot open is refused by name, before its
weights are read, and served by llama.cpp where that is installed.

"""
COLUMNS = ("GGUF's architecture", "transformers' model", "llama.cpp: GGUF, HF", "MLX: GGUF, MLX", "MLX: HF")


def text() -> str:
    """The text of docs/architectures.md."""
    recorded: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    rows = [_row(found) for found in recorded.values()]
    lines = [COLUMNS, ("---",) * len(COLUMNS), *sorted(rows)]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return HEAD + table + "\n" + _others(recorded)


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    most = converted_families.most(found["architecture"])
    cells = (_cell(found[key], limit) for key, limit in most.items())
    return f"`{found['architecture']}`", f"`{found['model_type']}`", *cells


def _cell(found: float | str, limit: float) -> str:
    """A number, or why there is none. `limit`: above it, it is another model."""
    if isinstance(found, str):
        return "no: " + found.replace("|", "\\|")
    return f"{found:.0e}" if found < limit else f"differs: {found:.0e}"


def _others(recorded: dict[str, dict[str, Any]]) -> str:
    """The architectures that MLX opens, and that are checked by handmade files only (tests/tiny_families.py)."""
    others = sorted(architectures.FAMILIES.keys() - {found["architecture"] for found in recorded.values()})
    return f"Checked with handmade files instead: {', '.join(f'`{name}`' for name in others)}.\n" if others else ""


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
