"""Verbs of the `memedit` command, one file each: the folder is read when a verb is asked for that `cli.py` lacks.

A file holds a click command called `command`, made with `memedit.cli.verb`; its name is the file's, with `-` for `_`.
Only click and `memedit.cli` are imported at its top: `memedit --help` reads the files' first lines and imports none.
"""

from memedit.registry import Registry

commands = Registry(__name__, "verb", attribute="command")
