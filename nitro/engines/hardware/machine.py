"""Rosetta: a Python for another processor than the machine's own."""

import platform
import subprocess
import sys


def is_translated() -> bool:
    """Whether Rosetta runs this x86_64 Python on an Apple-Silicon Mac: MLX cannot be installed there, and llama.cpp is
    slow."""
    if sys.platform != "darwin" or platform.machine() != "x86_64":
        return False
    done = subprocess.run(["/usr/sbin/sysctl", "-n", "sysctl.proc_translated"], capture_output=True, check=False)
    return done.stdout.strip() == b"1"  # an Intel Mac knows no such thing
