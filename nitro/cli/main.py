"""The `nitro` command. Its help and version import nothing that serves, converts or measures."""

import click

from nitro import __version__
from nitro.cli.batch import batch
from nitro.cli.bench import bench
from nitro.cli.chat import chat
from nitro.cli.completion import completion
from nitro.cli.config import config
from nitro.cli.convert import convert
from nitro.cli.doctor import doctor
from nitro.cli.first_nitro import FirstNitroGroup
from nitro.cli.key import key
from nitro.cli.list import list_models
from nitro.cli.ps import ps
from nitro.cli.pull import pull
from nitro.cli.redact import redact
from nitro.cli.replay import replay
from nitro.cli.rm import rm
from nitro.cli.rpc_worker import rpc_worker
from nitro.cli.run import run
from nitro.cli.serve import serve
from nitro.cli.show import show
from nitro.cli.simulate import simulate
from nitro.cli.verify import verify
from nitro.system import file_descriptors


@click.group(cls=FirstNitroGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nitro")
def main() -> None:
    """Nitro: a local LLM server with the OpenAI API."""
    file_descriptors.fill_standard()


COMMANDS = (
    *(serve, chat, run, pull, list_models, show, ps, rm, key, config, doctor),
    *(rpc_worker, batch, bench, simulate, replay, redact, convert, verify, completion),
)
for command in COMMANDS:
    main.add_command(command)
