"""`nitro verify`."""

import sys
from pathlib import Path

import click

from nitro.cli.options import errors_as_one_line


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--reference", help="Compare both A and B with this model.", type=click.Path(path_type=Path))
@click.option("--base", help="The model of A and B, where they are LoRAs.", type=click.Path(path_type=Path))
@click.option(
    "--positions", help="Positions to compare logits at.", type=click.IntRange(64), default=1000, show_default=True
)
def verify(a: Path, b: Path, reference: Path | None, base: Path | None, positions: int) -> None:
    """Check that A and B are the same model: token ids, chat template, logits.

    Each is a Hugging Face folder, an MLX folder or a GGUF file; or, with --base MODEL, a LoRA of any kind. The exit
    status is 1 if they differ.
    """
    from nitro.convert import command

    with errors_as_one_line():
        sys.exit(0 if command.compare(a, b, reference, positions, base) else 1)
