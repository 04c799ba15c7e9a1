"""`python -m nitro`: the same as the `nitro` command."""

from nitro.cli.main import main

main()
