"""The chat in a real browser: what a person does with it, and what they see."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import SAYING, TEMPLATE
from browsing import Tab, Visit
from runners import Gate
from running import FAKE, RunningServer

from nitro.config import ServeConfig
from nitro.keys import keys_file
from nitro.keys.key import Key, digest

pytestmark = pytest.mark.page
GATED = "runners:GatedRunner"
SAID = """\
# Rainbows

Light is *bent* by each drop, and `sin` tells how far:

```python
def bent(angle: float, index: float = 1.333) -> float:
    return asin(sin(angle) / index)  # Snell's law
```

| colour | angle |
| ------ | ----- |
| red    | 42.4° |
| violet | 40.6° |

The law is $n_1 \\sin\\theta_1 = n_2 \\sin\\theta_2$, and so

$$\\frac{dD}{d\\theta} = 2 - \\frac{4\\cos\\theta}{\\sqrt{n^2 - \\sin^2\\theta}} = 0$$

1. It costs $5, not $10.
2. See [the article](https://example.org/rainbow).
"""
HOSTILE = """\
<img src=x onerror="document.title='broken'"><script>document.title='broken'</script>
<svg onload="document.title='broken'"><a xlink:href="javascript:document.title='broken'"><text>svg</text></a></svg>

[a link](javascript:document.title='broken') [data](data:text/html,<script>1</script>) <javascript:alert(1)>

![a picture](https://evil.example/secret.png) <iframe src="https://evil.example"></iframe>

$\\href{javascript:document.title='broken'}{x}$ <style>body { display: none }</style>

```html
<script>document.title='broken'</script>
```

<details open ontoggle="document.title='broken'">x</details>
"""


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Its model says what stands between the last ␂ and ␃. It knows tools, and reasons."""
    template = tmp_path_factory.mktemp("template") / "hermes.jinja"
    template.write_text(TEMPLATE)
    with RunningServer(ServeConfig(engine=SAYING, port=0, chat_template=template, context=65536)) as server:
        yield server.ready()


def say(tab: Tab, text: str, question: str = ""):
    """The answer to a question that has the model say this; for a `question`, the system message does."""
    if question:
        tab.show_parameters()
        tab.page.get_by_label("System message").fill(f"␂{text}␃")
        tab.press("Hide parameters")
    tab.ask(question or f"␂{text}␃")
    return tab.wait_answer()


def test_the_first_answer(visit: Visit, smollm_server: RunningServer) -> None:
    tab = visit(smollm_server)
    tab.page.get_by_text("What would you like to know?").wait_for()
    tab.shoot("first")
    tab.press("Give me three ideas for a rainy day.")
    answer = tab.wait_answer()
    assert len(answer.locator(".markdown").inner_text()) > 20
    figures = answer.get_by_role("note").inner_text()
    assert "tokens/s" in figures and "first after" in figures and "seed" in figures
    tab.ask("Which of them is the best?")
    assert "prompt tokens from the cache" in tab.wait_answer().get_by_role("note").inner_text()
    tab.shoot("answer")


def test_below_a_prefix(visit: Visit, serve) -> None:
    """Also where the slash at the end was left away."""
    tab = visit(serve(root_path="/nitro").ready())
    tab.asked.clear()
    tab.open("/nitro")
    assert tab.page.url.endswith("/nitro/")
    tab.ask("Hello")
    tab.wait_answer()
    assert tab.asked and all(url.removeprefix(tab.url).startswith(("/nitro", "data:", "blob:")) for url in tab.asked)


def test_probabilities(visit: Visit, smollm_server: RunningServer) -> None:
    tab = visit(smollm_server)
    tab.show_parameters()
    tab.page.get_by_label("Record each token's probability").check()
    tab.ask("Name a colour.")
    answer = tab.wait_answer()
    tab.press("Show probabilities")
    tokens = answer.locator("[data-token]")
    assert tokens.count() > 1
    tokens.nth(1).hover()
    likely = answer.get_by_role("status")
    assert likely.locator("code").count() == 5 and "%" in likely.inner_text()
    tab.shoot("probabilities")
    tokens.nth(1).focus()
    tab.page.keyboard.press("ArrowLeft")
    assert tokens.nth(0).evaluate("element => element === document.activeElement")


def test_markdown(visit: Visit, talking: RunningServer) -> None:
    tab = visit(talking)
    answer = say(tab, SAID, "Why is a rainbow round?")
    answer.locator("math").nth(1).wait_for()
    answer.locator(".hljs-keyword").first.wait_for()
    assert answer.locator("math").count() == 2, "dollars are no formulas"
    assert answer.get_by_role("table").is_visible()
    link = answer.get_by_role("link", name="the article")
    assert link.get_attribute("href") == "https://example.org/rainbow"
    assert "noopener" in link.get_attribute("rel")
    tab.shoot("markdown")
    tab.page.emulate_media(color_scheme="dark")
    tab.shoot("dark")


def test_a_hostile_answer_stays_text(visit: Visit, talking: RunningServer) -> None:
    tab = visit(talking)
    answer = say(tab, HOSTILE, "What do you say?")
    answer.locator(".hljs-tag").first.wait_for()
    assert tab.page.title() == "Nitro"
    markdown = answer.locator(".markdown")
    for element in ("script", "img", "svg[onload]", "iframe", "style", "details", "text"):
        assert markdown.locator(element).count() == 0, element
    assert markdown.evaluate(
        "e => [...e.querySelectorAll('*')].every(x => !/^on|^style$/.test([...x.attributes].map(a => a.name).join()))"
    )
    links = markdown.evaluate("e => [...e.querySelectorAll('a')].map(a => a.href)")
    assert links == ["https://evil.example/secret.png"], "a picture is a link, and nothing else is one"
    assert "<script>document.title='broken'</script>" in markdown.inner_text()
    tab.shoot("hostile")
    tab.page.keyboard.press("Escape")


def test_it_streams_and_is_stopped(visit: Visit, serve, gate: Gate) -> None:
    server = serve(engine=GATED, model=gate.path, parallel=1)
    gate.accept()
    server.ready()
    tab = visit(server)
    tab.ask("Hello")
    gate.step(4)
    answer = tab.answers.last
    answer.get_by_text("?@A").wait_for()  # while the engine waits
    assert answer.get_attribute("aria-busy") == "true"
    tab.shoot("streaming")
    tab.press("Stop")
    tab.wait_answer().get_by_text("Stopped.").wait_for()
    begun = answer.locator(".markdown").inner_text()
    assert "client=left" in server.log_line(), "the server stops, too"
    gate.open()
    tab.press("Continue")
    whole = tab.wait_answer().locator(".markdown").inner_text()
    assert whole.startswith(begun) and len(whole) > len(begun)


def test_an_engine_that_is_killed_and_back(visit: Visit, serve, gate: Gate) -> None:
    server = serve(engine=GATED, model=gate.path, parallel=1)
    gate.accept()
    server.ready()
    tab = visit(server)
    tab.page.get_by_text("ready").wait_for()
    tab.ask("Hello")
    gate.step(4)
    tab.answers.last.get_by_text("?@A").wait_for()
    os.kill(server.engine.pid, signal.SIGKILL)
    answer = tab.wait_answer()
    assert "SIGKILL" in answer.get_by_role("alert").inner_text()
    assert "?@A" in answer.locator(".markdown").inner_text(), "what was said is kept"
    tab.page.get_by_text("starting again", exact=True).wait_for()
    tab.shoot("engine-killed")
    tab.press("Try again")
    tab.page.get_by_text("Waiting for the model…").wait_for()
    gate.accept()
    gate.open()
    assert tab.wait_answer().locator(".markdown").inner_text().endswith("}~")
    tab.page.get_by_text("ready", exact=True).wait_for()


def test_a_server_that_is_busy_is_asked_again(visit: Visit, serve, gate: Gate) -> None:
    """It says when: 429 with Retry-After."""
    server = serve(engine=GATED, model=gate.path, parallel=1, max_queue=0)
    gate.accept()
    server.ready()
    tab = visit(server)
    tab.page.get_by_text("What would you like to know?").wait_for()
    with server.client().chat.completions.create(model="", messages=[{"role": "user", "content": "x"}], stream=True):
        gate.wait_inside()
        tab.ask("Hello")
        tab.page.get_by_text("The server is busy. Trying again in").wait_for()
        gate.open()
    assert "?@A" in tab.wait_answer().inner_text()


def test_edit_branch_and_another_seed(visit: Visit, talking: RunningServer) -> None:
    tab = visit(talking)
    say(tab, "One")
    say(tab, "Two")
    tab.questions.nth(0).hover()
    tab.questions.nth(0).get_by_role("button", name="Edit").click()
    tab.page.get_by_label("Your message").fill("␂Three␃")
    tab.shoot("edit")
    tab.page.keyboard.press("Enter")
    assert "Three" in tab.wait_answer().inner_text()
    assert tab.answers.count() == 1, "what followed belongs to the other version"
    tab.questions.first.get_by_role("button", name="Previous version").click()
    tab.answers.nth(1).get_by_text("Two").wait_for()
    first = tab.answers.nth(1).get_by_role("note").inner_text()
    tab.press("Again, with another seed")
    tab.answers.nth(1).get_by_text("2/2").wait_for()
    assert tab.wait_answer().get_by_role("note").inner_text().split("seed")[1] != first.split("seed")[1]
    tab.shoot("versions")
    tab.page.get_by_label("Message", exact=True).focus()
    tab.page.keyboard.press("ArrowUp")
    assert tab.page.get_by_label("Your message").input_value() == "␂Two␃"


def test_a_wrong_schema_is_shown_where_it_is_wrong(visit: Visit, talking: RunningServer) -> None:
    tab = visit(talking)
    tab.show_parameters()
    tab.page.get_by_label("Form of the answer").select_option("JSON by a schema")
    field = tab.page.get_by_label("JSON schema")
    field.fill('{"type": ')
    tab.page.get_by_text("Not JSON yet").wait_for()
    field.fill("")
    tab.page.get_by_role("button", name="Insert an example").first.click()
    field.fill(field.input_value().replace('"integer"', '"intger"'))
    tab.page.get_by_label("System message").fill('␂{"title": "Emma", "year": 1815}␃')
    tab.ask("Which novel shall I read?")
    answer = tab.wait_answer()
    assert "/properties/year" in answer.get_by_role("alert").inner_text()
    tab.page.get_by_role("button", name="Place in the schema: /properties/year").click()
    selected = field.evaluate("e => e.value.slice(e.selectionStart, e.selectionEnd)")
    assert json.loads(selected) == {"type": "intger"}
    tab.shoot("schema-error")
    field.fill(field.input_value().replace("intger", "integer"))
    tab.page.get_by_text("Place in the schema").wait_for(state="detached")
    tab.press("Try again")
    assert json.loads(tab.wait_answer().locator(".markdown").inner_text()) == {"title": "Emma", "year": 1815}


def test_a_tool_is_called_and_answered(visit: Visit, talking: RunningServer) -> None:
    tab = visit(talking)
    tab.show_parameters()
    tab.page.get_by_role("button", name="Insert an example").last.click()
    tab.press("Hide parameters")
    call = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'
    answer = say(tab, call, "How is the weather in Paris?")
    assert '"city": "Paris"' in answer.get_by_role("group", name="Calls get_weather").inner_text()
    tab.page.get_by_label("Result").fill("18 °C, sunny")
    tab.shoot("tool-call")
    tab.page.get_by_label("Result").fill("␂It is sunny in Paris.␃")
    tab.press("Send results")
    tab.page.get_by_text("It is sunny in Paris.", exact=True).wait_for()
    assert tab.page.get_by_role("article", name="Result").count() == 1


def test_reasoning_is_folded(visit: Visit, talking: RunningServer) -> None:
    tab = visit(talking)
    tab.show_parameters()
    tab.page.get_by_label("enable_thinking").select_option("on")
    tab.press("Hide parameters")
    answer = say(tab, "Two and two make four.</think>Four.", "What is two and two?")
    assert answer.get_by_text("Two and two").is_hidden() and answer.get_by_text("Four.", exact=True).is_visible()
    answer.get_by_text("Reasoning").click()
    answer.get_by_text("Two and two").wait_for()
    tab.shoot("reasoning")


def test_a_key_is_asked_for_and_kept_in_the_tab(visit: Visit, serve) -> None:
    server = serve(engine=FAKE, api_key="open sesame").ready()
    tab = visit(server)
    key = tab.page.get_by_label("Key", exact=True)
    key.wait_for()
    tab.shoot("key")
    key.fill("wrong")
    tab.press("Use this key")
    tab.page.get_by_text("That is not this server's key.").wait_for()
    key.fill("open sesame")
    tab.press("Use this key")
    tab.page.get_by_text("What would you like to know?").wait_for()
    tab.ask("Hello")
    assert "?@A" in tab.wait_answer().inner_text()
    tab.page.reload()
    assert "?@A" in tab.wait_answer().inner_text()
    assert not key.is_visible()
    assert "open sesame" not in tab.page.evaluate("JSON.stringify(localStorage)")


def test_a_key_of_many(visit: Visit, serve, tmp_path: Path) -> None:
    """It answers as far as the key may ask; what is for administrators, and that the day is used up, is told."""
    file = tmp_path / "keys.toml"
    keys_file.add(file, "alice", Key(hash=digest(b"open sesame"), requests_per_day=1))
    tab = visit(serve(engine=FAKE, keys=file).ready())
    tab.page.get_by_label("Key", exact=True).fill("open sesame")
    tab.press("Use this key")
    tab.page.get_by_text("What would you like to know?").wait_for()
    tab.ask("Hello")
    assert "?@A" in tab.wait_answer().inner_text()
    tab.ask("Hello again")
    tab.page.get_by_text("You exceeded your current quota: key 'alice' has 1 requests a day.").wait_for()
    tab.page.get_by_role("link", name="Server").click()
    tab.page.get_by_text("The key 'alice' may not call GET /v1/server/events.").wait_for()


def test_a_conversation_outlives_a_reload_and_travels_as_a_file(
    visit: Visit, talking: RunningServer, tmp_path: Path
) -> None:
    tab = visit(talking)
    say(tab, "Kept")
    tab.page.reload()
    assert "Kept" in tab.wait_answer().inner_text()
    with tab.page.expect_download() as download:
        tab.press("Export all")
    download.value.save_as(tmp_path / "all.json")
    tab.page.get_by_label("More for “␂Kept␃”").click()
    with tab.page.expect_download() as download:
        tab.press("Export as Markdown")
    assert "Kept" in download.value.path().read_text() and download.value.suggested_filename == "Kept.md"
    download.value.save_as(tmp_path / "Kept.md")
    other = visit(talking)
    other.page.get_by_text("Your conversations will be listed here.").wait_for()
    other.page.get_by_label("Import").set_input_files(tmp_path / "all.json")
    other.page.get_by_text("One conversation was imported.").wait_for()
    other.page.get_by_role("link", name="␂Kept␃").click()
    assert "Kept" in other.wait_answer().inner_text()
    other.page.get_by_label("More for “␂Kept␃”").click()
    other.press("Delete “␂Kept␃”")
    other.page.get_by_role("link", name="␂Kept␃").wait_for(state="detached")
    other.press("Undo")
    other.page.get_by_role("link", name="␂Kept␃").wait_for()
    other.page.get_by_label("Import").set_input_files(tmp_path / "Kept.md")
    other.page.get_by_text("One conversation was imported.").wait_for()
    other.page.get_by_role("link", name="␂Kept␃").nth(1).click()
    assert "Kept" in other.wait_answer().inner_text()
    say(other, "More")
    (tmp_path / "other.json").write_text('{"form": "something else"}')
    other.page.get_by_label("Import").set_input_files(tmp_path / "other.json")
    other.page.get_by_text("This file holds no conversations").wait_for()
