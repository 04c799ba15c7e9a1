"""HF → GGUF by llama.cpp's own converter."""

import runpy
import sys
from pathlib import Path
from typing import Any


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run the converter in the folder `converter`. `check`: convert the vocabulary only, which reads no weight, and
    fails where the tokenizer is not recognised. `templates`: the chat templates by name, where there are several."""
    script = Path(request["converter"]) / "convert_hf_to_gguf.py"
    sys.path.insert(0, str(script.parent))
    if request.get("templates"):
        _set_templates(script.parent / "gguf-py", request["templates"])
    sys.argv = [str(script), request["source"], "--outfile", request["target"], "--outtype", request["outtype"]]
    sys.argv += ["--model-name", request["name"], *(["--vocab-only"] if request["check"] else [])]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as error:
        if error.code:
            raise ValueError(f"it ended with status {error.code}") from None
    return {}


def _set_templates(package: Path, templates: dict[str, str]) -> None:
    """Have these written. The converter finds several only where all of them are in one of two places."""
    sys.path.insert(0, str(package))
    from gguf.vocab import SpecialVocab

    begin = SpecialVocab.__init__

    def begin_with_templates(self: SpecialVocab, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self.chat_template = [{"name": name, "template": text} for name, text in templates.items()]

    SpecialVocab.__init__ = begin_with_templates  # type: ignore[method-assign]
