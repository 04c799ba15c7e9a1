"""PEFT beside the environment "transformers", in a folder of its own under the cache folder."""

import os
import shutil
import subprocess
from pathlib import Path

from nitro.convert import environments
from nitro.system import folders

PINS = ("peft==0.21.2", "accelerate==1.15.0", "psutil==7.2.2")  # without what they depend on, which is there


def run(script: Path, *arguments: object) -> None:
    """Run a script of Python that imports PEFT."""
    python = environments.python("transformers", print)
    home = folders.cache() / "environments" / "-".join(PINS).replace("==", "-")
    if not home.is_dir():
        partial = home.with_name(f"{home.name}.{os.getpid()}")
        command = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", partial, *PINS]
        subprocess.run(command, check=True, capture_output=True)
        try:
            partial.rename(home)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    environment = {**os.environ, "PYTHONPATH": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([python, "-P", script, *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
