"""From runs to figures: score against edits and seconds, retention, recall against false fires, profiles, gaps.

What a figure is drawn of is decided here; `_figures.py` is its form, `_svg.py` and `_png.py` draw it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from memedit.evaluation import _names as names
from memedit.evaluation._figures import Figure, Gaps, Plot, Point, Radar, Series
from memedit.evaluation._names import SCORINGS, percent
from memedit.evaluation._runs import Row, Run, score, scores, widest
from memedit.evaluation.metrics import JUDGED, harmonic_mean

PRIMARY = ("reliability", "generalisation", "locality")
"""What an edit is for, what follows from its wording, what it must leave alone; curves are drawn of these."""


def figures(runs: Sequence[Run], slots: Mapping[str, int], scope_rows: Sequence[Row]) -> Iterable[Figure]:
    for scoring in SCORINGS:
        yield from _by_edits(runs, slots, scoring)
    shown = sorted(widest(runs), key=lambda run: slots[run.method])
    yield from _by_seconds(shown, slots)
    yield from _retention(shown, slots)
    yield from _trade_offs(shown, slots)
    yield from _scopes(scope_rows)
    yield from _radars(shown, slots)
    yield from _gaps(shown)


def slug(*parts: object) -> str:
    """Words as a file's name and an element's id."""
    return "-".join(re.sub(r"[^a-z0-9]+", "-", str(part).lower()).strip("-") for part in parts)


def _by_edits(runs: Sequence[Run], slots: Mapping[str, int], scoring: str) -> Iterable[Plot]:
    """Score against number of edits, where a method was run on two numbers or more."""
    settings = sorted({(run.setting.model, run.setting.dataset, run.setting.protocol) for run in runs})
    for model, dataset, protocol in settings:
        for metric in PRIMARY:
            lines: dict[str, list[Point]] = {}
            for run in sorted(runs, key=lambda run: (slots[run.method], run.setting.edits)):
                cell, here = score(run, scoring, metric), run.setting
                if cell and (here.model, here.dataset, here.protocol) == (model, dataset, protocol):
                    note = f"{run.method}, {run.setting.edits:,} edits: {percent(cell.value)}"
                    point = Point(run.setting.edits, cell.value, cell.low, cell.high, note)
                    lines.setdefault(run.method, []).append(point)
            if any(len(points) > 1 for points in lines.values()):
                label = names.label(metric)
                yield Plot(
                    slug("edits", scoring, metric, dataset, protocol, model),
                    f"{label} against number of edits",
                    f"{SCORINGS[scoring]}; {dataset}, {protocol}, {model}",
                    "edits",
                    label,
                    tuple(Series(method, slots[method], tuple(points)) for method, points in lines.items()),
                    logarithmic=True,
                )


def _by_seconds(runs: Sequence[Run], slots: Mapping[str, int]) -> Iterable[Plot]:
    """What an edit or a query costs against what the edits are worth, a mark per method."""
    for setting in sorted({run.setting for run in runs}):
        for kind in ("edit", "query"):
            series = []
            for run in (run for run in runs if run.setting == setting and not run.unedited):
                took = score(run, "free", f"seconds_per_{kind}")
                values = [cell.value for metric in PRIMARY if (cell := score(run, "free", metric)) is not None]
                if took and took.value > 0 and len(values) == len(PRIMARY):
                    worth = harmonic_mean(values)
                    note = f"{run.method}: {percent(worth)} at {took.value:.3g} s per {kind}"
                    series.append(Series(run.method, slots[run.method], (Point(took.value, worth, note=note),)))
            if len(series) > 1:
                yield Plot(
                    slug("seconds", kind, setting),
                    f"Score against seconds per {kind}",
                    f"Harmonic mean of reliability, generalisation and locality, free generation; {setting}",
                    f"seconds per {kind}",
                    "Score",
                    tuple(series),
                    logarithmic=True,
                    joined=False,
                )


PIECES = 10
"""Into how many parts a sequence of edits is cut for the curve of retention."""


def _retention(runs: Sequence[Run], slots: Mapping[str, int]) -> Iterable[Plot]:
    """Of a sequence of edits, how many still hold at its end, by how many came after them."""
    for setting in sorted({run.setting for run in runs if run.setting.protocol == "sequential"}):
        series = []
        for run in runs:
            if run.setting != setting or run.unedited:
                continue
            held = [*scores(run, "free", "retention").values()] or [*scores(run, "free", "reliability").values()]
            size = -(-len(held) // PIECES)
            points = []
            for start in range(0, len(held), size or 1):
                part = held[start : start + size]
                after = len(held) - start - len(part) / 2
                note = f"{run.method}: {percent(fmean(part))} of edits {start + 1} to {start + len(part)}"
                points.append(Point(after, fmean(part), note=note))
            if len(points) > 1:
                series.append(Series(run.method, slots[run.method], tuple(reversed(points))))
        if series:
            yield Plot(
                slug("retention", setting),
                "Retention after all edits",
                f"Share of edits that still hold, free generation; {setting}",
                "edits made after",
                "Held",
                tuple(series),
            )


FIRES, RESTS = ("edit", "paraphrase"), ("neighbour", "same_subject", "distracting")
"""The kinds of question of `recall` and of `false_fires`."""


def _trade_offs(runs: Sequence[Run], slots: Mapping[str, int]) -> Iterable[Plot]:
    """Recall against false fires, of systems that say how probable it was that an edit bears on a question."""
    from memedit.bench._metrics import trade_off  # numpy

    for setting in sorted({run.setting for run in runs}):
        series = []
        for run in runs:
            judged = [reply for case in run.cases for reply in case.get("replies", ()) if "probability" in reply]
            yes = [reply["probability"] or 0.0 for reply in judged if reply["kind"] in FIRES]
            no = [reply["probability"] or 0.0 for reply in judged if reply["kind"] in RESTS]
            if run.setting == setting and yes and no:
                fires, recalls = trade_off(yes, [True] * len(yes), no)
                least = 0.5 / len(no)  # none at all has no place on a logarithmic axis
                points = [
                    Point(max(rate, least), recall, note=f"{run.method}: recall {percent(recall)} at {percent(rate)}")
                    for rate, recall in zip(fires, recalls, strict=True)
                ]
                series.append(Series(run.method, slots[run.method], tuple(_thinned(points))))
        if series:
            yield Plot(
                slug("trade-off", setting),
                "Recall against false fires",
                f"Questions that an edit answers, and questions that it must leave alone; {setting}",
                "false-fire rate",
                "Recall",
                tuple(series),
                logarithmic=True,
            )


def _thinned(points: Sequence[Point]) -> Iterable[Point]:
    """One point per sixth of a decade, the last of each."""
    return {round(6 * math.log10(point.x)): point for point in points}.values()


def _scopes(rows: Sequence[Row]) -> Iterable[Plot]:
    """Recall against false fires of a scope at 0.1 % and 1 %, from its own benchmark."""
    groups: dict[tuple[str, int], list[Series]] = {}
    names = list(dict.fromkeys(str(row.get("scope")) for row in rows))
    several = len(names) > 1
    for row in rows:
        if row.get("query") is None:
            continue
        rates = (("recall_at_0.1pct", 0.001, "0.1 %"), ("recall_at_1pct", 0.01, "1 %"))
        points = [
            Point(rate, found, row.get(f"{key}_low"), row.get(f"{key}_high"), f"recall {percent(found)} at {said}")
            for key, rate, said in rates
            if (found := row.get(key)) is not None
        ]
        group = groups.setdefault((str(row["dataset"]), int(row["edits"])), [])
        name = f"{row['query']} against {row['negative']}"
        if points:
            group.append(Series(f"{row['scope']}: {name}" if several else name, len(group), tuple(points)))
    for (dataset, edits), series in groups.items():
        if series:
            yield Plot(
                slug("scope", dataset, edits),
                "Recall against false fires",
                f"The scope {', '.join(names)} on {dataset}, {edits:,} edits in memory",
                "false-fire rate",
                "Recall",
                tuple(series),
                logarithmic=True,
            )


def _radars(runs: Sequence[Run], slots: Mapping[str, int]) -> Iterable[Radar]:
    """A method's shares at one glance, by free generation (by teacher forcing where that is all there is)."""
    for setting in sorted({run.setting for run in runs}):
        here = [run for run in runs if run.setting == setting]
        for scoring in SCORINGS:
            axes = [
                metric
                for metric in names.ordered(
                    scoring, {row["metric"] for run in here for row in run.rows if row["scoring"] == scoring}
                )
                if _rim(scoring, metric) and any(score(run, scoring, metric) for run in here)
            ]
            if len(axes) < 3:
                continue
            for run in here:
                cells = [score(run, scoring, metric) for metric in axes]
                if any(cells) and not (run.unedited and run.called):  # one of the unedited model is enough
                    yield Radar(
                        slug("radar", scoring, run.method, setting),
                        run.method,
                        f"{SCORINGS[scoring]}; {setting}",
                        slots[run.method],
                        tuple(names.label(metric) for metric in axes),
                        tuple(cell.value if cell else None for cell in cells),
                    )
            break


def _rim(scoring: str, metric: str) -> bool:
    """Whether a metric is an axis: a share of which all is good, and not a breakdown of another."""
    known = names.metric(scoring, metric)
    return (
        known.unit == "share"
        and known.better == "higher"
        and not metric.startswith(("zsre_", "upstream_", "piqa_"))
        and metric not in ("locality_known", "recall", "reliability_immediate", "RS", "S")
        and not metric.endswith(JUDGED)
    )


def _gaps(runs: Sequence[Run]) -> Iterable[Gaps]:
    """How far a score falls when the model must write its answer itself."""
    for setting in sorted({run.setting for run in runs}):
        for metric in PRIMARY[:2]:
            rows = []
            for run in runs:
                forced, free = score(run, "teacher_forced", metric), score(run, "free", metric)
                if run.setting == setting and forced and free:
                    rows.append((run.method, forced.value, free.value))
            if rows:
                label = names.label(metric)
                title = f"{label}: teacher-forced and free"
                yield Gaps(slug("gap", metric, setting), title, str(setting), tuple(rows))
