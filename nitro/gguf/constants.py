"""The types of values and tensors in a GGUF, from the package `gguf`, whose `__init__` would import all it can do."""

from nitro.system import packages

packages.defer("gguf")

from gguf.constants import GGML_QUANT_SIZES as GGML_QUANT_SIZES  # noqa: E402
from gguf.constants import GGUF_DEFAULT_ALIGNMENT as GGUF_DEFAULT_ALIGNMENT  # noqa: E402
from gguf.constants import MODEL_ARCH_NAMES as MODEL_ARCH_NAMES  # noqa: E402
from gguf.constants import GGMLQuantizationType as GGMLQuantizationType  # noqa: E402
from gguf.constants import GGUFValueType as GGUFValueType  # noqa: E402
from gguf.constants import LlamaFileType as LlamaFileType  # noqa: E402
