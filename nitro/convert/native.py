"""Runs Nitro's own conversions by a worker in MLX's environment, since this one may have no MLX."""

from collections.abc import Callable
from pathlib import Path

from nitro.convert import environments

PACKAGE = Path(__file__).parents[1]


def check(conversion: str, source: Path, notify: Callable[[str], None], **options: bool) -> None:
    """Raises ConvertError where the source cannot be converted, as far as that shows without reading weights.

    `conversion`: a module of this package, "gguf_to_mlx" or "mlx_to_hf"; `options`: of its functions.
    """
    request = {**_request(conversion, source, source), "check": True, "options": options}
    environments.run("mlx", "native", request, notify)


def convert(conversion: str, source: Path, target: Path, tick: Callable[[], None], **options: bool) -> list[str]:
    """Convert, and return notices for the user. `tick` is called while it runs. Raises ConvertError, OSError."""
    request = {**_request(conversion, source, target), "check": False, "options": options}
    reply = environments.run("mlx", "native", request, tick=tick)
    return list(reply["notices"])


def _request(conversion: str, source: Path, target: Path) -> dict[str, str]:
    return {
        "nitro": str(PACKAGE.absolute()),
        "conversion": conversion,
        "source": str(source.absolute()),
        "target": str(target.absolute()),
    }
