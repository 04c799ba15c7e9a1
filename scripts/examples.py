"""Puts the examples of tests/examples into the pages, between the two lines that say where one stands."""

import re
from pathlib import Path

from tests.examples import shown

DOCS = Path(__file__).parents[1] / "docs"
PLACE = re.compile(r"(<!-- example: (\w+) -->\n).*?(<!-- end of the example -->)", re.DOTALL)


def filled(page: str) -> str:
    """A page with its examples as they are now. Raises KeyError where there is no such example."""
    examples = {example.name: example for example in shown.read()}

    def fill(place: re.Match[str]) -> str:
        example = examples[place[2]]
        fences = [f"```{language}\n{example.text(language)}```\n\n" for language in shown.FILES]
        return f"{place[1]}\n{''.join(fences)}{place[3]}"

    return PLACE.sub(fill, page)


if __name__ == "__main__":
    for file in DOCS.glob("*.md"):
        file.write_text(filled(file.read_text(encoding="utf-8")), encoding="utf-8")
