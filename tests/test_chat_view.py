"""How an answer is shown while it comes: blocks of Markdown, each drawn for good once, and what a terminal shows."""

import io
import itertools
import random

import pytest
from rich.console import Console
from rich.markdown import Markdown
from terminal import Terminal

from nitro.chat import answer_view
from nitro.chat.answer_view import AnswerView
from nitro.chat.client import Piece
from nitro.chat.markdown_blocks import Blocks
from nitro.chat.printable import printable

ANSWER = """\
# A title

A paragraph of **words**,
on two lines.
## Right below
- one
- two

  still two

- three
Not indented, but of the item.

```python
def f():

    return "# no title"
```
| a | b |
|---|---|
| 1 | 2 |

1. first
   ```sh
   ls

   cd
   ```
2. second

> quoted
~~~
```
~~~
the end
"""

BLOCKS = [
    "# A title",
    "A paragraph of **words**,\non two lines.",
    "## Right below",
    "- one\n- two\n\n  still two\n\n- three\nNot indented, but of the item.",
    '```python\ndef f():\n\n    return "# no title"\n```',
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "1. first\n   ```sh\n   ls\n\n   cd\n   ```\n2. second",
    "> quoted",
    "~~~\n```\n~~~",
    "the end",
]


def pieces(text: str, seed: int) -> list[str]:
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(len(text) + 1), rng.randint(0, len(text) // 2)))
    return [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


@pytest.mark.parametrize("seed", range(50))
def test_blocks_do_not_depend_on_the_pieces(seed: int) -> None:
    blocks = Blocks()
    ended = [block for piece in pieces(ANSWER, seed) for block in blocks.feed(piece)]
    assert [*ended, blocks.rest] == [*BLOCKS[:-1], BLOCKS[-1]]


def test_a_block_that_ended_is_not_told_again() -> None:
    blocks = Blocks()
    assert blocks.feed("one\n\ntw") == ["one"] and blocks.rest == "tw"
    assert blocks.feed("o\n") == [] and blocks.rest == "two"
    assert blocks.feed("```\nx\n") == ["two"] and blocks.rest == "```\nx"
    assert blocks.feed("```\n") == ["```\nx\n```"] and blocks.rest == ""


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("- a\n\n# b\n", ["- a", "# b"]),
        ("- a\n# b\nc", ["- a", "# b", "c"]),
        ("- a\n\nb\n\n", ["- a", "b"]),
        ("a\n- b\n\n", ["a\n- b"]),
        ("````\n```\n````\nx\n\n", ["````\n```\n````", "x"]),
        ("``` a`b\n\nc\n\n", ["``` a`b", "c"]),
        ("\n\n\n", []),
        ("#no heading\nx\n\n", ["#no heading\nx"]),
    ],
)
def test_where_a_block_ends(text: str, blocks: list[str]) -> None:
    found = Blocks()
    ended = found.feed(text)
    assert [*ended, *([found.rest] if found.rest.strip() else [])] == blocks


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def show(
    parts: list[Piece], fold: bool = False, step: float = 0.1, width: int = 60, height: int = 20
) -> tuple[Terminal, str]:
    """What a terminal shows when these come, `step` seconds apart; and all that was written to it."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, height=height, legacy_windows=False, highlight=False)
    clock = Clock()
    with AnswerView(console, fold, clock) as view:
        for part in parts:
            view.show(part)
            clock.now += step
            view.tick()
    written = file.getvalue()
    return Terminal(width, height).feed(written.replace("\n", "\r\n")), written


def lines_of(markdown: str, width: int = 60) -> list[str]:
    """Of the whole text, rendered at once; without blank lines."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(Markdown(markdown))
    return [
        line
        for line in (line.rstrip() for line in Terminal(width, 1000).feed(capture.get().replace("\n", "\r\n")).lines)
        if line
    ]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("step", [0.0, 0.03, 0.1])
def test_the_end_is_as_if_it_had_come_at_once(seed: int, step: float) -> None:
    shown, _ = show([Piece(part) for part in pieces(ANSWER, seed)], step=step)
    assert [line for line in shown.lines if line] == lines_of(ANSWER)


def test_blocks_are_a_line_apart() -> None:
    shown, _ = show([Piece(part) for part in pieces(ANSWER, 1)])
    assert "\n\n\n\n" not in shown.text, "code has a coloured line around it"
    assert "Right below\n\n • one" in shown.text and " 1  2\n\n 1 first" in shown.text


@pytest.mark.parametrize("height", [5, 12])
def test_what_is_higher_than_the_terminal_is_shown_whole_and_once(height: int) -> None:
    code = "```\n" + "".join(f"line {i}\n" for i in range(40)) + "```\n"
    text = f"before\n\n{code}\n" + "\n".join(f"- item {i}" for i in range(30)) + "\n\n" + "word " * 300
    shown, _ = show([Piece(part) for part in pieces(text, 3)], height=height)
    assert [line for line in shown.lines if line] == lines_of(text)


def test_drawing_grows_with_the_text_and_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []

    class Counted(Markdown):
        def __init__(self, text: str):
            rendered.append(len(text))
            super().__init__(text)

    monkeypatch.setattr(answer_view, "Markdown", Counted)

    def work(lines: int) -> int:
        rendered.clear()
        show([Piece(part) for part in ["```\n", *(f"line {i % 10}\n" for i in range(lines)), "```\n"]])
        return sum(rendered)

    assert work(400) < 2.2 * work(200)


def test_not_every_token_is_drawn() -> None:
    _, seldom = show([Piece("word ")] * 100, step=0.001)
    _, always = show([Piece("word ")] * 100, step=0.1)
    assert 10 * len(seldom) < len(always)


def test_reasoning_is_dim_and_above_the_answer() -> None:
    parts = [Piece(reasoning="\n\nI think\nthat"), Piece(reasoning=" it is\n"), Piece("It"), Piece(" is.")]
    shown, written = show(parts)
    assert shown.lines == ["I think", "that it is", "", "It is."]
    assert "\x1b[2mI think" in written


def test_reasoning_can_be_folded() -> None:
    parts = [Piece(reasoning=part) for part in ["a", "b\n", "c"] * 10] + [Piece("It is.")]
    shown, written = show(parts)
    assert len(shown.lines) > 10
    shown, written = show(parts, fold=True)
    assert shown.lines == ["thought for 3.0 s", "", "It is."] and "thinking … 2 s" in written


def test_waiting_is_told() -> None:
    file = io.StringIO()
    clock = Clock()
    with AnswerView(Console(file=file, force_terminal=True, width=60), clock=clock) as view:
        for _ in range(30):
            assert view.pause <= 1
            clock.now += 0.1
            view.tick()
        assert "… 1 s" in file.getvalue() and "… 2 s" in file.getvalue()
        view.show(Piece("done"))
    assert Terminal().feed(file.getvalue().replace("\n", "\r\n")).lines == ["done"]


def test_nothing_is_shown_of_nothing() -> None:
    assert show([])[0].lines == [] and show([Piece("\n\n")])[0].lines == []


def test_a_model_controls_no_terminal() -> None:
    said = "a\x1b[2Jb\x1b]0;title\x07c\x9b31md\r\x08e\tf\ng\u202e"
    assert printable(said) == "a[2Jb]0;titlec31mde\tf\ng"
    _, written = show([Piece(reasoning="x\x1b[31my"), Piece("x\x1b]0;title\x07y")])
    assert "\x1b]0" not in written and "\x1b[31m" not in written
