"""A real browser before real servers. What a page does that it must not (another origin is asked, a script or style is
refused by the policy, an exception) fails the test that saw it.

Playwright is in an environment of its own, in the cache folder, from which this process imports it.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "clients"))

import environments
from browsing import Tab, Visit
from running import RunningServer

SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
# no sandbox: tests may run as root. A microphone that beeps.
ARGUMENTS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
SIZE = {"width": 1280, "height": 800}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", action="store_true", help="write docs/screenshots anew")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, started once."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium, as Debian has it: apt install chromium")
    python = environments.python(Path(__file__).parent)
    (packages,) = (python.parents[1] / "lib").glob("python*/site-packages")
    sys.path.append(str(packages))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """`visit(server)` opens its page in a browser that has never seen it; `options` are Playwright's of a context."""
    tabs: list[Tab] = []

    def open_tab(server: RunningServer, **options: Any) -> Tab:
        shots = SCREENSHOTS if request.config.getoption("--screenshots", False) else None
        tabs.append(
            Tab(browser.new_context(**{"viewport": SIZE, "color_scheme": "light", **options}), server.url, shots)
        )
        tabs[-1].open()
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        tab.close()
