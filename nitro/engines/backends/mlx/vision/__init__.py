"""Models that see, on mlx-vlm's classes. Its `__init__` imports a server, a trainer and what they need; we need none."""

from nitro.system import packages

packages.defer("mlx_vlm")
