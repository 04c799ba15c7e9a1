"""The pages that were built, as a browser would meet them: where their links lead, and what they load."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "srcset", "link": "href"}
NOT_LOADED = {"canonical", "prev", "next", "alternate"}  # of link's rel
# Python-Markdown wants a blank line before a list, a table or a fence; where there is none they are shown as text.
AS_TEXT = re.compile(r"^(?:[-*] |\d+\. |\|.*\|$|```)", re.MULTILINE)


class Page(HTMLParser):
    """A page's ids, its links, the addresses from which it loads something, and the text of its paragraphs."""

    def __init__(self, file: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.paragraphs: list[str] = []
        self._in_paragraph = self._in_code = False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element."""
        if tag == "p":
            self.paragraphs.append("")
            self._in_paragraph = True
        self._in_code = self._in_code or tag == "code"
        told = {name: value or "" for name, value in attrs}
        self.ids |= {told[name] for name in ("id", "name") if name in told}
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        if LOADS.get(tag) in told and told.get("rel") not in NOT_LOADED:
            self.loaded.append(told[LOADS[tag]])

    def handle_endtag(self, tag: str) -> None:
        """The end of an element."""
        self._in_paragraph = self._in_paragraph and tag != "p"
        self._in_code = self._in_code and tag != "code"

    def handle_data(self, data: str) -> None:
        """Text."""
        if self._in_paragraph and not self._in_code:
            self.paragraphs[-1] += data


def faults(site: Path) -> list[str]:
    """What is wrong, a line each: a link that leads nowhere, or something that is loaded from elsewhere."""
    pages = {file: Page(file) for file in sorted(site.rglob("*.html"))}
    found = []
    for file, page in pages.items():
        name = file.relative_to(site)
        found += [f"{name} shows as text: {text}" for text in page.paragraphs if AS_TEXT.search(text)]
        for address in {*page.links, *page.loaded}:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loaded and parts.scheme != "data":
                    found.append(f"{name} loads {address}")
                continue
            target = (
                site / parts.path.lstrip("/") if parts.path.startswith("/") else file.parent / unquote(parts.path)
            ).resolve()
            target = file if not parts.path else target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(f"{name}: {address} leads nowhere")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids | {"__top"}:
                found.append(f"{name}: {address}: no such place")
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        found += [
            f"{sheet.relative_to(site)} loads {word}" for word in ("@import", "url(http", "url(//") if word in text
        ]
    return found
