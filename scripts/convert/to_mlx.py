#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["click>=8.2", "gguf", "jinja2>=3.1", "mlx-lm==0.32.2", "msgspec>=0.22", "numpy", "rich>=15.0"]
# ///
"""Converts a Hugging Face folder or a GGUF to an MLX folder, proven: `to_mlx.py SOURCE [-o TARGET] [--bits 4]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nitro.cli.main import main

if __name__ == "__main__":
    main(["convert", "--to", "mlx", *sys.argv[1:]])
