"""Move edits from weights back into the memory."""

from __future__ import annotations

from typing import Any

import click

from memedit.cli import ID, Session, verb
from memedit.errors import InputError


@verb("memedit unbake e-0123456789\nmemedit unbake --all --model pocket", name="unbake", json=True)
@click.argument("ids", type=ID, nargs=-1, metavar="[ID...]")
@click.option("--all", "everything", is_flag=True, help="All edits of the namespace that are in weights.")
@click.option("--model", metavar="SPEC", help="Only out of this model's weights: its name or hash [all models].")
@click.option("--author", metavar="NAME", help="Who [env: MEMEDIT_AUTHOR].")
@click.option("--reason", metavar="TEXT", help="Why.")
def command(session: Session, ids: tuple[str, ...], everything: bool, as_json: bool, **given: Any) -> None:
    """Move edits from weights back into the memory.

    `undo` puts them into the weights again.

    A change that carries several edits goes as a whole: the others are answered from the memory too, until they are
    baked or refitted.
    """
    from memedit import baking
    from memedit.commands.bake import show

    if bool(ids) == everything:
        raise InputError("say which edits: some ids, or --all")
    with session.open() as memory:
        done = baking.unbake(memory, None if everything else ids, namespace=session.scope_of, **given)
        lines = baking.advice(memory.bakes(namespace=session.scope_of))
    show(session, done, lines, as_json, "unbaked")
