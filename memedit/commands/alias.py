"""Give the subject of facts more names, by which they are found too."""

from __future__ import annotations

from pathlib import Path

import click

from memedit import terminal
from memedit.cli import Session, verb
from memedit.errors import InputError


@verb("memedit alias Acme 'Acme Corp' 'the rope maker'\nmemedit alias --file aliases.csv", name="alias", json=True)
@click.argument("subject", required=False)
@click.argument("names", nargs=-1)
@click.option("--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="Subjects and aliases.")
@click.option("--author", metavar="NAME", help="Who [env: MEMEDIT_AUTHOR].")
def command(
    session: Session, subject: str | None, names: tuple[str, ...], file: Path | None, author: str | None, as_json: bool
) -> None:
    """Give the subject of facts more names.

    Every current fact about it is replaced by itself with these names; the history keeps the old one.
    """
    from memedit.aliases import add_aliases, read_aliases

    if (file is None) == (subject is None) or (file is None and not names):
        raise InputError("say SUBJECT and its other names, or --file FILE")
    given = {subject or "": names} if file is None else read_aliases(file)
    with session.open() as memory:
        before = {edit: one for one in memory.bakes(namespace=session.scope_of) for edit in one.left if one.in_force}
        done = add_aliases(memory, given, namespace=session.scope_of, author=author)
    if as_json:
        terminal.emit({"edits": done.edits, "unknown": done.unknown})
    for old, new in done.edits.items():
        if not as_json:
            terminal.line(new, f"takes the place of {old}")
    for old in sorted(before.keys() & done.edits.keys()):
        model = before[old].model
        session.notice(
            f"{old} was in the weights of {model}; {done.edits[old]} is answered from the memory until `memedit bake`"
        )
    for name in done.unknown[:20]:
        session.notice(f"nothing is remembered about {name}")
    if not done.edits and not done.unknown:
        session.notice("they were there already; nothing was written")
