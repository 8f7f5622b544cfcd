"""Write the model with its baked edits as a folder."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from memedit import terminal
from memedit.cli import AS_OF, Session, verb


@verb("memedit export-model ./edited --model hf:./my-model", name="export-model", json=True)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--model", metavar="SPEC", help="pocket or hf:NAME_OR_PATH [env: MEMEDIT_MODEL].")
@click.option("--as-of", type=AS_OF, metavar="WHEN", help="The weights as they were then.")
@click.option("-y", "--yes", is_flag=True, help="Write over a folder that holds something.")
def command(
    session: Session, folder: Path, model: str | None, as_of: datetime | int | None, yes: bool, as_json: bool
) -> None:
    """Write the model with its baked edits as a folder.

    transformers loads it as any other (`memedit ask --model hf:DIR`). No undo and no purge reaches what is in it.
    """
    from memedit import baking

    if folder.is_dir() and any(folder.iterdir()):
        terminal.confirm(f"{folder} holds something already. Write over it?", yes=yes)
        yes = True
    with session.open(reading=True) as memory:
        made = baking.export_model(
            memory,
            folder,
            model=session.settings(model=model).model,
            namespace=session.scope_of,
            as_of=as_of,
            overwrite=yes,
        )
    edits = [id_ for one in made.bakes for id_ in one.edits]
    untaken = [id_ for one in made.bakes for id_ in one.untaken]
    types = {"dtype": made.dtype, "checkpoint_dtype": made.checkpoint_dtype}
    if as_json:
        terminal.emit({"folder": folder, **types, "edits": edits, "untaken": untaken, "bakes": made.bakes})
    else:
        terminal.line(folder, f"{len(edits):,} edit{'' if len(edits) == 1 else 's'} in the weights, in {made.dtype}")
    if made.checkpoint_dtype is None:
        session.notice(
            f"the checkpoint does not say its own type: the weights are in {made.dtype}, as they were loaded"
        )
    if untaken:
        session.notice(f"did not take, so that this model does not say it: {', '.join(untaken)}")
