"""Prompts: words that models are given, one text file each, with `$fields`.

A prompt is filled once, with `prompt(name).substitute(field=value)`: braces and dollars in a value survive, because
what was filled in is never read as a template again.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template

from memedit.errors import NotFoundError


def names() -> list[str]:
    """All prompts, sorted."""
    return sorted(item.name[:-4] for item in files(__name__).iterdir() if item.name.endswith(".txt"))


@cache
def prompt(name: str) -> Template:
    """The prompt of that name; the newline that ends its file is no part of it.

    Raises NotFoundError, naming what there is, for an unknown name.
    """
    if name not in names():
        raise NotFoundError(f"no prompt is named {name!r}; there are: {', '.join(names())}")
    return Template(files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n"))
