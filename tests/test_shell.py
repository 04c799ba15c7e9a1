"""Every command in a shell: Ctrl-C from its first moment, colours only where they are wanted, and 80 columns."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from at_terminal import AtTerminal, sitting_at
from click.testing import CliRunner
from hub import Repo, running
from running import CEILING, FAKE, RunningServer
from test_stores import VARIABLES
from tiny_models import write_gguf

from nitro.cli import tables
from nitro.cli.main import main
from nitro.models.stores import registry
from nitro.system import terminal

COLUMNS = 80
NITRO = [sys.executable, "-P", "-m", "nitro"]
LONG = "a-company-with-a-long-name/A-Model-With-A-Long-Name-Instruct-2507-GGUF"
SEQUENCE = re.compile(r"\x1b\[[?]?[\d;]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[\d;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[\d;]*)?m")


# Ctrl-C

# A signal comes where a module is imported.
SIGNALLED = """
import os, signal, sys
wanted, sys.argv = sys.argv[1], ["nitro", *sys.argv[2:]]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from nitro.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("nitro.cli.main", "--version"),
        ("click", "--version"),
        ("msgspec", "--help"),
        ("nitro.cli.serve", "list"),
        ("nitro.launch", "serve"),
        ("nitro.models.catalog", "list"),
        ("nitro.models.description", "show SmolLM2-135M-Instruct"),
        ("nitro.models.names", "rm no-such-model"),
        ("nitro.doctor", "doctor"),
        ("nitro.doctor_report", "doctor --json"),
        ("nitro.bench.command", "bench http://127.0.0.1:1"),
        ("nitro.bench.sweep", "bench http://127.0.0.1:1 --plot x.svg"),
        ("nitro.chat.client", "ps"),
        ("nitro.chat.question", "run x y"),
        ("nitro.batch_client", "batch run x y"),
        ("nitro.records.replay", "replay x"),
        ("nitro.records.redaction", "redact x y"),
        ("nitro.simulation", "simulate traffic x --costs y"),
        ("nitro.convert.command", "convert x --to gguf"),
        ("nitro.convert.command", "verify x y"),
        ("nitro.cli.pull_output", "pull x/y"),
        ("tomllib", "config --config /dev/null"),
        ("nitro.cli.shell_scripts", "completion bash"),
    ],
)
def test_ctrl_c_while_a_command_begins_is_quiet(module: str, arguments: str, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", SIGNALLED, module, *arguments.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 130, done
    assert done.stdout == ""
    assert done.stderr in ("", "nitro: interrupted. Unfinished output was removed.\n")


def test_ctrl_c_that_was_to_be_ignored_is_ignored(tmp_path: Path) -> None:
    """As `nitro serve &` in a script has it."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", SIGNALLED, "nitro.cli.main", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=CEILING,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert done.returncode == 0 and done.stdout.startswith("nitro, version")


def test_a_command_ends_as_it_would() -> None:
    for arguments, status in (("--version", 0), ("nothing", 2)):
        done = subprocess.run([*NITRO, arguments], capture_output=True, timeout=CEILING)
        assert done.returncode == status


# Lines


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", None, ["one two three"]),
        ("one two three", 13, ["one two three"]),
        ("one two three", 12, ["one two", "  three"]),
        ("  one two\nthree", 80, ["  one two", "three"]),
        ("see /a/path/that-is/long-enough", 10, ["see", "  /a/path/that-is/long-enough"]),
        ("", 10, [""]),
    ],
)
def test_sentences_fit(text: str, width: int | None, lines: list[str]) -> None:
    assert terminal.wrapped(text, width, indent=2).split("\n") == lines


def test_tables_fit() -> None:
    rows = [("NAME", "SIZE", "WHERE"), ("short", "93.8 MiB", "Nitro"), ("n" * 30, "1.2 GiB", "hub")]

    def lines(room: int | None) -> list[str]:
        return [line for row in rows for line in tables.laid_out(row, rows, room)]

    name = "n" * 30
    assert (
        lines(None)
        == lines(47)
        == [f"{'NAME':30}  SIZE      WHERE", f"{'short':30}  93.8 MiB  Nitro", f"{name}  1.2 GiB   hub"]
    )
    assert lines(40) == [
        f"{'NAME':23}  SIZE      WHERE",
        f"{'short':23}  93.8 MiB  Nitro",
        name,
        f"{'':23}  1.2 GiB   hub",
    ]
    narrow = lines(27)
    assert narrow[2:5] == ["short             93.8 MiB", "                  Nitro", name]
    assert all(len(line) <= 27 for line in narrow if line != name)


def commands(group: click.Group = main) -> dict[str, click.Command]:
    return {name: command for name, command in group.commands.items() if not command.hidden}


@pytest.mark.parametrize("name", ["", *commands()])
def test_help_fits(name: str) -> None:
    said = CliRunner().invoke(main, [*name.split(), "--help"], env={"COLUMNS": str(COLUMNS)}).output
    assert "Usage: " in said and not too_long(said)


def too_long(written: str) -> list[str]:
    """The lines that are wider than the terminal, but for a word that stands alone: names and paths are copied."""
    lines = re.split(r"[\r\n]+", SEQUENCE.sub("", written))
    return [line for line in lines if width(line.rstrip()) > COLUMNS and len(line.split()) > 1]


def width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


# Every command on a terminal


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of a user who has a model with a long name and a broken one. Its path is short, as people's are."""
    home = Path(tempfile.mkdtemp(prefix="nitro-", dir="/tmp"))
    for name in (*VARIABLES, "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", registry.VARIABLE, "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NITRO_DATA", str(home / "data"))
    folder = home / ".lmstudio/models" / LONG
    folder.mkdir(parents=True)
    gguf = write_gguf(folder / "model-Q4_K_M.gguf")
    (home / "shelf").mkdir()
    (home / "shelf/cut.gguf").write_bytes(gguf.read_bytes()[:-100])
    (home / "nitro.toml").write_text('[server]\nalias = "a name that is a sentence, and hardly short"\n')
    yield home
    shutil.rmtree(home)


Run = Callable[..., str]


@pytest.fixture
def run(user: Path) -> Run:
    """`nitro ARGUMENTS` on a terminal of 80 columns, until it ends: everything that it wrote. Each argument may name
    the user's home as ~."""

    def run(arguments: str, status: int | None = 0, keys: str = "", **variables: str) -> str:
        command = [*NITRO, *arguments.replace("~", str(user)).split()]
        with sitting_at(command, (COLUMNS, 24), **variables) as at:
            at.types(keys)
            ended = at.wait()
            assert status in (ended, None), at.terminal.text
            drain(at)
        return at.written

    return run


def drain(at: AtTerminal) -> None:
    """Read what is still there of a program that has ended."""
    os.set_blocking(at.master, False)
    while at.reads():
        pass


OUTPUTS = {  # the arguments, the exit status, what is typed, a part of what is said
    "list": ("list --models ~/shelf", 0, "", "LM Studio"),
    "show": (f"show {LONG}:Q4_K_M", 0, "", "vocabulary"),
    "show a broken one": ("show ~/shelf/cut.gguf", 0, "", "ends before its weights do"),
    "show none": ("show no-such-model", 1, "", "There is no model"),
    "rm": (f"rm {LONG}:Q4_K_M", 1, "", "LM Studio"),
    "key": ("key list --keys ~/no-such-file-of-keys.toml", 1, "", "cannot be read"),
    "config": ("config --config ~/nitro.toml", 0, "", "nitro.toml:2"),
    "doctor": ("doctor", None, "", "llama.cpp"),
    "completion": ("completion klingon", 2, "", "klingon"),
    "serve nothing": ("serve ~/shelf/cut.gguf --port 0", 1, "", "cut.gguf"),
    "serve a wrong option": ("serve --log-level very-loud-and-clear-please", 2, "", "very-loud"),
    "rpc-worker": ("rpc-worker --host 192.0.2.1", 1, "", "--insecure-network"),
    "convert": ("convert ~/nowhere --to gguf", 1, "", "nowhere"),
    "verify": ("verify ~/nowhere ~/nowhere-else", 1, "", "nowhere"),
    "ps": ("ps --url http://127.0.0.1:1", 1, "", "nitro serve"),
    "run": ("run x y --url http://127.0.0.1:1", 1, "", "127.0.0.1:1"),
    "chat": ("chat x --url http://127.0.0.1:1", 1, "", "127.0.0.1:1"),
    "batch": ("batch run ~/nowhere.jsonl ~/out.jsonl", 1, "", "nowhere"),
    "replay": ("replay ~/nowhere.jsonl", 1, "", "nowhere"),
    "simulate": ("simulate traffic ~/nowhere.jsonl --costs ~/nowhere.json", 1, "", "nowhere"),
    "redact": ("redact ~/nowhere.jsonl ~/out.jsonl", 1, "", "nowhere"),
    "pull": ("pull no/such", 1, "", "nitro: "),
    "bench": ("bench http://127.0.0.1:1", 1, "", "cannot be reached"),
}
LOOKS: dict[str, dict[str, str]] = {"usual": {}, "NO_COLOR": {"NO_COLOR": "1"}, "a dumb terminal": {"TERM": "dumb"}}


def check(written: str, look: str) -> None:
    assert not too_long(written), too_long(written)
    if look == "NO_COLOR":
        assert not COLOUR.search(written), written
    if look == "a dumb terminal":
        assert "\x1b" not in written, written


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_said_fits_and_has_the_colours_that_are_wanted(run: Run, name: str, look: str) -> None:
    arguments, status, keys, said = OUTPUTS[name]
    variables = {"HF_ENDPOINT": "http://127.0.0.1:1", **LOOKS[look]}
    written = run(arguments, status, keys, **variables)
    assert said in " ".join(SEQUENCE.sub("", written).split()), written
    check(written, look)


def test_every_command_is_tried() -> None:
    assert {arguments.split()[0] for arguments, *_ in OUTPUTS.values()} == set(commands())


@pytest.mark.parametrize("look", LOOKS)
def test_the_files_of_a_repository(run: Run, look: str) -> None:
    content = bytes(range(256)) * 100
    with running() as hub:
        hub.repos["org/Model-GGUF"] = Repo(
            {f"A-Model-With-A-Long-Name-Instruct-2507-{kind}.gguf": content for kind in ("Q4_K_M", "Q8_0")}
        )
        variables = {"HF_ENDPOINT": hub.url, "HF_HOME": "/tmp/nowhere", **LOOKS[look]}
        written = run("pull org/Model-GGUF --dry-run --memory 1G", **variables)
    assert "the best that fits" in " ".join(SEQUENCE.sub("", written).split())
    check(written, look)


@pytest.mark.parametrize("look", LOOKS)
def test_a_measurement(run: Run, serve: Callable[..., RunningServer], user: Path, look: str) -> None:
    url = serve(context=16384).url
    small = "--clients 2 --tokens 4"
    for more in ("", f" --compare {url}/v1", f" --compare {url}/v1 --plot ~/speed.svg"):
        check(run(f"bench {url}/v1 {small}{more}", **LOOKS[look]), look)
    assert (user / "speed.svg").read_text().startswith("<svg")
    check(run(f"ps --url {url}", **LOOKS[look]), look)


def test_the_banner(user: Path) -> None:
    with sitting_at([*NITRO, "serve", "--engine", FAKE, "--port", "0"], (COLUMNS, 24)) as at:
        at.sees("URL")
        at.types("\x03")
        assert at.wait() == 0
        drain(at)
    logged = re.compile(r"^\S+ (?:DEBUG|INFO|WARNING|ERROR)\b.*$", re.MULTILINE)  # a line of the log stays one line
    assert not too_long(logged.sub("", at.written.replace("\r\n", "\n")))
