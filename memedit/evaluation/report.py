"""What finished runs say, laid side by side: tables, paired comparisons, figures, the worst cases.

`read` takes run folders, `report` makes a `Report` of them, a value; `to_html`, `to_markdown` and `to_csv` write it
down, `memedit.evaluation._png` draws its figures. Nothing is measured here: rows come from `evaluation.rows`. Free
generation and teacher forcing answer different questions, so each has tables of its own and no column holds both.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby

from memedit.datasets._rows import cell_shown
from memedit.errors import InputError
from memedit.evaluation import _names as names
from memedit.evaluation._curves import figures
from memedit.evaluation._figures import Figure
from memedit.evaluation._names import SCORINGS
from memedit.evaluation._paired import Difference, differences, holm
from memedit.evaluation._runs import (
    Cell,
    Over,
    Row,
    Run,
    Setting,
    over,
    read,
    read_scope_rows,
    scored,
    scores,
    told_apart,
    widest,
)

__all__ = ["Report", "Run", "compared", "read", "read_scope_rows", "report", "rows", "to_csv", "to_html", "to_markdown"]


@dataclass(frozen=True, slots=True)
class Line:
    """A table's row: a method's scores over all cases or over those whose old answer the unedited model knew."""

    method: str
    edits: int
    over: Over
    cases: int
    cells: tuple[Cell | None, ...]
    unedited: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Scores by one scoring in one setting (whatever the number of edits); a column per metric."""

    model: str
    dataset: str
    protocol: str
    scoring: str
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        edits = {line.edits for line in self.lines}
        if len(edits) == 1:
            return str(Setting(self.model, self.dataset, self.protocol, *edits))
        return f"{self.dataset}, {self.protocol}, {self.model}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`method` minus `against` on the same cases; `adjusted` is p after Holm over a setting's scores of one scoring."""

    setting: Setting
    scoring: str
    metric: str
    method: str
    against: str
    difference: Difference
    adjusted: float


@dataclass(frozen=True, slots=True)
class Worst:
    """A case to read: its replies by free generation, the wrong ones first, and how many of them were right."""

    setting: Setting
    method: str
    case: str
    known: bool
    right: int
    replies: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown. `methods` are in the order of their slots (colour and mark in every figure)."""

    methods: tuple[str, ...]
    runs: tuple[Run, ...]
    tables: tuple[Table, ...]
    comparisons: tuple[Comparison, ...]
    figures: tuple[Figure, ...]
    worst: tuple[Worst, ...]

    def slot(self, method: str) -> int:
        """The number of a method's colour and mark."""
        return self.methods.index(method)


def report(
    runs: Sequence[Run], *, scope_rows: Sequence[Row] = (), against: str | None = None, worst: int = 10, seed: int = 0
) -> Report:
    """Lay runs side by side.

    `scope_rows` are the rows of `memedit bench scope --json`, for the curve of recall against false fires. `against`
    is the method that the others are compared with (else `memory`, else the first that is not the unedited model; where
    a setting has one method, this with the unedited model); `worst` is how many cases a method shows. `seed` is that of
    the bootstrap. Raises InputError where there is nothing to show or `against` is no method of the runs.
    """
    if not runs and not scope_rows:
        raise InputError("there is nothing to report: name at least one run")
    runs = told_apart(runs)
    unedited = {run.method for run in runs if run.unedited}
    methods = tuple(
        sorted({run.method for run in runs}, key=lambda name: (name not in unedited, name != "memory", name))
    )
    edited = [name for name in methods if name not in unedited]
    if against is not None and against not in methods:
        raise InputError(f"no run is of {against!r}; there are: {', '.join(methods)}")
    slots = {name: slot for slot, name in enumerate(methods)}
    tables = _tables(runs, methods)
    return Report(
        methods=methods,
        runs=tuple(runs),
        tables=tuple(tables),
        comparisons=tuple(_comparisons(runs, against, edited, seed)),
        figures=tuple(figures(runs, slots, scope_rows)),
        worst=tuple(
            one
            for run in sorted(widest(runs), key=lambda run: slots[run.method])
            if not run.unedited or not edited
            for one in _worst(run, worst)
        ),
    )


