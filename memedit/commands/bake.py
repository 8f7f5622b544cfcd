"""Move edits from the memory into a model's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from memedit import terminal
from memedit.cli import ID, Session, show_looks, strictly, told, verb
from memedit.errors import InputError

if TYPE_CHECKING:
    from memedit.baking import Report


@verb(
    "memedit bake --all --method memit --model pocket\n"
    "memedit bake e-0123456789 --method alphaedit --model hf:./my-model",
    name="bake",
    json=True,
)
@click.argument("ids", type=ID, nargs=-1, metavar="[ID...]")
@click.option("--all", "everything", is_flag=True, help="All current edits of the namespace.")
@click.option("--method", default="memit", metavar="NAME", help="`memedit methods` lists them [memit].")
@click.option("--model", metavar="SPEC", help="pocket or hf:NAME_OR_PATH [env: MEMEDIT_MODEL].")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the method; repeatable.")
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Edits in one change, which goes in and out as a whole [all].",
)
@strictly
@click.option("--author", metavar="NAME", help="Who [env: MEMEDIT_AUTHOR].")
@click.option("--reason", metavar="TEXT", help="Why.")
def command(
    session: Session,
    ids: tuple[str, ...],
    everything: bool,
    settings: tuple[str, ...],
    model: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Move edits from the memory into a model's weights.

    That model is asked them then, before and after. What took it answers by itself; what did not stays in the memory,
    and every other model is told them as before. Edits stay in the journal: undo, remove, purge and --as-of work on
    them as on any other.
    """
    from memedit import baking
    from memedit.methods._settings import given as given_settings
    from memedit.weights.watched import watched

    if bool(ids) == everything:
        raise InputError("say which edits: some ids, or --all")
    watching = watched(session.progress, session.notice)
    telling = told(session, as_json, refused("baked"))
    with session.open() as memory, watching, telling, session.progress("fitting") as report:
        done = baking.bake(
            memory,
            None if everything else ids,
            model=session.settings(model=model).model,
            settings=given_settings(settings),
            namespace=session.scope_of,
            progress=report,
            **given,
        )
        lines = baking.advice(memory.bakes(namespace=session.scope_of))
    show(session, done, lines, as_json, "baked")


_NAMES = ("bakes", "untaken", "skipped", "back", "stale", "looks")


def refused(what: str) -> dict[str, Any]:
    """What `show` prints as JSON where nothing was written; the looks aside."""
    return {what: (), **{name: {} if name == "skipped" else () for name in _NAMES}}


def show(session: Session, done: Report, advice: list[str], as_json: bool, what: str) -> None:
    """Print what `bake`, `unbake` or `refit` did."""
    missed = set(done.untaken)
    if as_json:
        terminal.emit({what: done.edits, **{name: getattr(done, name) for name in _NAMES}})
    else:
        for id_ in done.edits:
            terminal.line(id_, f"{what}, did not take" if id_ in missed else what)
    show_looks(session, done.looks)
    for one in done.bakes:
        edits = f"{len(one.edits):,} edit{'' if len(one.edits) == 1 else 's'}"
        session.notice(f"{one.id}: {edits} in the weights of {one.model} by {one.method} ({one.size:,} bytes)")
    reasons = list(done.skipped.items())
    for id_, reason in reasons[:20]:
        session.notice(f"left where it is: {id_}: {reason}")
    if len(reasons) > 20:
        session.notice(f"and {len(reasons) - 20:,} more; --json names all")
    if not done.edits:
        session.notice("nothing was to be done")
    for line in advice:
        session.notice(line)
