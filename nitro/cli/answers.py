"""What a command line may go on with, as the scripts of `nitro completion` ask at each Tab.

Click knows, from the commands themselves. The answer has a line for each part, whose fields are separated by tabs:

    word INCOMPLETE         what is being completed, without its quotes, and of --option=VALUE the value only
    plain VALUE HELP        what it may become
    file                    any file or folder
    dir                     any folder
"""

import re
from collections.abc import Iterator

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

_MARK = "\ue000"  # stands where the cursor is, while a line is split
_ASSIGNMENT = re.compile(r"\w+=")


def answered(command: click.Command, line: str) -> Iterator[str]:
    """The lines of the answer, where the command's name is the first word of the line."""
    args, incomplete = words(line)
    name, equals, value = incomplete.partition("=")
    yield f"word\t{value if equals and name.startswith('--') else incomplete}"
    for item in ShellComplete(command, {}, "nitro", "_NITRO_COMPLETE").get_completions(args, incomplete):
        yield _line(item)


def words(line: str) -> tuple[list[str], str]:
    """The words after the command's name, and the one in which the line ends, which may be empty. What a shell sets for
    one command (NAME=VALUE) may stand before its name."""
    split = split_arg_string(line + _MARK)
    while len(split) > 1 and _ASSIGNMENT.match(split[0]):
        split.pop(0)
    return split[1:-1], split[-1].replace(_MARK, "")


def _line(item: CompletionItem[str]) -> str:
    if item.type != "plain":
        return item.type
    help = " ".join((item.help or "").split())
    return f"plain\t{item.value}\t{help}".rstrip("\t")