def _tables(runs: Sequence[Run], methods: Sequence[str]) -> Iterable[Table]:
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.setting.model, run.setting.dataset, run.setting.protocol), []).append(run)
    for (model, dataset, protocol), group in sorted(groups.items()):
        group = sorted(group, key=lambda run: (methods.index(run.method), run.setting.edits))
        for scoring in SCORINGS:
            rows = [(run, row) for run in group for row in run.rows if row["scoring"] == scoring]
            metrics = tuple(names.ordered(scoring, {row["metric"] for _, row in rows if row["value"] is not None}))
            found = {
                (run.folder, over(row), row["metric"]): scored(row) for run, row in rows if row["value"] is not None
            }
            lines = [
                Line(
                    run.method,
                    run.setting.edits,
                    kind,
                    len(run.cases) if kind == "all" else sum(bool(case.get("known")) for case in run.cases),
                    tuple(found.get((run.folder, kind, metric)) for metric in metrics),
                    run.unedited,
                )
                for run in group
                for kind in ("all", "known")
                if any((run.folder, kind, metric) in found for metric in metrics)
            ]
            if lines:
                yield Table(model, dataset, protocol, scoring, metrics, tuple(_best(scoring, lines, metrics)))


def _best(scoring: str, lines: Sequence[Line], metrics: Sequence[str]) -> Iterable[Line]:
    """The lines with the best cells marked, among edited models on as many edits and the same kind of cases."""
    ways = [1 if names.metric(scoring, metric).better == "higher" else -1 for metric in metrics]
    cells: dict[tuple[int, Over, int], list[float]] = {}
    for line in lines:
        for column, (way, cell) in enumerate(zip(ways, line.cells, strict=True)):
            if cell is not None and not line.unedited:
                cells.setdefault((line.edits, line.over, column), []).append(way * cell.value)
    for line in lines:
        marked = []
        for column, (way, cell) in enumerate(zip(ways, line.cells, strict=True)):
            rivals = cells.get((line.edits, line.over, column), [])
            wins = cell is not None and not line.unedited and way * cell.value == max(rivals) > min(rivals)
            marked.append(replace(cell, best=True) if cell is not None and wins else cell)
        yield replace(line, cells=tuple(marked))


def _comparisons(runs: Sequence[Run], against: str | None, order: Sequence[str], seed: int) -> list[Comparison]:
    """Every other edited model of a setting against one, metric by metric, on the cases that both have."""
    pairs: list[tuple[Setting, str, str, str, str]] = []
    gaps: list[list[float]] = []
    usual = next(iter(order), None)
    for setting in sorted({run.setting for run in runs}):
        here = {run.method: run for run in runs if run.setting == setting}
        edited = [name for name, run in here.items() if not run.unedited]
        alone = next((name for name, run in here.items() if run.unedited), None) if len(edited) == 1 else None
        first = against or alone or usual
        if first not in here:
            continue
        for scoring in names.SCORINGS:
            found = {name for case in here[first].cases for name in case["metrics"].get(scoring, ())}
            for metric in names.ordered(scoring, found):
                theirs = scores(here[first], scoring, metric)
                for method in (name for name in edited if name != first):
                    ours = scores(here[method], scoring, metric)
                    both = [ours[case] - theirs[case] for case in ours if case in theirs]
                    if both:
                        pairs.append((setting, scoring, metric, method, first))
                        gaps.append(both)
    found_all = differences(gaps, seed=seed)
    adjusted: list[float] = []
    for _, table in groupby(zip(pairs, found_all, strict=True), key=lambda one: one[0][:2]):
        adjusted += holm([found.p for _, found in table])
    made = zip(pairs, found_all, adjusted, strict=True)
    return [Comparison(*pair, found, level) for pair, found, level in made]


def _worst(run: Run, count: int) -> list[Worst]:
    """The cases with the smallest share of right replies, known ones first, in the order of the run; none all right."""
    found = []
    for place, case in enumerate(run.cases):
        judged = [reply for reply in case.get("replies", ()) if reply.get("right") is not None]
        right = sum(bool(reply["right"]) for reply in judged)
        if right < len(judged):
            replies = tuple(sorted(judged, key=lambda reply: bool(reply["right"])))
            known = bool(case.get("known"))
            one = Worst(run.setting, run.method, str(case["case"]), known, right, replies)
            found.append(((right / len(judged), not known, place), one))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])[:count]]


