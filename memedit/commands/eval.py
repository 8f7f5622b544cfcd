"""Measure methods of editing on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from memedit import terminal
from memedit.cli import Session, verb
from memedit.errors import InputError

PROTOCOL = click.option(
    "--protocol",
    type=click.Choice(["single", "batch", "sequential", "loaded"]),
    default="single",
    help="How edits are put in and when they are asked about [single].",
)
EDITS = click.option(
    "--edits", type=click.IntRange(min=1), metavar="N", help="Edits in force together [as many as cases]."
)
SET = click.option(
    "--set", "settings", multiple=True, metavar="METHOD.NAME=VALUE",
    help="A setting of a method that changes weights; repeatable.",
)  # fmt: skip


@verb(
    "memedit eval --method base,memory --data DIR --cases 100 --out RUN\n"
    "memedit eval --dataset zsre --protocol loaded --edits 1000 --out RUN --json",
    name="eval",
    json=True,
)
@click.option("--method", "methods", default="base,memory", metavar="A,B", help="Methods [base,memory]; ? lists them.")
@click.option("--dataset", default="counterfact", metavar="NAME", help="Dataset, NAME:PART or a file [counterfact].")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@click.option("--model", metavar="SPEC", help="Base model [env: MEMEDIT_MODEL].")
@SET
@PROTOCOL
@click.option("--cases", type=click.IntRange(min=1), default=100, metavar="N", help="How many cases [100].")
@EDITS
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="S", help="Which cases are drawn [0].")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="RUN", help="Folder of the run.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, metavar="K", help="Processes [1].")
@click.option(
    "--side-effects", type=click.IntRange(min=0), default=100, metavar="N",
    help="Items of PIQA, text and other facts to ask with all edits in force [100].",
)  # fmt: skip
@click.option("--judge", metavar="SPEC", help="A chat model that judges replies, in figures of their own.")
@click.option("--untrained", is_flag=True, help="Ask nothing of subjects that trained the shipped gate.")
@click.option("--oracle", is_flag=True, help="Hand the memory the right edit; labelled memory+oracle.")
@click.option("--scope", metavar="NAME", help="The memory's scope [env: MEMEDIT_SCOPE].")
@click.option("--encoder", metavar="NAME", help="The memory's encoder [env: MEMEDIT_ENCODER].")
@click.option("--store", metavar="NAME", help="The memory's store [env: MEMEDIT_STORE].")
@click.option("--false-fire", type=float, metavar="SHARE", help="The scope's rate [env: MEMEDIT_FALSE_FIRE].")
def command(
    session: Session, as_json: bool, methods: str, settings: tuple[str, ...], out: Path | None, jobs: int, **given: Any
) -> None:
    """Measure methods of editing on a dataset.

    By free generation and teacher-forced, side by side.
    """
    from memedit.evaluation.systems import names

    chosen = listed(methods)
    if not chosen or chosen == ["?"]:
        terminal.table(("method",), [(name,) for name in [*names(), "memory:ANSWERER"]])
        return
    if out is None:
        raise InputError("name the folder of the run with --out RUN; it is made, or gone on with")
    show(session, chosen, settings, out, jobs, as_json, **given)


def listed(names: str) -> list[str]:
    """Names with commas between, each once."""
    return list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def show(
    session: Session, methods: list[str], set_: tuple[str, ...], out: Path, jobs: int, as_json: bool, **given: Any
) -> None:
    """Run the evaluation and print its rows: what `eval` and `bench methods` share."""
    from memedit.evaluation.run import Plan, evaluate
    from memedit.evaluation.systems import Options, configured

    methods = configured(methods, set_)
    settings = session.settings(data=given.pop("data"), model=given.pop("model"))
    memory = {name: given.pop(name) for name in ("oracle", "scope", "encoder", "store", "false_fire") if name in given}
    plan = Plan(data=settings.data, model=settings.model, options=Options(**memory), **given)
    result = evaluate(methods, plan, out, jobs=jobs, progress=session.progress, notice=session.notice)
    for method, failed in result.failed.items():
        if failed:
            session.notice(
                f"{method} could not write {len(failed)} edits, counted as they stand; the first: {failed[0]}"
            )
    if as_json:
        terminal.emit({"rows": result.rows, "known": result.known, "left_out": result.left_out})
        return
    columns = ("method", "over", "scoring", "metric", "value", "low", "high", "n")
    lines = [[_shown(row[column]) for column in columns] for row in result.rows]
    terminal.table(columns, lines, wide=3)
    for method, reasons in result.left_out.items():
        if reasons:
            session.notice(f"{method}: {len(reasons)} metrics left out; rows.json and --json say why")


def _shown(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value
