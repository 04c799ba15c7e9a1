"""The clients of this folder, as their files tell: what a page says of each. Runs none of them.

A folder with a `client.toml` is a client. Beside it stand its pins (`requirements.txt`, or `package.json` with its
lock) and its program, made of steps; what a user changes stands in it between the two lines of MARKS. Steps look alike
in Python and JavaScript: `step("what it shows", "scripted", "llama")`, and on which servers.
"""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

FOLDER = Path(__file__).parent
PROGRAMS = ("program.py", "program.mjs")
MARKS = ("what you change", "end of what you change")
STEP = re.compile(r'\bstep\(\s*((?:"[^"]*",?\s*)+)')
ROOT, MODEL = "http://localhost:3928", "SmolLM2-135M-Instruct"  # ROOT: as Anthropic's and Ollama's clients want it
URL = f"{ROOT}/v1"
# how a program names its server, in Python, in an f-string, in JavaScript → what a user writes
VALUES = {
    r"""\{os\.environ\[["']NITRO_URL["']\]\}|\$\{process\.env\.NITRO_URL\}""": URL,
    r"""\{os\.environ\[["']NITRO_MODEL["']\]\}|\$\{process\.env\.NITRO_MODEL\}""": MODEL,
    r"""os\.environ\[["']NITRO_ROOT["']\]|process\.env\.NITRO_ROOT""": f'"{ROOT}"',
    r"""os\.environ\[["']NITRO_URL["']\]|process\.env\.NITRO_URL""": f'"{URL}"',
    r"""os\.environ\[["']NITRO_MODEL["']\]|process\.env\.NITRO_MODEL""": f'"{MODEL}"',
}


@dataclass(frozen=True)
class Step:
    what: str
    servers: tuple[str, ...]


@dataclass(frozen=True)
class Client:
    name: str
    title: str
    packages: tuple[str, ...]  # what a user installs, pinned
    limits: tuple[str, ...]
    strict: bool  # whether its servers are; what it sends has no other effect then
    program: Path
    steps: tuple[Step, ...]

    @property
    def folder(self) -> Path:
        return self.program.parent

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(server for step in self.steps for server in step.servers))

    def on(self, server: str) -> list[str]:
        return [step.what for step in self.steps if server in step.servers]

    def lines(self) -> str:
        """What a user changes, as a user writes it."""
        begin, end = (rf"^[ \t]*(?:#|//) {mark}\n" for mark in MARKS)
        (found,) = re.findall(rf"{begin}(.*?){end}", self.program.read_text(encoding="utf-8"), re.S | re.M)
        for pattern, value in VALUES.items():
            found = re.sub(pattern, value, found)
        return dedent(found)


def read() -> list[Client]:
    return [_read(file.parent) for file in sorted(FOLDER.glob("*/client.toml"))]


def _read(folder: Path) -> Client:
    told = tomllib.loads((folder / "client.toml").read_text(encoding="utf-8"))
    (program,) = (folder / name for name in PROGRAMS if (folder / name).is_file())
    calls = STEP.findall(program.read_text(encoding="utf-8"))
    steps = [Step(*_split(re.findall(r'"([^"]*)"', call))) for call in calls]
    packages = told.get("packages") or _dependencies(folder / "package.json")
    limits, strict = tuple(told["limits"]), told.get("strict", True)
    return Client(folder.name, told["title"], tuple(packages), limits, strict, program, tuple(steps))


def _split(words: list[str]) -> tuple[str, tuple[str, ...]]:
    return words[0], tuple(words[1:])


def _dependencies(file: Path) -> list[str]:
    return [f"{name}@{release}" for name, release in json.loads(file.read_text())["dependencies"].items()]
