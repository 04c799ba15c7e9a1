"""What the server is doing, in a real browser: requests, slots, speed and loads while they happen; and an abort."""

import threading

import openai
import pytest
from browsing import Tab, Visit
from runners import Gate
from running import CEILING, RunningServer
from test_everybody import faults_of

pytestmark = pytest.mark.page
LONG = {"ignore_eos": True}
CHAT = {"model": "", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def gated(serve, gate: Gate) -> RunningServer:
    server = serve(engine="runners:GatedRunner", model=gate.path, parallel=2)
    gate.accept()
    return server.ready()


def see(visit: Visit, server: RunningServer, **options: object) -> Tab:
    tab = visit(server, **options)
    tab.page.get_by_role("link", name="Server").click()
    tab.page.get_by_text("Live.").wait_for()
    return tab


def row(tab: Tab, route: str):
    return tab.page.locator(".waterfall li", has_text=route)


def test_a_request_while_it_runs(visit: Visit, gated: RunningServer, gate: Gate) -> None:
    tab = see(visit, gated)
    tab.page.get_by_text("No requests in this time.").wait_for()
    stream = gated.client().chat.completions.create(**CHAT, stream=True, max_tokens=3)
    gate.step(1)
    gate.wait_inside()
    row(tab, "chat/completions").get_by_role("button", name="Abort").wait_for()
    tab.page.get_by_text("from the cache; 0 of the answer").wait_for()
    running = tab.page.locator("dt", has_text="Running").locator("xpath=following-sibling::dd")
    assert running.inner_text() == "1 / 2"
    gate.open()
    list(stream)
    row(tab, "chat/completions").get_by_text("length", exact=True).wait_for()
    assert "3 tokens" in row(tab, "chat/completions").inner_text()
    tab.page.get_by_text("cached prefix of").wait_for()
    kinds = row(tab, "chat/completions").locator(".part").evaluate_all("parts => parts.map(part => part.className)")
    assert kinds[0] == "part phase-reading" and kinds[-1] == "part phase-content"


def test_a_request_is_aborted(visit: Visit, gated: RunningServer, gate: Gate) -> None:
    failed: list[openai.APIError] = []

    def ask() -> None:
        with pytest.raises(openai.APIError) as raised:
            gated.client().chat.completions.create(**CHAT)
        failed.append(raised.value)

    tab = see(visit, gated)
    client = threading.Thread(target=ask)
    client.start()
    gate.step(1)
    gate.wait_inside()
    row(tab, "chat/completions").get_by_role("button", name="Abort").click()
    client.join(CEILING)
    assert failed[0].code == "request_aborted"
    gate.open()
    row(tab, "chat/completions").get_by_text("aborted by somebody").wait_for(state="attached")
    assert tab.page.get_by_role("button", name="Abort").count() == 0


def test_speed_and_a_table(visit: Visit, smollm_server: RunningServer) -> None:
    """A real model: the charts have lines, and the waterfall's numbers are a table for whoever wants one."""
    tab = see(visit, smollm_server)
    asked = [{"role": "user", "content": "Tell me of rainbows, lakes and rivers."}]
    for _ in range(2):
        smollm_server.client().chat.completions.create(model="", messages=asked, max_tokens=60, extra_body=LONG)
    latest = tab.page.locator(".tint-first b")
    latest.and_(tab.page.get_by_text("s", exact=False)).wait_for()
    for name in ("Tokens per second", "Time to first token"):
        chart = tab.page.get_by_role("figure").filter(has_text=name)
        drawn = chart.locator("canvas").evaluate(
            "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
        )
        assert drawn > 2, f"nothing is drawn of {name}"
    tab.page.set_viewport_size({"width": 1280, "height": 900})
    tab.shoot("server")
    tab.press("As a table")
    table = tab.page.get_by_role("table")
    newest = table.get_by_role("row").nth(1)
    newest.get_by_role("cell", name="length", exact=True).wait_for()
    assert "60" in newest.get_by_role("cell").all_inner_texts()
    tab.page.get_by_label("Time shown").select_option("10 seconds")
    tab.page.get_by_role("button", name="As a table", pressed=True).click()
    assert row(tab, "chat/completions").count() >= 1


def test_a_load(visit: Visit, serve, gate: Gate) -> None:
    """And what a server says whose model is not there."""
    server = serve(engine="runners:SlowlyLoaded", model=gate.path)
    gate.hold()
    tab = see(visit, server)
    bar = tab.page.get_by_role("progressbar")
    bar.wait_for()
    assert bar.get_attribute("value") == "300" and bar.get_attribute("max") == "1000"
    gate.greet()
    tab.page.get_by_text("ready", exact=True).wait_for()
    assert bar.count() == 0


def test_a_server_that_ends(visit: Visit, serve) -> None:
    server = serve().ready()
    tab = see(visit, server)
    server._loop.call_soon_threadsafe(server.server.stop)
    tab.page.get_by_text("The server does not answer. Trying again…").wait_for()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_no_serious_fault_in_the_view(visit: Visit, saying: RunningServer, colours: str) -> None:
    for _ in range(2):
        saying.client().chat.completions.create(model="", messages=[{"role": "user", "content": "␂Hm␃"}])
    tab = see(visit, saying, color_scheme=colours)
    row(tab, "chat/completions").first.wait_for()
    assert faults_of(tab) == []
    if colours == "dark":
        tab.page.set_viewport_size({"width": 1280, "height": 900})
        tab.shoot("server-dark")
    tab.press("As a table")
    tab.page.get_by_role("table").wait_for()
    assert faults_of(tab) == []
    narrow = {"width": 380, "height": 800}
    tab.page.set_viewport_size(narrow)
    tab.press("As a table")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= narrow["width"]
    assert faults_of(tab) == []
