"""Images and sounds in the page: by file, drop, paste and microphone, if the model takes them."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Tab, Visit
from pictures import picture, sound
from running import RunningServer

from nitro.config import ServeConfig

pytestmark = pytest.mark.page
GIVE = """(field, [kind, name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type}));
  const options = {bubbles: true, cancelable: true};
  field.dispatchEvent(kind === 'paste'
    ? new ClipboardEvent('paste', {...options, clipboardData: data})
    : new DragEvent('drop', {...options, dataTransfer: data}));
}"""


@pytest.fixture(scope="module")
def seeing() -> Iterator[RunningServer]:
    with RunningServer(ServeConfig(engine="nitro.engines.backends.fake:FakeSeer", port=0, context=65536)) as server:
        yield server.ready()


def give(tab: Tab, how: str, name: str, type: str, data: bytes) -> None:
    field = tab.page.get_by_label("Message", exact=True)
    field.evaluate(GIVE, [how, name, type, base64.b64encode(data).decode()])


def sent(tab: Tab) -> list[dict]:
    """The parts of the question that was sent last."""
    return json.loads(tab.bodies[-1])["messages"][-1]["content"]


def test_pictures_by_file_drop_and_paste(visit: Visit, seeing: RunningServer, tmp_path: Path) -> None:
    tab = visit(seeing)
    (tmp_path / "file.png").write_bytes(picture())
    tab.page.get_by_role("button", name="Add a file").wait_for()
    tab.page.locator("input[type=file][accept='image/*,audio/*']").set_input_files(tmp_path / "file.png")
    give(tab, "drop", "dropped.png", "image/png", picture((8, 8)))
    give(tab, "paste", "pasted.png", "image/png", picture((16, 16)))
    give(tab, "drop", "beep.wav", "audio/wav", sound())
    give(tab, "drop", "notes.txt", "text/plain", b"notes")
    tab.page.get_by_text("notes.txt: this model takes no such file.").wait_for()
    for name in ("file.png", "dropped.png", "pasted.png"):
        tab.page.get_by_role("img", name=name).wait_for()
    tab.press("Remove dropped.png")
    tab.shoot("pictures")
    tab.ask("What is this?")
    assert tab.wait_answer().get_by_role("alert").count() == 0
    assert [part["type"] for part in sent(tab)] == ["image_url", "image_url", "input_audio", "text"]
    assert base64.b64decode(sent(tab)[1]["image_url"]["url"].partition(",")[2]) == picture((16, 16))
    tab.page.reload()
    tab.questions.get_by_role("img", name="pasted.png").wait_for()


def test_sound_from_the_microphone(visit: Visit, seeing: RunningServer) -> None:
    tab = visit(seeing, permissions=["microphone"])
    tab.press("Record sound")
    tab.page.get_by_text("0:01").wait_for()
    tab.press("Stop recording")
    tab.page.get_by_label("Sound", exact=True).wait_for()
    tab.press("Send")
    tab.wait_answer()
    (part,) = sent(tab)
    assert base64.b64decode(part["input_audio"]["data"]).startswith(b"RIFF")
    assert tab.answers.get_by_role("alert").count() == 0


def test_a_model_that_takes_none(visit: Visit, fake_server: RunningServer) -> None:
    tab = visit(fake_server)
    tab.page.get_by_text("What would you like to know?").wait_for()
    assert tab.page.get_by_role("button", name="Add a file").count() == 0
    give(tab, "drop", "dropped.png", "image/png", picture())
    tab.page.get_by_text("dropped.png: this model takes no such file.").wait_for()
