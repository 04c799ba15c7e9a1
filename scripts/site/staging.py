"""The sources of the site: the pages as they lie in the repository, and the navigation.

The pages are written to be read as files, too, so nothing in them is a site generator's own. The navigation is the
tables of docs/README.md, and where an example stands in three languages one after the other, the site has tabs.
"""

import json
import re
import shutil
from pathlib import Path
from posixpath import dirname, join, normpath
from textwrap import indent

ROOT = Path(__file__).parents[2]
INDEX = "docs/README.md"
# what a page may link to; of these the Markdown files are pages
SOURCES = (
    "*.md",
    "LICENSE",
    "Containerfile",
    "docs/**/*",
    "examples/replicas/*.*",
    "examples/replicas/[!_]*/*",
    "packaging/*",
    "bench/results.*",
    "soak/results.md",
    "findings/*.sh",
)
EXAMPLE = re.compile(r"<!-- example: .*? -->\n(.*?)<!-- end of the example -->", re.DOTALL)
FENCE = re.compile(r"```(\w+)\n.*?\n```", re.DOTALL)
LANGUAGES = {"sh": "curl", "python": "Python", "js": "JavaScript"}


def navigation(index: str) -> list[dict[str, object]]:
    """mkdocs's nav from the text of docs/README.md: a part for each heading, with the first link of each row. Below
    another README.md are the pages of its own table."""
    nav: list[dict[str, object]] = [{"Nitro": "README.md"}, {"All pages": INDEX}]
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        title, _, table = part.partition("\n")
        nav.append({title: [{name: _branch(page)} for name, page in _rows("docs", table)]})
    return nav


def _branch(page: str) -> str | list[str | dict[str, str]]:
    if not page.endswith("/README.md"):
        return page
    rows = _rows(dirname(page), (ROOT / page).read_text(encoding="utf-8"))
    return [page, *({name: below} for name, below in rows)]


def _rows(folder: str, table: str) -> list[tuple[str, str]]:
    """Title and page of each row that begins with a link."""
    rows = re.findall(r"^\| \[([^\]]+)\]\(([^)#]+)\)", table, re.MULTILINE)
    return [(name, normpath(join(folder, target))) for name, target in rows]


def tabs(text: str) -> str:
    """A page with its examples as tabs, one for each language."""

    def tab(fence: re.Match[str]) -> str:
        return f'=== "{LANGUAGES[fence[1]]}"\n\n{indent(fence[0], "    ")}'

    return EXAMPLE.sub(lambda found: FENCE.sub(tab, found[1]), text)


def stage(folder: Path, settings: Path) -> Path:
    """Write the sources into `folder`, and beside them what mkdocs is started with: `settings` and the navigation."""
    shutil.rmtree(folder, ignore_errors=True)
    for source in sorted(file for pattern in SOURCES for file in ROOT.glob(pattern) if file.is_file()):
        place = folder / "source" / source.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            place.write_text(tabs(source.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            shutil.copy(source, place)
    nav = navigation((ROOT / INDEX).read_text(encoding="utf-8"))
    told = {"INHERIT": str(settings), "docs_dir": "source", "site_dir": "html", "nav": nav}
    started = folder / "mkdocs.yml"
    started.write_text(json.dumps(told, indent=1), encoding="utf-8")  # JSON is YAML, too
    return started
