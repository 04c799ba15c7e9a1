"""`python -m nitro`: the same as the `nitro` command."""

from nitro.cli import main

main()
