"""Read or write EasyEdit's results."""

from __future__ import annotations

import json
from pathlib import Path

import click

from memedit import terminal
from memedit.cli import Session, verb
from memedit.errors import InputError

PATH = click.Path(path_type=Path)


@verb(
    "memedit easyedit results.json theirs --method rome --model gpt2-xl\n"
    "memedit easyedit mine/memory/zsre-single-1 mine.json",
    name="easyedit",
)
@click.argument("source", type=PATH)
@click.argument("out", type=PATH)
@click.option("--method", metavar="NAME", help="Reading a file: what made it.")
@click.option("--model", metavar="NAME", help="Reading a file: the model that was edited.")
@click.option("--dataset", metavar="NAME", help="Reading a file: what it was asked.")
@click.option("--protocol", default="single", metavar="NAME", help="Reading a file: how edits were put in [single].")
@click.option("--base", type=PATH, metavar="RUN", help="Writing one: the unedited model's run, for `pre`.")
def command(
    session: Session,
    source: Path,
    out: Path,
    method: str | None,
    model: str | None,
    dataset: str | None,
    protocol: str,
    base: Path | None,
) -> None:
    """Read or write EasyEdit's results.

    SOURCE is a result file, which becomes run folders in OUT for `memedit report`, or one method's run folder, which
    becomes a result file OUT. Their figures are teacher-forced and stay in that column.
    """
    from memedit.evaluation import easyedit

    if source.is_dir():
        records = easyedit.export_results(source, base)
        if not records:
            raise InputError(f"{source} has no cases; name one method's folder in a run, which holds cases.jsonl")
        try:
            out.write_text(json.dumps(records, indent=4, ensure_ascii=False), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{out} cannot be written: {error.strerror}") from error
        session.notice(f"wrote {len(records)} cases to {out}")
        return
    if method is None or model is None or dataset is None:
        raise InputError("such a file names none of them: say --method, --model and --dataset")
    records_read = easyedit.read(source)
    folders = easyedit.import_results(records_read, out, method=method, model=model, dataset=dataset, protocol=protocol)
    for folder in folders:
        terminal.line(folder)
