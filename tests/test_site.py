"""How pages become a site, without the generator: their order, their tabs, and the faults of what was made."""

from pathlib import Path

import pytest

from scripts.site import staging
from scripts.site.pages import faults

EXAMPLE = """Before.

<!-- example: chat -->

```sh
curl localhost
```

```python
if True:
    pass
```

<!-- end of the example -->

```sh
nitro list
```
"""


def test_the_pages_are_in_the_order_of_the_index() -> None:
    first, index, *parts = staging.navigation((staging.ROOT / staging.INDEX).read_text())
    assert (first, index) == ({"Nitro": "README.md"}, {"All pages": "docs/README.md"})
    pages = [page for part in parts for rows in part.values() for row in rows for page in row.values()]
    pages += [page for branch in pages if isinstance(branch, list) for row in branch[1:] for page in row.values()]
    pages = [page[0] if isinstance(page, list) else page for page in pages]
    assert {"docs/api.md", "ARCHITECTURE.md", "bench/results.md", "docs/clients/codex.md"} < set(pages)
    assert len(pages) == len(set(pages)) and all((staging.ROOT / page).is_file() for page in pages)


def test_an_example_becomes_tabs() -> None:
    found = staging.tabs(EXAMPLE)
    assert '=== "curl"\n\n    ```sh\n    curl localhost\n    ```\n' in found
    assert '=== "Python"\n\n    ```python\n    if True:\n        pass\n    ```\n' in found
    assert "\n```sh\nnitro list\n```\n" in found  # what is no example stays


def test_what_is_staged_lies_as_in_the_repository(tmp_path: Path) -> None:
    settings = staging.stage(tmp_path / "site", Path("/settings.yml"))
    assert '"INHERIT": "/settings.yml"' in settings.read_text()
    source = tmp_path / "site" / "source"
    assert (source / "docs" / "bench.svg").is_file() and (source / "README.md").is_file()
    assert '=== "JavaScript"' in (source / "docs" / "api.md").read_text()


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (
            '<a href="other.html#there">x</a> <a href="#here">x</a> <a href="https://example.org">x</a> <p id="here">',
            "",
        ),
        ('<a href="other.html#gone">x</a>', "index.html: other.html#gone: no such place"),
        ('<a href="gone.html">x</a>', "index.html: gone.html leads nowhere"),
        ('<script src="https://example.org/x.js"></script>', "index.html loads https://example.org/x.js"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "index.html loads //example.org/x.css"),
        ("<p>A list:\n- one\n- two</p>", "index.html shows as text: A list:\n- one\n- two"),
        ("<p>A sum:\n<code>1\n- 1</code></p><pre>- one</pre>", ""),
    ],
)
def test_faults(tmp_path: Path, body: str, fault: str) -> None:
    (tmp_path / "index.html").write_text(body)
    (tmp_path / "other.html").write_text('<h2 id="there">There</h2>')
    assert faults(tmp_path) == [fault] * bool(fault)


def test_a_style_that_loads_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "x.css").write_text("@font-face{src:url(https://example.org/f.woff2)}")
    assert faults(tmp_path) == ["x.css loads url(http"]
