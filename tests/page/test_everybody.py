"""The page for everybody: by keyboard, by screen reader, on narrow screens, from right to left; and the parameters in
the server's own words."""

import json
from typing import Any

import environments
import httpx
import pytest
from browsing import WEB, Tab, Visit
from running import RunningServer

from nitro.api.openapi.document import document

pytestmark = pytest.mark.page
SERIOUS = ("serious", "critical")


def faults_of(tab: Tab) -> list[Any]:
    """What axe-core finds that is serious."""
    source = (environments.node(WEB) / "node_modules" / "axe-core" / "axe.min.js").read_text()
    tab.page.evaluate(source)
    found = tab.page.evaluate("axe.run()")["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS]


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_no_serious_fault(visit: Visit, saying: RunningServer, colours: str) -> None:
    tab = visit(saying, color_scheme=colours)
    tab.page.get_by_text("What would you like to know?").wait_for()
    assert faults_of(tab) == []
    tab.ask("␂# Title\n\n`code` and [link](https://example.org)\n\n```js\nlet a = 'b'; // c\n```\n␃")
    tab.wait_answer().locator(".hljs-keyword").wait_for()
    tab.page.keyboard.press("Alt+P")
    tab.page.get_by_text("More parameters").click()
    tab.page.get_by_label("Form of the answer").select_option("JSON by a schema")
    tab.page.get_by_label("JSON schema").fill('{"type": "strin"}')
    tab.press("Again, with another seed")
    tab.page.get_by_text("Place in the schema").wait_for()
    assert faults_of(tab) == []
    tab.press("Keys")
    tab.page.get_by_role("dialog").wait_for()
    assert faults_of(tab) == []


def test_by_keyboard_alone(visit: Visit, saying: RunningServer) -> None:
    tab = visit(saying)
    tab.page.get_by_text("What would you like to know?").wait_for()
    keys = tab.page.keyboard
    keys.type("␂One␃")
    keys.press("Shift+Enter")
    keys.type("More")
    keys.press("Enter")
    assert "One" in tab.wait_answer().inner_text()
    assert tab.questions.first.inner_text().startswith("␂One␃\nMore")
    keys.press("Alt+N")
    tab.page.get_by_text("What would you like to know?").wait_for()
    keys.press("Alt+P")
    tab.page.get_by_role("complementary", name="Model and parameters").wait_for()
    keys.press("Alt+P")
    keys.press("Alt+C")
    tab.page.get_by_role("complementary", name="Conversations").wait_for(state="detached")
    keys.press("Alt+C")
    tab.page.get_by_role("link", name="␂One␃").focus()
    keys.press("Enter")
    assert "One" in tab.wait_answer().inner_text()
    tab.page.locator("body").focus()
    tab.page.get_by_role("link", name="␂One␃").focus()
    keys.press("/")
    keys.type("␂Two␃")
    keys.press("Enter")
    tab.answers.nth(1).get_by_text("Two").wait_for()


def test_a_narrow_screen(visit: Visit, saying: RunningServer) -> None:
    tab = visit(saying, viewport={"width": 390, "height": 780}, has_touch=True)
    tab.ask("␂A line, and `a_very_long_word_without_any_space_that_would_not_fit_into_the_line_at_all`.␃")
    tab.wait_answer()
    tab.shoot("narrow")
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.press("Show conversations")
    tab.page.get_by_role("complementary", name="Conversations").get_by_role("link").first.click()
    tab.page.get_by_role("complementary", name="Conversations").wait_for(state="detached")
    tab.show_parameters()
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.shoot("narrow-parameters")


def test_from_right_to_left(visit: Visit, saying: RunningServer) -> None:
    tab = visit(saying)
    tab.ask("␂مرحبا، كيف حالك اليوم؟␃ קצת עברית")
    answer = tab.wait_answer()
    direction = "e => getComputedStyle(e).direction"
    assert answer.locator(".markdown p").evaluate(direction) == "rtl"
    tab.page.get_by_label("Message", exact=True).fill("שלום")
    assert tab.page.get_by_label("Message", exact=True).evaluate(direction) == "rtl"


def test_parameters_in_the_servers_words(visit: Visit, saying: RunningServer) -> None:
    tab = visit(saying)
    tab.show_parameters()
    tab.page.get_by_text("More parameters").click()
    properties = document()["components"]["schemas"]["ChatRequest"]["properties"]
    able = httpx.get(f"{saying.url}/v1/models").json()["data"][0]["capabilities"]
    panel = tab.page.get_by_role("complementary", name="Model and parameters")
    shown = panel.locator(".parameter label").all_inner_texts()
    assert len(shown) > 25 and set(shown) <= set(properties)
    for name in shown:
        assert panel.get_by_label(name, exact=True).is_visible()
        assert panel.get_by_text(properties[name]["description"].replace("`", ""), exact=True).count() == 1
        assert able.get(properties[name].get("x-capability"), True), f"{name} does not work with this model"
    assert "mirostat" not in shown and "repeat_penalty" not in shown
    panel.get_by_label("temperature").fill("0.5")
    panel.get_by_label("stop", exact=True).fill('["x", "y"]')
    panel.get_by_label("ignore_eos").select_option("off")
    panel.get_by_label("top_k").fill("3")
    panel.get_by_label("seed").fill("7")
    tab.ask("␂One␃")
    tab.wait_answer()
    body = json.loads(tab.bodies[-1])
    wanted = {"temperature": 0.5, "stop": ["x", "y"], "ignore_eos": False, "top_k": 3, "seed": 7}
    assert {name: body.get(name) for name in wanted} == wanted
    tab.shoot("parameters")
    panel.get_by_label("top_k").fill("-7")
    tab.ask("␂One␃")
    assert "top_k" in tab.wait_answer().get_by_role("alert").inner_text()
    tab.press("Reset all")
    tab.ask("␂One␃")
    tab.wait_answer()
    assert "top_k" not in json.loads(tab.bodies[-1])
