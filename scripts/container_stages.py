"""Builds a target of the Containerfile without a container engine, and tries what it made: does the file still work?

    sudo python3 scripts/container_stages.py cpu

Each stage is this machine's own root, under an overlay that takes what the stage writes; nothing outside a temporary
folder changes, and the kernel unmounts all of it when this ends. Then the server is started as the image would start
it, and asked something. So the stages are run for real, but on this system, which should be a Debian, in place of the
image that FROM names: a program that only this machine has would not be missed.

Knows the instructions that our Containerfile has, and says which it passes over. Needs root, and Linux with overlayfs.
"""

import argparse
import json
import os
import re
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "Containerfile"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # as images of Debian have it
FOR_IMAGES = ("VOLUME", "EXPOSE")  # what only an image's users see
SLOW = 120  # seconds until the server listens


@dataclass
class Stage:
    """One stage: its name, the image or stage that it begins from, and its instructions as (name, the rest)."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def read(text: str) -> list[Stage]:
    """The stages of a Containerfile. ARGs before the first of them have their defaults. Raises ValueError."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    whole = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, whole.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, word, title = rest.split()
            if word != "AS":
                raise ValueError(f"a stage without a name: {line}")
            stages.append(Stage(title, string.Template(base).substitute(arguments)))
        elif stages:
            stages[-1].steps.append((name, rest.strip()))
        elif name == "ARG":
            arguments |= assignments(rest)
        else:
            raise ValueError(f"{name} before the first FROM")
    return stages


def assignments(text: str) -> dict[str, str]:
    """`A=1 B="2 3"`, as ENV and ARG have it."""
    found = re.findall(r'(\w+)=(?:"([^"]*)"|(\S*))', text)
    return {name: quoted or plain for name, quoted, plain in found}


def needed(stages: list[Stage], target: str) -> list[Stage]:
    """The target and the stages that it copies from or begins with, in their order. Raises ValueError."""
    named = {stage.name: stage for stage in stages}
    if target not in named:
        raise ValueError(f"no stage is called {target}; there are {', '.join(named)}")
    found, waiting = set(), [target]
    while waiting:
        stage = named[waiting.pop()]
        found.add(stage.name)
        sources = [source for _, rest in stage.steps for source in re.findall(r"--from=(\S+)", rest)]
        waiting += [each for each in (stage.base, *sources) if each in named]
    return [stage for stage in stages if stage.name in found]


