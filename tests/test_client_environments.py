"""Environments of clients: made once, and again where one is half-made or its pins changed. Nothing is installed."""

from pathlib import Path

import pytest

from tests.clients import environments


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A client's, which needs nothing."""
    monkeypatch.setenv("NITRO_CACHE", str(tmp_path / "cache"))
    client = tmp_path / "client"
    client.mkdir()
    (client / "requirements.txt").write_text("")
    return client


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run; none of them is."""
    commands: list[list[str]] = []
    monkeypatch.setattr(environments, "_call", commands.append)
    return commands


def test_it_is_made_once(folder: Path, made: list[list[str]]) -> None:
    first = environments.python(folder)
    assert [command[1:3] for command in made] == [["-m", "venv"], ["-m", "pip"]]
    assert environments.python(folder) == first and len(made) == 2


def test_other_pins_make_another_one(folder: Path, made: list[list[str]]) -> None:
    home = environments.python(folder).parents[1]
    (home / "left").touch()
    (folder / "requirements.txt").write_text("a==1\n")
    assert environments.python(folder).parents[1] == home
    assert len(made) == 4 and not (home / "left").exists()


def test_a_half_made_one_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="no such thing"):
        patch.setattr(environments, "_make_python", lambda home: [["sh", "-c", "echo no such thing; exit 3"]])
        environments.python(folder)
    made: list[list[str]] = []
    monkeypatch.setattr(environments, "_call", made.append)
    environments.python(folder)
    assert len(made) == 2


def test_a_lock_is_needed_for_javascript(folder: Path, made: list[list[str]]) -> None:
    for name in ("package.json", "package-lock.json"):
        (folder / name).write_text("{}")
    home = environments.node(folder)
    ((npm, what, *_),) = made
    assert (npm, what) == ("npm", "ci") and (home / "package-lock.json").is_file()
