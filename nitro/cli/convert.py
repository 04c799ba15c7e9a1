"""`nitro convert`."""

from pathlib import Path
from typing import Any

import click

from nitro.cli.options import errors_as_one_line

RECIPES = ("mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")  # mlx-lm's
DTYPES = ("float32", "float16", "bfloat16")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--to", help="What to make.", type=click.Choice(("mlx", "gguf", "hf")), required=True)
@click.option(
    "-o", "--output", "target", help="Where to write it. Default: beside SOURCE.", type=click.Path(path_type=Path)
)
@click.option(
    "--type",
    help="GGUF: F32, F16, BF16, Q8_0, Q4_K_M, … Default: the type of SOURCE. MLX: K-quants and IQ types, in blocks.",
)
@click.option("--imatrix", help="GGUF: file with an importance matrix.", type=click.Path(path_type=Path))
@click.option("--bits", help="MLX: quantise to this many bits.", type=click.Choice((2, 3, 4, 5, 6, 8)))
@click.option("--group-size", help="MLX: weights that share a scale. Default: 64.", type=click.Choice((32, 64, 128)))
@click.option("--recipe", help="MLX: mix of bits, as in mixed_4_6.", type=click.Choice(RECIPES))
@click.option("--dtype", help="MLX: type of the weights that are not quantised.", type=click.Choice(DTYPES))
@click.option("--base", help="A LoRA's model: its folder or GGUF file.", type=click.Path(path_type=Path))
@click.option(
    "--positions", help="Positions to compare the result at.", type=click.IntRange(64), default=1000, show_default=True
)
@click.option("--force", help="Replace an existing output.", is_flag=True)
def convert(source: Path, to: str, target: Path | None, **options: Any) -> None:
    """Convert SOURCE to another format, and prove that the result is the same model.

    SOURCE is a model's folder (Hugging Face or MLX) or a GGUF file; or a LoRA: PEFT's folder, mlx-lm's, or llama.cpp's
    GGUF file, with --base MODEL.
    """
    from nitro.convert import command

    with errors_as_one_line():
        command.convert(source, to, target, **options)
