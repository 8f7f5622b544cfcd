"""Methods of editing side by side: `memedit eval` with what a first comparison wants, into a folder of its own.

The rows are those of `eval`. Every case by itself, base and memory unless said otherwise, no side effects: for all
else, and to keep the lines of each case, use `memedit eval`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from memedit.cli import Session
from memedit.commands.eval import show


@click.command(
    epilog="\b\nExample:\n  memedit bench methods --method base,memory,rome --model pocket --data DIR --json"
)
@click.option("--method", "methods", default="base,memory", metavar="A,B", help="Methods [base,memory].")
@click.option("--model", metavar="SPEC", help="Base model [env: MEMEDIT_MODEL].")
@click.option("--dataset", default="counterfact", metavar="NAME", help="Dataset [counterfact].")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@click.option("--cases", type=click.IntRange(min=1), default=100, metavar="N", help="How many cases [100].")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="S", help="Which cases are drawn [0].")
@click.option("--jobs", type=click.IntRange(min=1), default=1, metavar="K", help="Processes [1].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.make_pass_decorator(Session, ensure=True)
def command(
    session: Session, methods: str, model: str | None, dataset: str, data: Path | None, cases: int, seed: int,
    jobs: int, as_json: bool,
) -> None:  # fmt: skip
    """Compare methods of editing, one edit at a time, by free generation and teacher-forced."""
    chosen = list(dict.fromkeys(name.strip() for name in methods.split(",") if name.strip()))
    with tempfile.TemporaryDirectory(prefix="memedit-bench-") as folder:
        show(
            session, chosen, Path(folder), jobs, as_json, model=model, dataset=dataset, data=data, cases=cases,
            seed=seed, protocol="single", edits=None, side_effects=0, judge=None,
        )  # fmt: skip
