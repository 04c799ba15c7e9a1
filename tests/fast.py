"""`pytest --fast` skips every test that needs an engine's library or a server. It finds them by what they do.

- A server skips the test that starts it (`tests/running.py`).
- In this process the import of a library skips the test, or the whole file if the import is at its top.
- In the processes that tests start, the import fails and is noted (`without_engines/sitecustomize.py`), and a test that
  fails for that reason counts as skipped.
"""

import os
import sys
import tempfile
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import IO

import pytest
from without_engines.sitecustomize import LIBRARIES, NEEDED

_noted: IO[bytes] | None = None


class _Skips(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        if fullname in LIBRARIES:
            pytest.skip(f"needs {fullname}", allow_module_level=True)


def begin() -> None:
    """From now on no test of this run loads an engine's library."""
    global _noted
    _noted = tempfile.NamedTemporaryFile(prefix="nitro-tests-")  # noqa: SIM115
    os.environ[NEEDED] = _noted.name
    path = [str(Path(__file__).parent / "without_engines"), os.environ["PYTHONPATH"]]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    sys.meta_path.insert(0, _Skips())


def end() -> None:
    """Remove what `begin` made."""
    if _noted is not None:
        _noted.close()


def skip_server() -> None:
    """Skip the test that starts a server."""
    if _noted is not None:
        pytest.skip("needs a server")


def excuse(report: pytest.TestReport) -> None:
    """Make a failure a skip where a process of the test looked for an engine's library."""
    if _noted is None or report.when == "teardown":
        return
    libraries = _read(_noted.fileno())
    if report.failed and libraries:
        report.outcome = "skipped"
        report.longrepr = (report.location[0], report.location[1] or 0, f"Skipped: needs {', '.join(libraries)}")


def _read(descriptor: int) -> list[str]:
    """What was noted since the last time. By the system's own calls: a test may have replaced those of Python."""
    size = os.fstat(descriptor).st_size
    if not size:
        return []
    noted = os.pread(descriptor, size, 0).decode()
    os.ftruncate(descriptor, 0)
    return sorted(set(noted.split()))
