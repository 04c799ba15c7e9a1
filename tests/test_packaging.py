"""The files of packaging/ and the Containerfile, as far as they can be read without what runs them."""

import os
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nitro.cli.main import main
from nitro.config import ServeConfig
from scripts import container_stages

ROOT = Path(__file__).parents[1]
PACKAGING = ROOT / "packaging"
STAGES = container_stages.read(container_stages.FILE.read_text())
PROGRAM = "/opt/nitro/bin/nitro"


def settings(*arguments: str, **variables: str) -> str:
    """What `nitro config` makes of them: the settings that `nitro serve` would have."""
    done = CliRunner(env=variables).invoke(main, ["config", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if not (analyze := shutil.which("systemd-analyze")):
        pytest.skip("systemd-analyze is not installed")
    text = (PACKAGING / "nitro.service").read_text()
    assert text.count(PROGRAM) == 1
    unit = tmp_path / "nitro.service"
    unit.write_text(text.replace(PROGRAM, sys.executable))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_nitro_accepts_what_the_unit_sets(tmp_path: Path) -> None:
    text = (PACKAGING / "nitro.service").read_text()
    (line,) = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
    variables = dict(pair.split("=") for pair in line.split())
    (tmp_path / "key").write_text("secret")
    variables["NITRO_API_KEY_FILE"] = variables["NITRO_API_KEY_FILE"].replace("%d", str(tmp_path))
    variables["NITRO_CONFIG"] = str(PACKAGING / Path(variables["NITRO_CONFIG"]).name)
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert command.split() == [PROGRAM, "serve"]
    shown = settings(**variables)
    assert 'allow-host = ["llm.example.org"]' in shown and "NITRO_API_KEY_FILE" in shown


def test_the_property_list_of_a_mac(tmp_path: Path) -> None:
    told = plistlib.loads((PACKAGING / "local.nitro.plist").read_bytes())
    assert told["Label"] + ".plist" == "local.nitro.plist"
    program, *arguments = told["ProgramArguments"]
    assert Path(program).name == "nitro" and arguments[0] in main.commands
    assert told["KeepAlive"] == {"SuccessfulExit": False} and told["RunAtLoad"] is True
    assert told["ExitTimeOut"] > ServeConfig().grace  # seconds; launchd's own 20 would kill what is being finished
    assert all(os.path.isabs(path) for path in [program, told["StandardErrorPath"]])
    (tmp_path / "key").write_text("secret")
    assert set(told["EnvironmentVariables"]) == {"NITRO_API_KEY_FILE"}
    assert "NITRO_API_KEY_FILE" in settings(*arguments[1:], NITRO_API_KEY_FILE=str(tmp_path / "key"))


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_target_of_the_containerfile(target: str) -> None:
    """What it copies is there and not ignored, and what it starts is our program with settings that it knows."""
    stages = container_stages.needed(STAGES, target)
    assert [stage.name for stage in stages] == [f"{target}-build", target]
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    for rest in (rest for stage in stages for name, rest in stage.steps if name == "COPY" and "--from" not in rest):
        assert all((ROOT / source).exists() and f"!{source}" in kept for source in rest.split()[:-1])
    steps = stages[-1].steps
    assert ("ENTRYPOINT", '["nitro"]') in steps and ("CMD", '["serve"]') in steps
    names = {name for step, rest in steps if step == "ENV" for name in container_stages.assignments(rest)}
    help_text = CliRunner().invoke(main, ["serve", "--help"]).output
    assert all(name in help_text for name in names if name.startswith("NITRO_"))


def test_the_pins_of_both_targets_are_ours() -> None:
    """Each step that installs something does so within constraints.txt."""
    for target in ("cpu", "cuda"):
        build, _ = container_stages.needed(STAGES, target)
        assert any("PIP_CONSTRAINT=/src/constraints.txt" in rest for name, rest in build.steps if name == "ENV")
        assert ("COPY", "constraints.txt ./") in build.steps


def test_a_stage_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="no stage is called gpu; there are"):
        container_stages.needed(STAGES, "gpu")


def test_instructions_are_read() -> None:
    text = (
        'ARG BASE=debian:12\n# a comment\nFROM ${BASE} AS one\nRUN a && \\\n    b\nENV A=1 B="2 3"\nFROM one AS two\n'
    )
    one, two = container_stages.read(text)
    assert (one.base, two.base) == ("debian:12", "one")
    assert one.steps == [("RUN", "a &&      b"), ("ENV", 'A=1 B="2 3"')]
    assert container_stages.assignments(one.steps[1][1]) == {"A": "1", "B": "2 3"}
