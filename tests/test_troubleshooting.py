"""The messages that docs/troubleshooting.md explains, beside the source: Nitro says each of them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
MESSAGE = re.compile(r"^\| (?:\d+ \| )?`([^`]*)` \|", re.MULTILINE)
WITHOUT = "## Without a message"


def messages() -> list[str]:
    text, _, _ = PAGE.read_text(encoding="utf-8").partition(WITHOUT)
    return MESSAGE.findall(text)


@cache
def said() -> tuple[str, ...]:
    """Every text of the source, … where a value is put in."""
    files = [*ROOT.glob("nitro/**/*.py"), *ROOT.glob("scripts/*.py")]
    return tuple(text for file in files for text in _texts(ast.parse(file.read_text(encoding="utf-8"))))


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_there_are_messages() -> None:
    assert len(messages()) > 30
    assert len(messages()) == len(set(messages()))


@pytest.mark.parametrize("message", messages())
def test_nitro_says_it(message: str) -> None:
    """In one text of the source, whole or its beginning; what stands for … may be anything."""
    form = ".*?".join(re.escape(part) for part in message.split("…"))
    assert any(re.search(form, text, re.DOTALL) for text in said())


def test_a_message_that_nobody_says_is_found() -> None:
    with pytest.raises(AssertionError):
        test_nitro_says_it("The model … is out of tea.")
