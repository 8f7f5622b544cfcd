"""Lay finished runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from memedit import terminal
from memedit.cli import Session, verb
from memedit.errors import InputError

if TYPE_CHECKING:
    from memedit.evaluation._runs import Row

PATH = click.Path(path_type=Path)


@verb("memedit report runs/first runs/second --html report.html", name="report", json=True)
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option("--html", "html_", type=PATH, metavar="FILE", help="Write one page that needs nothing outside itself.")
@click.option("--csv", "csv_", type=PATH, metavar="FILE", help="Write every row.")
@click.option("--markdown", type=PATH, metavar="FILE", help="Write the tables.")
@click.option("--png", type=PATH, metavar="FOLDER", help="Write the figures (needs memedit[bench]).")
@click.option("--scope", type=PATH, metavar="FILE", help="Rows of `memedit bench scope --json`: recall, false fires.")
@click.option("--against", metavar="METHOD", help="What methods are compared with [memory; one alone: base].")
@click.option("--worst", type=click.IntRange(min=0), default=10, metavar="N", help="Cases to read per method [10].")
@click.option("--seed", type=int, default=0, metavar="N", help="Seed of the paired bootstrap [0].")
@click.option("--title", default="What the edits do", metavar="TEXT", help="The page's title.")
def command(
    session: Session,
    runs: tuple[Path, ...],
    html_: Path | None,
    csv_: Path | None,
    markdown: Path | None,
    png: Path | None,
    scope: Path | None,
    against: str | None,
    worst: int,
    seed: int,
    title: str,
    as_json: bool,
) -> None:
    """Lay finished runs side by side.

    RUN is a folder that `memedit eval --out` wrote, or one that holds such folders.
    """
    from memedit.evaluation import report as reports  # with it numpy

    found = reports.report(
        [run for folder in runs for run in reports.read(folder)],
        scope_rows=reports.read_scope_rows(scope) if scope else (),
        against=against,
        worst=worst,
        seed=seed,
    )
    for file, text in ((csv_, reports.to_csv), (markdown, reports.to_markdown)):
        if file is not None:
            _write(file, text(found))
            session.notice(f"wrote {file}")
    if html_ is not None:
        _write(html_, reports.to_html(found, title))
        session.notice(f"wrote {html_}")
    if png is not None:
        from memedit.evaluation._png import write_png  # matplotlib, an extra

        session.notice(f"wrote {len(write_png(found.figures, png))} pictures to {png}")
    if as_json:
        terminal.emit({"rows": reports.rows(found), "comparisons": reports.compared(found)})
    elif not (html_ or csv_ or markdown or png):
        _show(reports.rows(found))


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from error


def _show(rows: list[Row]) -> None:
    columns = ("method", "dataset", "protocol", "edits", "scoring", "metric", "over", "value", "low", "high")
    terminal.table(columns, ([row.get(column) for column in columns] for row in rows), wide=0)
