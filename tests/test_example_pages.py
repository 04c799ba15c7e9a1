"""The examples in the pages, without running them: tests/clients/test_examples.py does."""

import re
from collections import Counter
from pathlib import Path

import pytest

from nitro.api.openapi import ollama_operations
from nitro.api.openapi.document import OPERATIONS
from scripts import examples
from tests.examples import shown

PAGES = sorted(examples.DOCS.glob("*.md"))
# Routes that a page names beside the one that its example calls.
SAME = {"POST /v2/rerank", "POST /v1/reranking", "POST /api/embeddings", "GET /"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_are_up_to_date(page: Path) -> None:
    """`make docs` writes them."""
    text = page.read_text(encoding="utf-8")
    assert text == examples.filled(text)


def test_each_example_is_shown_once() -> None:
    found = Counter(place[2] for page in PAGES for place in examples.PLACE.finditer(page.read_text(encoding="utf-8")))
    assert found == Counter(example.name for example in shown.read())


def test_every_route_has_an_example() -> None:
    """Those that are refused have none."""
    refused = {path for (_, path), operation in OPERATIONS.items() if operation is ollama_operations.REFUSED}
    routes = {f"{method.upper()} {path}" for method, path in OPERATIONS if path not in refused}
    called = {route for example in shown.read() for route in example.routes}
    assert routes - SAME == {route for route in called if " /inferences/" not in route}


@pytest.mark.parametrize("example", shown.read(), ids=lambda example: example.name)
def test_an_example_has_a_usual_address(example: shown.Example) -> None:
    """So that a test can put its own in its place, and that a reader can try it."""
    for language in shown.FILES:
        text = example.text(language)
        assert "http://localhost:3928" in text and max(map(len, text.splitlines())) <= 130
        assert set(re.findall(r"https?://[\w.:]+", text)) == {"http://localhost:3928"}
        assert all(path in text for path in [*example.files, *example.said])
