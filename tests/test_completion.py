"""`nitro completion`: what a line may go on with, and real shells in which Tab is pressed."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import store_layouts
from at_terminal import TAB, AtTerminal, sitting_at
from click.testing import CliRunner
from test_stores import VARIABLES
from tiny_models import write_gguf

from nitro.cli import answers
from nitro.cli.completion import SHELLS
from nitro.cli.main import main
from nitro.cli.shell_scripts import SCRIPTS
from nitro.models import fact_cache
from nitro.models.stores import registry

PROMPT = "$$ "


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with one model of LM Studio's, one of Ollama's and the embedded one."""
    for name in (*VARIABLES, "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", registry.VARIABLE, "NITRO_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NITRO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("sys.platform", "linux")
    fact_cache.shared.cache_clear()
    gguf = write_gguf(tmp_path / "tiny-Q4_0.gguf")
    store_layouts.lm_studio(tmp_path / "home", gguf)
    store_layouts.ollama(tmp_path / "home", gguf)
    return tmp_path / "home"


def offered(line: str) -> list[str]:
    """What may stand where the line ends; of files and folders that any may."""
    word, *lines = answers.answered(main, line)
    assert word.startswith("word\t")
    return [fields[1] if len(fields) > 1 else fields[0] for fields in (line.split("\t") for line in lines)]


# What is offered


def test_commands() -> None:
    assert offered("nitro s") == ["serve", "show", "simulate"]
    assert set(offered("nitro ")) == {name for name, command in main.commands.items() if not command.hidden}


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_option_of_every_command(command: str) -> None:
    options = {
        flag
        for parameter in main.commands[command].params
        for flag in parameter.opts
        if flag.startswith("--") and not getattr(parameter, "hidden", False)
    }
    assert set(offered(f"nitro {command} --")) == {*options, "--help"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nitro serve --engine ", ["auto", "mlx", "llama"]),
        ("nitro serve --engine=l", ["llama"]),
        ("nitro convert x --to g", ["gguf"]),
        ("nitro completion ", list(SHELLS)),
        ("nitro serve --chat-template ", ["file"]),
        ("nitro serve --mmproj ", ["file"]),
        ("nitro convert ", ["file"]),
        ("nitro bench http://localhost --plot ", ["file"]),
        ("nitro ps ", []),
        ("A=1 B='x y' nitro doc", ["doctor"]),
        ("/usr/bin/nitro doc", ["doctor"]),
        ("nitro 'doc", ["doctor"]),
    ],
)
@pytest.mark.usefixtures("home")
def test_values(line: str, words: list[str]) -> None:
    assert offered(line) == words


@pytest.mark.parametrize("command", ["serve", "chat", "run", "show", "rm", "pull", "config", "serve --draft"])
@pytest.mark.usefixtures("home")
def test_names_of_models(command: str) -> None:
    assert offered(f"nitro {command} MAK") == ["maker/tiny-GGUF:Q4_K_M"], "case counts nowhere in names"
    assert set(offered(f"nitro {command} ")) == {"maker/tiny-GGUF:Q4_K_M", "tiny:1b", "SmolLM2-135M-Instruct"}
    assert offered(f"nitro {command} ./") == ([] if command in ("rm", "pull") else ["file"])


def test_names_of_ones_own_folder_and_of_the_file(home: Path, tmp_path: Path) -> None:
    assert offered(f"nitro list --models {tmp_path} --mo") == ["--models"]
    assert offered(f"nitro show --models {tmp_path} tiny-") == ["tiny-Q4_0"]
    settings = tmp_path / "nitro.toml"
    settings.write_text('[models."tiny:1b"]\nalias = "gpt"\n')
    assert offered(f"nitro run --config {settings} g") == ["gpt"]
    settings.write_text("nothing =")
    assert offered(f"nitro run --config {settings} tiny:") == ["tiny:1b"], "it is read, and told, by the command"


def test_a_fault_in_the_stores_is_no_traceback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.VARIABLE, "no such store")
    done = CliRunner().invoke(main, ["completion", "bash", "--answer", "nitro show t"])
    assert (done.exit_code, done.stdout) == (0, "word\tt\nfile\n")


def test_help_says_how_to_set_it_up() -> None:
    said = CliRunner().invoke(main, ["completion", "--help"]).stdout
    assert all(f"nitro completion {shell}" in said for shell in SHELLS) and "--answer" not in said
    assert [CliRunner().invoke(main, ["completion", shell]).stdout for shell in SHELLS] == list(SCRIPTS.values())


# Real shells

START: dict[str, tuple[list[str], str]] = {  # options, and what is typed first
    "bash": (["--norc", "--noprofile", "-i"], "bind 'set bell-style none'; bind 'set enable-bracketed-paste off'"),
    "zsh": (["-f", "-i"], "autoload -Uz compinit; compinit -D; unsetopt beep prompt_sp"),
    "fish": (["--no-config", "--private", "-i"], "function fish_prompt; echo -n '$$ '; end; set -g fish_greeting"),
}
SOURCE = {
    "bash": 'eval "$(nitro completion bash)"',
    "zsh": 'eval "$(nitro completion zsh)"',
    "fish": "nitro completion fish | source",
}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Iterator[AtTerminal]:
    """A shell that has read the script, in a folder with one file."""
    name = request.param
    program = shutil.which(name)
    if not program:
        pytest.skip(f"{name} is not installed")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nitro").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m nitro "$@"\n')
    (programs / "nitro").chmod(0o755)
    (home / "work").mkdir()
    (home / "work/weights.gguf").touch()
    arguments, first = START[name]
    path = f"{programs}:/usr/local/bin:/usr/bin:/bin"
    variables = {"PATH": path, "PS1": PROMPT, "PROMPT": PROMPT, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    with sitting_at([program, *arguments], (100, 40), **variables) as at:
        at.types(f"cd {shlex.quote(str(home / 'work'))}; {first}; {SOURCE[name]}; echo set''tled\n")
        at.sees("settled")
        yield at


COMPLETED = {  # what is typed, and what the line is then
    "a command": ("nitro doc", "nitro doctor"),
    "an option": ("nitro serve --max-q", "nitro serve --max-queue"),
    "a value": ("nitro serve --log-level w", "nitro serve --log-level warning"),
    "a value after =": ("nitro serve --log-level=w", "nitro serve --log-level=warning"),
    "a name with colons": ("nitro run maker/tiny-GGUF:Q", "nitro run maker/tiny-GGUF:Q4_K_M"),
    "a name up to its colon": ("nitro run tiny:", "nitro run tiny:1b"),
    "a file": ("nitro serve ./wei", "nitro serve ./weights.gguf"),
    "a file after =": ("nitro serve --mmproj=wei", "nitro serve --mmproj=weights.gguf"),
    "after a variable": ("X=1 nitro doc", "X=1 nitro doctor"),
    "after another command": ("true; nitro doc", "true; nitro doctor"),
}


@pytest.mark.parametrize("what", COMPLETED)
def test_tab_completes(shell: AtTerminal, what: str) -> None:
    typed, completed = COMPLETED[what]
    shell.types(typed + TAB)
    shell.sees(completed)


def test_tab_lists_what_there_is(shell: AtTerminal) -> None:
    shell.types("nitro s" + TAB + TAB)
    shell.sees("serve")
    shell.sees("show")
