"""The built files are those of the sources, small, and ask nobody else."""

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import environments
import pytest
from browsing import BUILT, WEB

pytestmark = pytest.mark.page
LIMIT = 300_000  # bytes, compressed, of all files together
NOTICES = "licenses.md"
SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, and the packages of the lock."""
    if not shutil.which("npm"):
        pytest.skip("needs Node 20 and npm")
    folder = tmp_path_factory.mktemp("project") / "web"
    folder.mkdir()
    shutil.copytree(WEB / "src", folder / "src")
    for name in SOURCES:
        shutil.copy(WEB / name, folder)
    (folder / "node_modules").symlink_to(environments.node(WEB) / "node_modules")
    return folder


def run(project: Path, *command: str) -> None:
    done = subprocess.run(
        ["node_modules/.bin/" + command[0], *command[1:]], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_build_is_the_same(project: Path) -> None:
    run(project, "vite", "build", "--outDir", str(project / "built"))
    assert files(project / "built") == files(BUILT), "run npm ci && npm run build in web/"


def test_types(project: Path) -> None:
    run(project, "tsc", "--noEmit")


def test_it_is_small() -> None:
    assert sum(len(gzip.compress(body)) for body in files(BUILT).values()) < LIMIT


def test_it_names_no_other_server() -> None:
    """Only names of XML's spaces, and pages that messages of libraries mention."""
    bodies = [body for name, body in files(BUILT).items() if name != NOTICES]
    told = re.findall(r"https?://[\w.-]+", b"\n".join(bodies).decode())
    assert set(told) <= {"http://www.w3.org", "https://github.com"}, sorted(set(told))


def test_the_notices_of_all_libraries_lie_beside_it() -> None:
    told = (BUILT / NOTICES).read_text()
    libraries = json.loads((WEB / "package.json").read_text())["dependencies"]
    assert [
        f"{name} - {version}" for name, version in libraries.items() if f"## {name} - {version} (" not in told
    ] == []
    assert told.lower().count("copyright") > len(libraries)
