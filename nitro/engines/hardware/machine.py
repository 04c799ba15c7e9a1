"""What kind of machine this is, as far as the choice of an engine goes."""

import platform
import subprocess
import sys


def is_apple_silicon() -> bool:
    """A Mac with Apple's processor, and a Python built for it."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def is_translated() -> bool:
    """An x86_64 Python that Rosetta runs on such a Mac: MLX is not to be had there, and llama.cpp is slow."""
    if sys.platform != "darwin" or platform.machine() != "x86_64":
        return False
    asked = subprocess.run(["/usr/sbin/sysctl", "-n", "sysctl.proc_translated"], capture_output=True, check=False)
    return asked.stdout.strip() == b"1"  # an Intel Mac knows no such thing