def to_html(report: Report, title: str = "What the edits do") -> str:
    """One page, whole in itself: no script, font or picture from elsewhere, and whatever replies say is text."""
    from memedit.evaluation._html import page

    return page(report, title)


COLUMNS = (
    *("method", "model", "dataset", "protocol", "edits", "cases", "known", "scoring", "metric"),
    *("over", "n", "value", "low", "high"),
)


def rows(report: Report) -> list[Row]:
    """Every row of every run, the method as the report calls it."""
    return [{**row, "method": run.method, "over": over(row)} for run in report.runs for row in run.rows]


def compared(report: Report) -> list[Row]:
    """Every comparison as a flat row: difference, interval, p and p after Holm."""
    return [
        {
            "method": one.method,
            "against": one.against,
            **asdict(one.setting),
            "scoring": one.scoring,
            "metric": one.metric,
            "cases": one.difference.cases,
            "difference": one.difference.value,
            "low": one.difference.low,
            "high": one.difference.high,
            "p": one.difference.p,
            "p_holm": one.adjusted,
        }
        for one in report.comparisons
    ]


def to_csv(report: Report) -> str:
    """Every row of every run under `COLUMNS`; a value that a row lacks is empty, and no cell is a formula."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell_shown(value) for name, value in row.items()} for row in rows(report))
    return out.getvalue()


def to_markdown(report: Report) -> str:
    """The tables and comparisons as GitHub's Markdown: value and interval, shares in per cent."""
    parts = []
    for scoring, name in names.SCORINGS.items():
        tables = [table for table in report.tables if table.scoring == scoring]
        if tables:
            parts.append(f"## {name}")
        for table in tables:
            heads = ["method", "edits", "cases", *(_heading(scoring, metric) for metric in table.metrics)]
            lines = [
                [
                    line.method,
                    f"{line.edits:,}",
                    f"{line.cases:,}{' known' if line.over == 'known' else ''}",
                    *(_said(scoring, *pair) for pair in zip(table.metrics, line.cells, strict=True)),
                ]
                for line in table.lines
            ]
            parts += [f"### {_escaped(table.title)}", _grid(heads, lines, words=1)]
    for against in dict.fromkeys(one.against for one in report.comparisons):
        parts.append(f"## Differences from {_escaped(against)}, pair by pair")
        heads = ["setting", "scoring", "method", "score", "difference, points", "95 %", "p", "p (Holm)", "cases"]
        parts.append(_grid(heads, [_in_words(one) for one in report.comparisons if one.against == against], words=4))
    return "\n\n".join(parts) + "\n"


def _heading(scoring: str, metric: str) -> str:
    unit = names.heading_unit(scoring, metric)
    return names.label(metric) + (f", {unit}" if unit else "")


def _said(scoring: str, metric: str, cell: Cell | None) -> str:
    if cell is None:
        return ""
    value = names.shown(scoring, metric, cell.value)
    if cell.low is None or cell.high is None:
        return value
    return f"{value} ({names.shown(scoring, metric, cell.low)}–{names.shown(scoring, metric, cell.high)})"


def _in_words(one: Comparison) -> list[str]:
    found = one.difference
    value, low, high = (names.difference(one.scoring, one.metric, x) for x in (found.value, found.low, found.high))
    scoring, score = names.SCORINGS[one.scoring], names.label(one.metric)
    levels = f"{found.p:.4f}", f"{one.adjusted:.4f}"
    return [str(one.setting), scoring, one.method, score, value, f"{low} to {high}", *levels, f"{found.cases:,}"]


def _grid(heads: Sequence[str], lines: Iterable[Sequence[str]], *, words: int) -> str:
    """A Markdown table whose first `words` columns are words and the others numbers."""
    rule = ["---" if number < words else "--:" for number in range(len(heads))]
    rows = [heads, rule, *lines]
    return "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in rows)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\|<>*_`\[\]])", r"\\\1", " ".join(text.split()))
