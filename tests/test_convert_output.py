"""Models are written whole or not at all: full disks, kills at any moment, what is there already."""

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from tiny_models import write_gguf

from nitro.cli.main import main
from nitro.convert import output, preflight
from nitro.errors import ConvertError

# Writes a model's folder and says a line before every step that changes the disk; stops until it is told to go on.
WRITER = """
import os, shutil, sys
from pathlib import Path
from nitro.convert import output

def moment():
    print("moment", flush=True)
    assert sys.stdin.readline()

def told(function):
    def step(*arguments, **options):
        moment()
        return function(*arguments, **options)
    return step

os.fsync, os.rename, Path.rename, shutil.rmtree = map(told, (os.fsync, os.rename, Path.rename, shutil.rmtree))
with output.writing(Path(sys.argv[1]), force=len(sys.argv) > 2) as made:
    made.mkdir()
    for name in ("config.json", "model-1.safetensors", "model-2.safetensors"):
        with (made / name).open("wb") as file:
            for _ in range(3):
                moment()
                file.write(b"new!" * 1000)
                file.flush()
"""
FILES = {"config.json", "model-1.safetensors", "model-2.safetensors"}
MOMENTS = 9 + 5 + 3  # writes; syncs; the rename and what is cleared


def started(target: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(target), *flags]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go_on(process: subprocess.Popen, moments: int) -> int:
    """How many moments it came to, at most so many; it stands before the last."""
    for count in range(1, moments + 1):
        if process.stdout.readline() != "moment\n":
            return count - 1
        if count < moments:
            process.stdin.write("\n")
            process.stdin.flush()
    return moments


def finish(process: subprocess.Popen) -> None:
    process.stdin.close()
    process.stdout.close()
    process.wait()


def whole(folder: Path, content: bytes = b"new!") -> bool:
    names = {file.name for file in folder.iterdir()}
    return names == FILES and all((folder / name).read_bytes() == content * 3000 for name in names)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    target = tmp_path / "model"
    target.mkdir()
    for name in FILES:
        (target / name).write_bytes(b"old!" * 3000)
    return target


@pytest.mark.parametrize("moment", sorted(random.Random(5).sample(range(1, MOMENTS + 1), 10)))
def test_a_kill_at_any_moment_leaves_nothing_or_the_whole(tmp_path: Path, moment: int) -> None:
    target = tmp_path / "model"
    process = started(target)
    assert go_on(process, moment) == moment
    process.send_signal(signal.SIGKILL)
    finish(process)
    if target.exists():
        assert whole(target)
    assert not [name for name in os.listdir(tmp_path) if name != "model" and not name.startswith(".model.partial-")]
    output.remove_leftovers(target)
    assert os.listdir(tmp_path) == (["model"] if target.exists() else [])


@pytest.mark.parametrize("moment", range(14, MOMENTS + 1))
def test_a_kill_while_a_model_is_replaced_leaves_the_old_or_the_new(old: Path, moment: int) -> None:
    process = started(old, "force")
    go_on(process, moment)
    process.send_signal(signal.SIGKILL)
    finish(process)
    output.remove_leftovers(old)
    assert whole(old) or whole(old, b"old!")
    assert os.listdir(old.parent) == ["model"]


def test_the_moments_are_all_there_are(tmp_path: Path) -> None:
    process = started(tmp_path / "model")
    assert go_on(process, 1000) == MOMENTS
    finish(process)
    assert whole(tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]


def test_what_another_process_writes_just_now_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "model"
    process = started(target)
    go_on(process, 5)
    output.remove_leftovers(target)
    assert len(os.listdir(tmp_path)) == 1
    process.kill()
    finish(process)
    output.remove_leftovers(target)
    assert os.listdir(tmp_path) == []


def test_a_target_that_exists_needs_force(old: Path) -> None:
    with (
        pytest.raises(ConvertError, match="exists; choose another target with -o, or add --force"),
        output.writing(old),
    ):
        pass
    with output.writing(old, force=True) as made:
        made.mkdir()
        (made / "config.json").write_text("{}")
    assert os.listdir(old) == ["config.json"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters.txt").write_text("dear")
    with pytest.raises(ConvertError, match="is not a model"), output.writing(tmp_path / "home", force=True):
        pass
    assert (tmp_path / "home" / "letters.txt").is_file()


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), output.writing(tmp_path / "model.gguf") as made:
        made.write_bytes(b"half")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Room for a megabyte: a tmpfs where one can be mounted, else a limit on a file's length."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    ).returncode
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if mounted != 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if mounted == 0:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(ConvertError, match=r"disk of .* is full; nothing was left"):  # noqa: SIM117
        with output.writing(small_disk / "model.gguf") as made:
            made.write_bytes(b"x" * 2**21)
    assert os.listdir(small_disk) == []


def test_a_whole_conversion_on_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fills up after the look at it: while our own writer writes, and while llama.cpp does."""
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda folder: Usage(free=2**40))
    source = write_gguf(small_disk.parent / "tiny.gguf", width=256)
    for to in (("mlx",), ("gguf", "--type", "F16")):
        target = small_disk / "made"
        done = CliRunner().invoke(main, ["convert", str(source), "--to", *to, "-o", str(target), "--positions", "64"])
        assert done.exit_code == 1
        assert f"nitro: The disk of {small_disk} is full; nothing was left there.\n" in done.stderr
        assert os.listdir(small_disk) == []


class Usage(NamedTuple):
    free: int
