"""Nitro's own conversions, run by a worker in MLX's environment: this one may have no MLX."""

from collections.abc import Callable
from pathlib import Path

from nitro.convert import environments

PACKAGE = Path(__file__).parents[1]


def check(conversion: str, source: Path, say: Callable[[str], None]) -> None:
    """Reads no weight. Raises ConvertError."""
    environments.run("mlx", "native", {**_request(conversion, source, source), "check": True}, say)


def convert(conversion: str, source: Path, target: Path, tick: Callable[[], None]) -> list[str]:
    """Notices for the user. Raises ConvertError, OSError."""
    answer = environments.run("mlx", "native", {**_request(conversion, source, target), "check": False}, tick=tick)
    return list(answer["notices"])


def _request(conversion: str, source: Path, target: Path) -> dict[str, str]:
    return {
        "nitro": str(PACKAGE.absolute()),
        "conversion": conversion,
        "source": str(source.absolute()),
        "target": str(target.absolute()),
    }
