"""The server among the examples of llama-cpp-python's source distribution, in an environment of its own.

It takes the bindings of the interpreter that runs this, so that its kernels are ours, and the rest from a registry,
pinned. Run: `python -m bench.example_server`; it prints the command but for its options.
"""

import json
import subprocess
import sys
import sysconfig
import venv

from bench import build_llama_server, processes

FOLDER = build_llama_server.ROOT / "build" / "example-server"

PINNED = {
    "fastapi": "0.165.0",
    "numpy": "2.4.6",
    "openai": "3.54.0",
    "pydantic": "2.14.3",
    "safetensors": "0.8.0",
    "starlette": "1.10.0",
    "websockets": "17.4",
}


def build() -> list[str]:
    """The command but for its options. Raises CalledProcessError."""
    python, done = FOLDER / "bin" / "python", FOLDER / "installed.json"
    if not done.is_file() or json.loads(done.read_text()) != PINNED:
        venv.create(FOLDER, with_pip=True, clear=True)
        packages = [f"{name}=={version}" for name, version in PINNED.items()]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, stdout=sys.stderr)
        (site,) = FOLDER.glob("lib/python*/site-packages")
        (site / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")  # searched last
        done.write_text(json.dumps(PINNED))
    script = build_llama_server.package().joinpath("examples", "server", "server.py")
    return [str(python), str(script), "-C"]


def command(model: dict[str, object]) -> processes.Command:
    """It takes its options as a file."""
    start = build()

    def at(port: int) -> list[str]:
        file = FOLDER / "configuration.json"
        file.write_text(json.dumps({"server": {"host": processes.HOST, "port": port}, "model": model}))
        return [*start, str(file)]

    return at


if __name__ == "__main__":
    print(*build())
