"""`nitro completion`: scripts by which a shell completes commands, options, their values, files and models' names."""

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--answer", metavar="LINE", hidden=True, help="A command line up to the cursor.")
@click.pass_context
def completion(context: click.Context, shell: str, answer: str | None) -> None:
    """Print a script that lets SHELL complete what is typed after nitro.

    \b
    bash:  eval "$(nitro completion bash)"     in ~/.bashrc
    zsh:   eval "$(nitro completion zsh)"      in ~/.zshrc, after compinit
    fish:  nitro completion fish | source      in ~/.config/fish/config.fish
    """
    if answer is None:
        from nitro.cli.shell_scripts import SCRIPTS

        return click.echo(SCRIPTS[shell], nl=False)
    from nitro.cli import answers

    for line in answers.answered(context.find_root().command, answer):
        click.echo(line)
