"""The example server in llama-cpp-python's source distribution, in an environment of its own.

It uses the bindings of the interpreter that runs this, so that its kernels are ours; its other packages are pinned and
come from a registry. Run: `python -m bench.example_server`; it prints the command without its options.
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
    """The command without its options; the environment is made unless it exists. Raises CalledProcessError."""
    python = FOLDER / "bin" / "python"
    installed = FOLDER / "installed.json"
    if not installed.is_file() or json.loads(installed.read_text()) != PINNED:
        venv.create(FOLDER, with_pip=True, clear=True)
        packages = [f"{name}=={version}" for name, version in PINNED.items()]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, stdout=sys.stderr)
        (site,) = FOLDER.glob("lib/python*/site-packages")
        (site / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")  # searched last
        installed.write_text(json.dumps(PINNED))
    script = build_llama_server.package().joinpath("examples", "server", "server.py")
    return [str(python), str(script), "-C"]


def command(model: dict[str, object]) -> processes.Command:
    """The command for a port; the options of `model` go into a file."""
    start = build()

    def at(port: int) -> list[str]:
        file = FOLDER / "configuration.json"
        file.write_text(json.dumps({"server": {"host": processes.HOST, "port": port}, "model": model}))
        return [*start, str(file)]

    return at


if __name__ == "__main__":
    print(*build())
