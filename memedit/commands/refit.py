"""Fit the changes in a model's weights again, in order."""

from __future__ import annotations

import click

from memedit.cli import Session, strictly, told, verb


@verb("memedit undo --id e-0123456789 --yes\nmemedit refit --model pocket", name="refit", json=True)
@click.option("--model", metavar="SPEC", help="pocket or hf:NAME_OR_PATH [env: MEMEDIT_MODEL].")
@click.option("--all", "everything", is_flag=True, help="Also those that stand on what they were fitted on.")
@strictly
@click.option("--author", metavar="NAME", help="Who [env: MEMEDIT_AUTHOR].")
@click.option("--reason", metavar="TEXT", help="Why.")
def command(
    session: Session,
    model: str | None,
    everything: bool,
    strict: bool,
    author: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Fit the changes in a model's weights again, in order.

    Taking a change out is exact, but those fitted after it stay as they were: this fits them anew, with the methods
    and settings that they had, from the first that needs it. Edits that had lost their change with another's get one.
    The model is asked each edit, before and after; what did not take is answered from the memory.
    """
    from memedit import baking
    from memedit.commands.bake import refused, show
    from memedit.weights.watched import watched

    watching = watched(session.progress, session.notice)
    telling = told(session, as_json, refused("refitted"))
    with session.open() as memory, watching, telling, session.progress("fitting again") as report:
        done = baking.refit(
            memory,
            model=session.settings(model=model).model,
            namespace=session.scope_of,
            everything=everything,
            strict=strict,
            author=author,
            reason=reason,
            progress=report,
        )
        lines = baking.advice(memory.bakes(namespace=session.scope_of))
    show(session, done, lines, as_json, "refitted")
