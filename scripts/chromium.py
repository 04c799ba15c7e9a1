#!/usr/bin/env python3
"""Installs Debian's Chromium for the tests of the page, where it is missing and apt can; else it says why not.

Its status is 0 either way: the tests that need a browser are skipped, and say so.
"""

import os
import shutil
import subprocess
import sys

INSTALL = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "chromium", "fonts-noto-core")


def main() -> None:
    """Look for it, and install it."""
    if shutil.which("chromium"):
        return
    print(why_not() or "Chromium is installed.", file=sys.stderr)


def why_not() -> str:
    """Install it. Returns why that was not possible, or ""."""
    by_hand = "Install it by hand: sudo apt install chromium. Until then the tests of the page are skipped."
    if not shutil.which("apt-get"):
        return "The tests of the page need Chromium, and there is no apt to install it. " + by_hand
    if os.geteuid() != 0:
        return "The tests of the page need Chromium, which only root may install. " + by_hand
    for command in (("apt-get", "update", "--quiet"), INSTALL):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            return f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{by_hand}"
    return ""


if __name__ == "__main__":
    main()
