#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["click>=8.2", "gguf", "jinja2>=3.1", "msgspec>=0.22", "numpy", "rich>=15.0"]
# ///
"""Compares two models, each an HF folder, an MLX folder or a GGUF: `verify.py A B [--reference R]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nitro.cli.main import main

if __name__ == "__main__":
    main(["verify", *sys.argv[1:]])
