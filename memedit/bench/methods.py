"""Methods of editing side by side: `memedit eval` with what a first comparison wants, into a folder of its own.

The rows are those of `eval`. The unedited model and every method that writes facts into weights unless said otherwise,
every case by itself, no side effects: for all else, and to keep the lines of each case, use `memedit eval`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from memedit.cli import Session
from memedit.commands.eval import EDITS, PROTOCOL, SET, listed, show


@click.command(
    epilog="\b\nExample:\n  memedit bench methods --method base,memory,rome --model pocket --data DIR --json"
)
@click.option("--method", "methods", metavar="A,B", help="Methods [base and all that write into weights].")
@SET
@click.option("--model", metavar="SPEC", help="Base model [env: MEMEDIT_MODEL].")
@click.option("--dataset", default="counterfact", metavar="NAME", help="Dataset [counterfact].")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@PROTOCOL
@click.option("--cases", type=click.IntRange(min=1), default=100, metavar="N", help="How many cases [100].")
@EDITS
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="S", help="Which cases are drawn [0].")
@click.option("--jobs", type=click.IntRange(min=1), default=1, metavar="K", help="Processes [1].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.make_pass_decorator(Session, ensure=True)
def command(
    session: Session, /, methods: str | None, settings: tuple[str, ...], jobs: int, as_json: bool, **given: Any
) -> None:
    """Compare methods of editing, by free generation and teacher-forced."""
    from memedit.methods import writers

    chosen = listed(methods or "") or ["base", *writers()]
    with tempfile.TemporaryDirectory(prefix="memedit-bench-") as folder:
        show(session, chosen, settings, Path(folder), jobs, as_json, side_effects=0, judge=None, **given)
