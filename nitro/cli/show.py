"""`nitro show`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nitro.cli import offers, stored

if TYPE_CHECKING:
    from nitro.models.description import Details


@click.command()
@click.argument("name", shell_complete=offers.names_or_files)
@stored.with_folders
@stored.AS_JSON
def show(name: str, models: tuple[Path, ...], as_json: bool) -> None:
    """Show what is known of the model NAME: its files, its memory, its chat template.

    NAME may be a GGUF file or a model's folder, too, which wins over a stored model.
    """
    with stored.errors_as_one_line():
        from nitro.models import description
        from nitro.models.stores import scan

        file = Path(name).expanduser()
        found = scan.at(file) if _is_model(file) else stored.catalog(models).find(name)

        about = description.details(found)
        if as_json:
            import msgspec

            click.echo(msgspec.json.format(msgspec.json.encode(about)).decode())
        else:
            _print(about)


def _is_model(file: Path) -> bool:
    try:
        return file.is_file() or (file / "config.json").is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _print(about: "Details") -> None:
    from nitro.cli import tables

    click.secho(about.name, bold=True)
    trained = f" of {about.trained_context} that it was trained for" if about.context < about.trained_context else ""
    memory = f"{tables.size(about.memory_at_start)} when loaded, at most {tables.size(about.memory_at_most)}"
    fits = not about.problem and about.context
    tables.facts(
        {
            "problem": about.problem or "",
            "also called": ", ".join(about.names),
            "title": about.title,
            "architecture": about.architecture,
            "type": f"{about.type} ({about.format})".strip(),
            "parameters": tables.count(about.parameters) if about.parameters else "",
            "size": tables.size(about.size),
            "engines": ", ".join(about.engines) or "none that is installed here opens it",
            "context": f"{about.context} tokens{trained}" if fits else "none fits into the memory that is free now",
            "memory": memory if fits else "",
            "KV cache": f"{about.kv_bytes_per_token} bytes a token" if fits else "",
            "layers": f"{about.layers} × {about.width}" if about.layers else "",
            "vocabulary": str(about.vocabulary or ""),
            "template": "" if about.embeds or about.ranks else _template(about),
            "makes": "embeddings, and no text" if about.embeds else "scores, and no text" if about.ranks else "",
            "projector": about.projector or "",
            "proof": _proof(about),
            "store": about.store,
            "path": about.path,
            "removable": "yes, `nitro rm` removes it" if about.removable else "",
        }
    )


def _template(about: "Details") -> str:
    if not about.chat_template:
        return "none; --chat-template gives it one"
    calls = f"tool calls as {about.tool_format}" if about.tool_format else "no tools of its own"
    return f"{calls}{', reasons' if about.reasons else ''}"


def _proof(about: "Details") -> str:
    """What `nitro convert` or `nitro verify` found."""
    if about.proof is None:
        return ""
    return "passed" if about.proof.get("passed") else "failed"
