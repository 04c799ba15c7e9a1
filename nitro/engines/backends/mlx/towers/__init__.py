"""Models that see or hear. Those that see are mlx-vlm's, whose `__init__` imports a server and a trainer, which are not
needed here."""

from nitro.system import packages

packages.defer("mlx_vlm")
