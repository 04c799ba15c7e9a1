#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "click>=8.2", "gguf", "jinja2>=3.1", "llama-cpp-python==0.3.36", "msgspec>=0.22", "numpy", "rich>=15.0",
# ]
# ///
"""Converts a Hugging Face or MLX folder to a GGUF file, proven: `to_gguf.py SOURCE [-o TARGET] [--type Q4_K_M]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nitro.cli.main import main

if __name__ == "__main__":
    main(["convert", "--to", "gguf", *sys.argv[1:]])