class Built:
    """A stage under way: its file system, and the settings that its instructions have made so far."""

    def __init__(self, stage: Stage, folder: Path, passed: dict[str, str], earlier: "dict[str, Built]"):
        self.stage, self.earlier = stage, earlier
        self.upper, self.root = folder / "upper", folder / "root"
        self.variables, self.directory, self.user = {"PATH": PATH, **passed}, "/", "root"
        self.command: dict[str, list[str]] = {}
        work = folder / "work"
        for each in (self.upper, self.root, work):
            each.mkdir(parents=True)
        below = earlier.get(stage.base)
        lower = f"{below.upper}:/" if below else "/"
        call(
            "mount",
            "-t",
            "overlay",
            "overlay",
            "-o",
            f"lowerdir={lower},upperdir={self.upper},workdir={work}",
            self.root,
        )
        for name in ("dev", "proc", "sys"):
            call("mount", "--rbind", f"/{name}", self.root / name)
        call("mount", "-t", "tmpfs", "tmpfs", self.root / "tmp")

    def build(self) -> None:
        """All steps. Raises CalledProcessError where one fails."""
        for name, rest in self.stage.steps:
            print(f"{self.stage.name}: {name} {rest}", flush=True)
            if name in FOR_IMAGES:
                print(f"  passed over: {name} concerns images", flush=True)
            else:
                getattr(self, f"_{name.lower()}")(rest)

    def run(self, *command: str, **options) -> subprocess.Popen:
        """Start a command in the stage, as its user and with its variables."""
        inside = ["chroot", f"--userspec={self.user}", str(self.root), "env", "-i"]
        variables = [f"{name}={value}" for name, value in self.variables.items()]
        inside += [*variables, "sh", "-c", 'cd "$0" && exec "$@"', self.directory, *command]
        return subprocess.Popen(inside, **options)

    def _run(self, rest: str) -> None:
        with self.run("sh", "-c", rest, stdin=subprocess.DEVNULL) as process:
            status = process.wait()
        if status:
            raise subprocess.CalledProcessError(status, f"RUN {rest}")

    def _copy(self, rest: str) -> None:
        *flags, target = [self._expanded(each) for each in rest.split()]
        sources = [each for each in flags if not each.startswith("--")]
        origin = next(
            (self.earlier[each.removeprefix("--from=")].root for each in flags if each.startswith("--")), ROOT
        )
        place = self.root / os.path.join(self.directory, target).lstrip("/")
        for source in sources:
            found = origin / source.lstrip("/")
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__") if origin == ROOT else None  # as in .dockerignore
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy(found, place)

    def _arg(self, rest: str) -> None:
        self.variables |= assignments(rest)

    def _env(self, rest: str) -> None:
        self.variables |= {name: self._expanded(value) for name, value in assignments(rest).items()}

    def _workdir(self, rest: str) -> None:
        self.directory = rest
        (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _user(self, rest: str) -> None:
        self.user = rest

    def _entrypoint(self, rest: str) -> None:
        self.command["entrypoint"] = json.loads(rest)

    def _cmd(self, rest: str) -> None:
        self.command["cmd"] = json.loads(rest)

    def _expanded(self, text: str) -> str:
        return string.Template(text).substitute(self.variables)


def call(*command: object) -> None:
    """A program that must succeed."""
    subprocess.run([str(each) for each in command], check=True)


def try_server(built: Built) -> None:
    """Start what the image starts, ask it something, and stop it. Raises RuntimeError."""
    command = [*built.command["entrypoint"], *built.command["cmd"], "--port", "0"]
    with built.run(*command, stderr=subprocess.PIPE, text=True) as server:
        try:
            signal.alarm(SLOW)
            said = []
            for line in server.stderr:
                said.append(line)
                if match := re.search(r":(\d+)/v1", line):
                    break
            else:
                raise RuntimeError("the server ended:\n" + "".join(said))
            print("".join(said), end="")
            body = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}
            url = f"http://127.0.0.1:{match[1]}/v1/chat/completions"
            with urllib.request.urlopen(url, json.dumps(body).encode()) as reply:
                print("answer:", json.load(reply)["choices"][0]["message"]["content"])
        finally:
            signal.alarm(0)
            server.terminate()
            server.communicate()
    if server.returncode:
        raise RuntimeError(f"the server ended with status {server.returncode}")


def build(stages: list[Stage], folder: Path, passed: dict[str, str]) -> None:
    """All stages in a folder, and a try of the last. To be called where mounts are this process's own."""
    built: dict[str, Built] = {}
    for stage in stages:
        if stage.base not in built:
            print(f"{stage.name}: this system stands in for {stage.base}", flush=True)
        built[stage.name] = Built(stage, folder / stage.name, passed, dict(built))
        built[stage.name].build()
    try_server(built[stages[-1].name])


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target")
    parser.add_argument(
        "--pass", action="append", default=[], dest="passed", help="a variable that the stages get, too"
    )
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    stages = needed(read(FILE.read_text()), options.target)
    if options.inside:
        build(stages, options.inside, {name: os.environ[name] for name in options.passed if name in os.environ})
        return 0
    if os.geteuid() or not shutil.which("unshare"):
        print("This needs Linux and root: it mounts an overlay over this machine's root.", file=sys.stderr)
        return 2
    # The mounts are those of a process of its own, and gone with it. So what is deleted here is only what was written.
    with tempfile.TemporaryDirectory(prefix="nitro-stages-") as folder:
        command = ["unshare", "--mount", sys.executable, *sys.argv, "--inside", folder]
        return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main())
