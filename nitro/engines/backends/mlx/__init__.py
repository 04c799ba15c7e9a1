"""MLX."""

from nitro.system import packages

packages.defer("gguf")
