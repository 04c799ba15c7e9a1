"""HF → GGUF by llama.cpp's own converter."""

import runpy
import sys
from pathlib import Path
from typing import Any


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run the converter in the folder `converter`. `check`: convert the vocabulary only, which reads no weight, and
    fails where the tokenizer is not recognised."""
    script = Path(request["converter"]) / "convert_hf_to_gguf.py"
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script), request["source"], "--outfile", request["target"], "--outtype", request["outtype"]]
    sys.argv += ["--model-name", request["name"], *(["--vocab-only"] if request["check"] else [])]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as error:
        if error.code:
            raise ValueError(f"it ended with status {error.code}") from None
    return {}
