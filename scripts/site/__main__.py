"""Builds the documentation as a site, in build/site/html, and fails at any warning, dead link or foreign address.

mkdocs-material runs in an environment of its own in the cache folder.
"""

import os
import subprocess
import sys
from pathlib import Path

from scripts.site.pages import faults
from scripts.site.staging import ROOT, stage
from tests.clients import environments

HERE = Path(__file__).parent
BUILT = ROOT / "build" / "site"


def main() -> int:
    """The exit status."""
    python = environments.python(HERE)
    settings = stage(BUILT, HERE / "mkdocs.yml")
    command = [str(python), "-m", "mkdocs", "build", "--strict", "--config-file", str(settings)]
    built = subprocess.run(command, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    if built.returncode:
        return built.returncode
    found = faults(BUILT / "html")
    print("\n".join(found) or f"The site: {BUILT / 'html' / 'index.html'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
