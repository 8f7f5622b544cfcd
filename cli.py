"""The command line from a checkout: `python cli.py …` is the `memedit` command."""

from memedit.cli import main

main()
