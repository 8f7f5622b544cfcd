"""The bench of scopes as pictures and one page: what the rows say, to be looked at.

Curves are PNG files; the page holds them and the rows, and refers to nothing outside itself. Drawn by matplotlib, which
comes with the extra `bench` and is imported only here.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memedit.errors import InputError

Row = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """What a row does not hold: its trade-off and its reliability, as `_metrics` gives them."""

    row: Row
    fires: list[float]
    recalls: list[float]
    bins: list[tuple[float, float, int]]


def need_matplotlib() -> None:
    """Raises InputError where it is not installed: to be found out before an hour of measuring."""
    if find_spec("matplotlib") is None:
        raise InputError("--report draws with matplotlib, which is not installed: pip install 'memedit[bench]'")


def write_report(folder: Path, rows: Sequence[Row], latency: Sequence[Row], curves: Sequence[Curve]) -> list[Path]:
    """Write `report.html` and the pictures into a folder, which is made; -> the files. Raises InputError."""
    need_matplotlib()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written, shown = [], []
        for name, title, image in _pictures(rows, curves):
            path = folder / f"{name}.png"
            path.write_bytes(image)
            written.append(path)
            data = base64.b64encode(image).decode("ascii")
            shown.append(
                f'<h2>{html.escape(title)}</h2>\n<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'
            )
        page = folder / "report.html"
        page.write_text(
            _PAGE.format(pictures="\n".join(shown), rows=_table(rows), latency=_table(latency)), encoding="utf-8"
        )
    except OSError as error:
        raise InputError(f"the report cannot be written to {folder}: {error.strerror}") from error
    return [page, *written]


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>memedit bench scope</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }}
img {{ max-width: 100%; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 12px; }}
th, td {{ padding: .2rem .5rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }}
</style></head><body>
<h1>memedit bench scope</h1>
{pictures}
<h2>Rows</h2>
<div>{rows}</div>
<h2>Latency</h2>
<div>{latency}</div>
</body></html>
"""


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return "<p>none</p>"
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row.get(name)))}</td>" for name in names) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _cell(value: object) -> str:
    return "–" if value is None else str(value)


def _pictures(rows: Sequence[Row], curves: Sequence[Curve]) -> Iterator[tuple[str, str, bytes]]:
    """(name, title, PNG): a trade-off and a reliability diagram per scope, dataset and size, then growth."""
    groups: dict[tuple[str, str, int], list[Curve]] = {}
    for curve in curves:
        if curve.fires:  # negatives alone have no trade-off
            groups.setdefault((curve.row["scope"], curve.row["dataset"], curve.row["edits"]), []).append(curve)
    for (scope, dataset, edits), group in groups.items():
        about = f"{scope}, {dataset}, {edits:,} edits"
        name = f"{scope}-{dataset}-{edits}"
        yield f"recall-{name}", f"Recall against false fires: {about}", _trade_off(group)
        yield f"reliability-{name}", f"Reliability: {about}", _reliability(group)
    if len({row["edits"] for row in rows}) > 1:
        yield "false-fires", "False fires at the shipped threshold, as the memory grows", _growth(rows)


def _trade_off(group: Sequence[Curve]) -> bytes:
    figure, axes = _figure()
    for curve in group:
        least = 0.3 / max(1, curve.row["negatives_0.1pct"])  # no false fire at all has no place on a logarithmic axis
        axes.plot(
            [max(fires, least) for fires in curve.fires],
            curve.recalls,
            **_look(group, curve),
        )
    axes.set(xscale="log", xlabel="false-fire rate", ylabel="recall of the right edit", ylim=(0, 1.01))
    for rate in (0.001, 0.01):
        axes.axvline(rate, color="#999", linewidth=0.6, linestyle=":")
    return _png(figure, axes)


def _reliability(group: Sequence[Curve]) -> bytes:
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color="#999", linewidth=0.6, linestyle=":")
    for curve in group:
        if curve.bins:
            axes.plot(
                [one[0] for one in curve.bins],
                [one[1] for one in curve.bins],
                marker=".",
                **_look(group, curve),
            )
    axes.set(xlabel="probability that the scope gives", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.01))
    return _png(figure, axes)


def _look(group: Sequence[Curve], curve: Curve) -> Row:
    """A colour per kind of query, a dash per kind of negative."""
    queries = list(dict.fromkeys(one.row["query"] for one in group))
    negatives = list(dict.fromkeys(one.row["negative"] for one in group))
    dashes = ("-", "--", ":", "-.")
    return {
        "color": f"C{queries.index(curve.row['query'])}",
        "linestyle": dashes[negatives.index(curve.row["negative"]) % len(dashes)],
        "linewidth": 1,
        "label": f"{curve.row['query']} | {curve.row['negative']}",
    }


def _growth(rows: Sequence[Row]) -> bytes:
    figure, axes = _figure()
    lines: dict[tuple[str, str, str], dict[int, float]] = {}
    for row in rows:
        if row["false_fires_shipped"] is not None:
            line = lines.setdefault((row["scope"], row["dataset"], row["negative"]), {})
            line[row["edits"]] = row["false_fires_shipped"]
    for (scope, dataset, negative), points in lines.items():
        sizes = sorted(points)
        axes.plot(
            sizes,
            [100 * points[size] for size in sizes],
            marker=".",
            linewidth=1,
            label=f"{scope} | {dataset} | {negative}",
        )
    axes.set(xscale="log", xlabel="edits in memory", ylabel="false fires, %")
    axes.set_ylim(bottom=0)
    return _png(figure, axes)


def _figure() -> tuple[Any, Any]:
    # not pyplot: it picks a window system and keeps every figure
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    return figure, figure.subplots()


def _png(figure: Any, axes: Any) -> bytes:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=110, metadata={"Software": None})
    return made.getvalue()
