"""The records of the page in a real browser: the list, one of them, its file, and what is said where there are none."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from browsing import Tab
from running import CEILING, FAKE, RunningServer

from nitro.config import ServeConfig
from nitro.records.replay import sources

pytestmark = pytest.mark.page
Visit = Callable[..., Tab]


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(ServeConfig(engine=FAKE, port=0, record=tmp_path / "kept")) as server:
        yield server.ready()


def ask(server: RunningServer, text: str, **options: object) -> None:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4, **options}
    assert httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=CEILING).status_code == 200


def records(visit: Visit, server: RunningServer) -> Tab:
    tab = visit(server)
    tab.page.get_by_role("link", name="Records", exact=True).click()
    tab.page.get_by_role("heading", level=1, name="Recorded requests").wait_for()
    return tab


def test_a_request_is_listed_shown_saved_and_deleted(visit: Visit, recording: RunningServer, tmp_path: Path) -> None:
    ask(recording, "What is in a record?", temperature=0, stream=True)
    ask(recording, "<img src=x onerror=alert(1)>")
    tab = records(visit, recording)
    page, rows = tab.page, tab.page.get_by_role("row")
    page.get_by_role("link", name="<img src=x").wait_for()
    assert rows.count() == 3 and "/v1/chat/completions" in rows.nth(2).inner_text()
    page.get_by_role("link", name="What is in a record?").click()
    page.get_by_role("heading", level=2, name="Answer").wait_for()
    tab.shoot("record")
    assert (
        "What is in a record?" in page.locator("main").inner_text()
        and "Ended: length" in page.locator("main").inner_text()
    )
    with page.expect_download() as saving:
        page.get_by_role("button", name="Download").click()
    file = tmp_path / saving.value.suggested_filename
    saving.value.save_as(file)
    (exchange,) = sources.exchanges(sources.read(file))
    assert file.name == f"{exchange.id}.jsonl" and json.loads(bytes(exchange.request))["stream"] is True
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("heading", level=1, name="Recorded requests").wait_for()
    page.get_by_role("link", name="<img src=x").wait_for()
    assert page.get_by_role("row").count() == 2
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete all").click()
    page.get_by_text("Nothing has been recorded yet.").wait_for()


def test_older_records_come_when_they_are_wanted(visit: Visit, recording: RunningServer) -> None:
    for number in range(53):
        ask(recording, f"Question {number}.", max_tokens=1)
    page = records(visit, recording).page
    page.get_by_role("link", name="Question 52.").wait_for()
    assert page.get_by_role("row").count() == 51
    page.get_by_role("button", name="Show older records").click()
    page.get_by_role("link", name="Question 0.").wait_for()
    assert page.get_by_role("row").count() == 54


def test_a_server_that_records_nothing_says_how(visit: Visit, fake_server: RunningServer) -> None:
    page = records(visit, fake_server).page
    page.get_by_text("nitro serve --record").wait_for()
