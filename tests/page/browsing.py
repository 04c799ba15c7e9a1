"""A tab of a real browser, as a person uses it, by what the page says rather than how it is built."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from running import CEILING

WEB = Path(__file__).parents[2] / "web"
BUILT = Path(__file__).parents[2] / "nitro" / "web"
LOCAL = ("data:", "blob:")


class Tab:
    """`shots`: where screenshots go; None: there are none."""

    def __init__(self, context: Any, url: str, shots: Path | None):
        self._context = context
        self._shots = shots
        self.url = url
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.bodies: list[str] = []  # of requests for answers
        context.set_default_timeout(CEILING * 1000)
        context.on("request", self._asked)
        context.on("weberror", lambda error: self.faults.append(str(error.error)))
        context.on("console", self._said)
        self.page = context.new_page()

    def _asked(self, request: Any) -> None:
        self.asked.append(request.url)
        if request.url.endswith("/v1/chat/completions"):
            self.bodies.append(request.post_data)

    def _said(self, message: Any) -> None:
        """Statuses of replies are the tests' business; everything else that is an error is a fault."""
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def open(self, path: str = "/") -> None:
        self.page.goto(self.url + path)

    def close(self) -> None:
        """Raises AssertionError for what the page did and must not."""
        self._context.close()
        foreign = [url for url in self.asked if not url.startswith((f"{self.url}/", *LOCAL))]
        assert not foreign, "another origin was asked"
        assert not self.faults

    def shoot(self, name: str) -> None:
        """Keep what the page looks like, as docs/screenshots/NAME.webp."""
        if self._shots:
            self._shots.mkdir(exist_ok=True)
            image = Image.open(io.BytesIO(self.page.screenshot(animations="disabled", caret="hide")))
            image.convert("RGB").save(self._shots / f"{name}.webp", quality=82, method=6)

    # What a person does

    def ask(self, text: str) -> None:
        self.page.get_by_label("Message", exact=True).fill(text)
        self.page.keyboard.press("Enter")

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).last.click()

    def show_parameters(self) -> None:
        self.page.get_by_role("button", name="Show parameters").click()

    # What a person sees

    @property
    def answers(self) -> Any:
        return self.page.get_by_role("article", name="Answer")

    @property
    def questions(self) -> Any:
        return self.page.get_by_role("article", name="You")

    def wait_answer(self, nth: int = -1) -> Any:
        """An answer, once it is whole or has failed."""
        answer = self.answers.last if nth < 0 else self.answers.nth(nth)
        answer.and_(self.page.locator("[aria-busy=false]")).wait_for()
        return answer


Visit = Callable[..., Tab]
