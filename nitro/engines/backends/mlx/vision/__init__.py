"""Models that see, on mlx-vlm's classes. Its `__init__` imports a server and a trainer, which are not needed here."""

from nitro.system import packages

packages.defer("mlx_vlm")
