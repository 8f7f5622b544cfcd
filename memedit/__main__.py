"""`python -m memedit` is the `memedit` command."""

from memedit.cli import main

main()
