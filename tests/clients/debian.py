"""Programs of Debian's packages, unpacked into the cache folder and not installed: nothing of them is started."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nitro.system import folders


def program(package: str, path: str) -> Path:
    """A program that is installed, or else is fetched by apt-get. `path`: where it lies in its package. Skips the test
    where there is none, with the reason."""
    return Path(shutil.which(Path(path).name) or _unpacked(package) / path)


def libraries(*packages: str) -> dict[str, str]:
    """The variable by which a program that is not installed finds these packages' libraries."""
    found = [str(folder) for package in packages for folder in _unpacked(package).glob("usr/lib/*-linux-gnu")]
    return {"LD_LIBRARY_PATH": ":".join(found)}


def _unpacked(package: str) -> Path:
    """The folder with what is in a package."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip(f"{package} is not installed, and this is no Debian from which to fetch it")
    home = folders.cache() / "clients" / package
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            _fetch(package, home)
    return home


def _fetch(package: str, home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    scratch = home.with_name(f".{package}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    # apt's own user, for downloads, may not write here
    command = ["apt-get", "download", "--quiet", "-o", "APT::Sandbox::User=root", package]
    got = subprocess.run(command, cwd=scratch, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    if got.returncode:
        pytest.skip(f"apt-get download {package}: {got.stderr.strip()}")
    (archive,) = scratch.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", archive, scratch / "root"], check=True)
    (scratch / "root").rename(home)
    shutil.rmtree(scratch)
