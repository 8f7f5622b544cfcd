"""A report as one page that needs nothing outside itself: no script from elsewhere, no font, no picture.

Everything that comes from a run, replies above all, is text: it is escaped, and the page's security policy runs no
script but the page's own. Without scripts the page is whole; with them tables sort and cases can be searched. The
words around the figures are here, the dress is in `page/`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from memedit.evaluation import _names as names
from memedit.evaluation._figures import Figure, Plot, Radar
from memedit.evaluation._svg import colour, svg, swatch
from memedit.terminal import flat, jsonable

if TYPE_CHECKING:  # report.py calls this file
    from memedit.evaluation._runs import Cell, Run
    from memedit.evaluation.report import Comparison, Line, Report, Table, Worst

SECTIONS = {
    "scores": "Scores",
    "differences": "Differences",
    "curves": "Curves",
    "profiles": "Profiles",
    "cases": "Cases to read",
    "runs": "Runs",
}
ABOUT = {
    "free": "The model writes its reply itself, greedily; a reply is right where it gives the answer or one of its "
    "aliases. This is what a user gets.",
    "teacher_forced": "The right answer is fed to the model token by token and its probabilities are read. This is "
    "what much of the literature reports; it is no promise about what the model would write.",
}


def page(report: Report, title: str) -> str:
    """The whole page."""
    parts = {name: "\n".join(made) for name, made in _sections(report).items() if made}
    body = [
        f'<section aria-labelledby="{name}"><h2 id="{name}">{SECTIONS[name]}</h2>\n{part}</section>'
        for name, part in parts.items()
    ]
    folder = files("memedit.evaluation") / "page"
    style, script, around = (folder.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js", "html"))
    return Template(around).substitute(
        title=escape(title),
        lead=_lead(report),
        links="".join(f'<li><a href="#{name}">{SECTIONS[name]}</a></li>' for name in parts),
        body="\n".join(body),
        style=style,
        script=script,
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        footer=_footer(report),
    )


def _sections(report: Report) -> dict[str, list[str]]:
    plots = [figure for figure in report.figures if not isinstance(figure, Radar)]
    radars = [figure for figure in report.figures if isinstance(figure, Radar)]
    return {
        "scores": [_controls(report), *_scores(report), _definitions(report)] if report.tables else [],
        "differences": list(_differences(report)),
        "curves": [_grid(plots)] if plots else [],
        "profiles": [
            "<p>Each axis is one score, 0 at the centre and 100 % at the rim. A method that edits well and harms "
            "nothing fills the whole shape.</p>",
            _grid(radars),
        ]
        if radars
        else [],
        "cases": list(_cases(report.worst)),
        "runs": [_run(run) for run in report.runs],
    }


def _lead(report: Report) -> str:
    def counted(values: Iterable[str], one: str, many: str) -> str:
        found = list(dict.fromkeys(values))
        return f"{len(found)} {one if len(found) == 1 else many} ({escape(', '.join(found))})" if found else ""

    said = [
        counted(report.methods, "method", "methods"),
        counted((run.setting.dataset for run in report.runs), "dataset", "datasets"),
        counted((run.setting.protocol for run in report.runs), "protocol", "protocols"),
        counted((run.setting.model for run in report.runs), "model", "models"),
    ]
    lead = "; ".join(one for one in said if one)
    return f'<p class="lead">{lead[:1].upper()}{lead[1:]}.</p>' if lead else ""


def _footer(report: Report) -> str:
    cases = sum(len(run.cases) for run in report.runs)
    return (
        f"<p>{cases:,} lines of cases in {len(report.runs)} runs. Intervals are 95 %, by bootstrap over cases. Known "
        "cases are those whose old answer the unedited model gives when asked: elsewhere an edit has nothing to "
        "overwrite.</p>"
    )


def _dot(report: Report, method: str) -> str:
    return f'<span class="dot" style="--c:{colour(report.slot(method))}"></span>'


def _controls(report: Report) -> str:
    """Boxes that hide methods and known cases everywhere on the page; they come with the script."""
    boxes = [("method " + method, _dot(report, method) + escape(method)) for method in report.methods]
    if any(line.over == "known" for table in report.tables for line in table.lines):
        boxes.append(("over known", "known cases"))
    chips = "".join(
        f'<label class="chip"><input type="checkbox" checked data-hides="{escape(hides, quote=True)}">'
        f"<span>{words}</span></label>"
        for hides, words in boxes
    )
    return f'<fieldset class="controls needs-script" hidden><legend>Show</legend>{chips}</fieldset>'


def _scores(report: Report) -> Iterable[str]:
    for scoring, name in names.SCORINGS.items():
        tables = [table for table in report.tables if table.scoring == scoring]
        if tables:
            yield f"<h3>{name}</h3><p>{ABOUT[scoring]}</p>"
        for table in tables:
            yield _table(report, table)


def _table(report: Report, table: Table) -> str:
    by_part = [names.part(table.scoring, metric) for metric in table.metrics]
    starts = {by_part.index(part) for part in by_part}
    several = len({line.edits for line in table.lines}) > 1
    groups = "".join(
        f'<th scope="colgroup" class="begins" colspan="{by_part.count(part)}">{words}</th>'
        for part, words in enumerate(names.PARTS)
        if part in by_part
    )
    heads = "".join(_head(table.scoring, metric, number in starts) for number, metric in enumerate(table.metrics))
    lines = "\n".join(_line(report, table, line, several, starts) for line in table.lines)
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{escape(table.title, quote=True)}">'
        f'<table class="sortable"><caption>{escape(table.title)}</caption>'
        f'<thead><tr class="groups"><td colspan="{1 + several}"></td>{groups}</tr>'
        f'<tr><th scope="col">Method</th>{"<th scope=col>Edits</th>" if several else ""}{heads}</tr></thead>'
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )


def _head(scoring: str, metric: str, begins: bool) -> str:
    unit, definition = names.heading_unit(scoring, metric), names.metric(scoring, metric).definition
    title = f' title="{escape(definition, quote=True)}"' if definition else ""
    words = escape(names.label(metric)) + (f" <small>{unit}</small>" if unit else "")
    return f'<th scope="col"{" class=begins" if begins else ""}{title}>{words}</th>'


def _line(report: Report, table: Table, line: Line, several: bool, starts: set[int]) -> str:
    slot = colour(report.slot(line.method))
    cells = "".join(
        _cell(table.scoring, metric, cell, slot, number in starts)
        for number, (metric, cell) in enumerate(zip(table.metrics, line.cells, strict=True))
    )
    known = line.over == "known"
    cases = f"{line.cases:,} {'known' if known else ''} {'case' if line.cases == 1 else 'cases'}"
    edits = f'<td data-value="{line.edits}">{line.edits:,}</td>' if several else ""
    return (
        f'<tr{" class=known" if known else ""} data-method="{escape(line.method, quote=True)}" data-over="{line.over}">'
        f'<th scope="row">{_dot(report, line.method)}{escape(line.method)}<span class="range">{cases}</span></th>'
        f"{edits}{cells}</tr>"
    )


def _cell(scoring: str, metric: str, cell: Cell | None, slot: str, begins: bool) -> str:
    of = " class=begins" if begins else ""
    if cell is None:
        return f'<td{of} data-value=""><span class="soft">–</span></td>'
    of += f' title="over {cell.cases:,}"' if cell.cases is not None else ""
    value = names.shown(scoring, metric, cell.value)
    top = f'<span class="best">{value}</span>' if cell.best else value
    span = _range(scoring, metric, cell)
    share = names.metric(scoring, metric).unit == "share"
    bar = f'<span class="bar"><i style="--v:{100 * cell.value:.1f}%;--c:{slot}"></i></span>' if share else ""
    return f'<td{of} data-value="{cell.value}">{top}{span}{bar}</td>'


def _range(scoring: str, metric: str, cell: Cell) -> str:
    if cell.low is None or cell.high is None:
        return ""
    low, high = (names.shown(scoring, metric, bound) for bound in (cell.low, cell.high))
    return f'<span class="range">{low}–{high}</span>'


def _definitions(report: Report) -> str:
    """What each column is and where its definition comes from."""
    columns = {(table.scoring, metric): None for table in report.tables for metric in table.metrics}
    rows = "".join(
        f'<tr><th scope="row">{escape(names.label(name))}</th><td class="words">{names.SCORINGS[scoring]}</td>'
        f'<td class="words wraps">{escape(metric.definition)}</td>'
        f'<td class="words wraps">{escape(metric.source)}</td></tr>'
        for scoring, name in columns
        if (metric := names.metric(scoring, name)).definition
    )
    if not rows:
        return ""
    said = ("Score", "Scoring", "What it is", "Source")
    heads = "".join(f'<th scope="col" class="words">{words}</th>' for words in said)
    return (
        "<details><summary><b>What each score is</b></summary>"
        f'<div class="plain" tabindex="0" role="region" aria-label="Definitions"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _differences(report: Report) -> Iterable[str]:
    if not report.comparisons:
        return
    against = " or ".join(f"<b>{escape(name)}</b>" for name in dict.fromkeys(one.against for one in report.comparisons))
    yield (
        f"<p>Each method minus {against}, on the cases that both were asked. Pairing "
        "sees differences that two separate intervals hide. A difference is coloured where p, adjusted for the number "
        "of comparisons in its table (Holm), is below 0.05: green where the method is better, red where it is worse. "
        "Shares differ by percentage points.</p>"
    )
    seen = False
    for scoring, name in names.SCORINGS.items():
        here = [one for one in report.comparisons if one.scoring == scoring]
        for setting in dict.fromkeys(one.setting for one in here):
            there = [one for one in here if one.setting == setting]
            shares = [one.difference for one in there if _in_percent(one)]
            reach = max((abs(end) for found in shares for end in (found.low, found.high)), default=0.0) or 1.0
            rows = "\n".join(_difference(report, one, reach) for one in there)
            title = escape(f"{name}; {setting}", quote=True)
            words = ("Method", "Score", "Difference", "95 % interval", "", "p", "p (Holm)", "Cases")
            heads = "".join(
                f'<th scope="col"{" class=words" if number < 2 else ""}>{word}</th>' if word else "<td></td>"
                for number, word in enumerate(words)
            )
            clear = sum(one.adjusted < 0.05 for one in there)
            yield (
                f'<details{"" if seen else " open"}><summary><b>{name}</b><span class="soft">{escape(str(setting))}; '
                f"minus {escape(there[0].against)}; {clear} of {len(there)} clear</span></summary>"
                f'<div class="plain" tabindex="0" role="region" aria-label="{title}"><table class="sortable">'
                f"<thead><tr>{heads}</tr></thead><tbody>\n{rows}\n</tbody></table></div></details>"
            )
            seen = True


def _in_percent(one: Comparison) -> bool:
    return names.heading_unit(one.scoring, one.metric) == "%"


def _difference(report: Report, one: Comparison, reach: float) -> str:
    found = one.difference
    value, low, high = (names.difference(one.scoring, one.metric, x) for x in (found.value, found.low, found.high))
    line = _forest(found.value / reach, found.low / reach, found.high / reach) if _in_percent(one) else ""
    good = (found.value > 0) == (names.metric(one.scoring, one.metric).better == "higher")
    kind = "" if one.adjusted >= 0.05 else "up" if good else "down"
    return (
        f'<tr data-method="{escape(one.method, quote=True)}"><th scope="row">{_dot(report, one.method)}'
        f'{escape(one.method)}</th><td class="words">{escape(names.label(one.metric))}</td>'
        f'<td data-value="{found.value}"><span class="{kind}">{value}</span></td>'
        f'<td data-value="{found.low}">{low} to {high}</td><td class="{kind}">{line}</td>'
        f'<td data-value="{found.p}">{_level(found.p)}</td><td data-value="{one.adjusted}">{_level(one.adjusted)}</td>'
        f'<td data-value="{found.cases}">{found.cases:,}</td></tr>'
    )


def _level(p: float) -> str:
    return "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def _forest(value: float, low: float, high: float) -> str:
    """An interval within [-1, 1] on a line whose middle is no difference; all of a table share one scale."""

    def place(number: float) -> str:
        return f"{72 + 66 * number:.1f}"

    return (
        '<svg class="forest" viewBox="0 0 144 20" aria-hidden="true"><path class="zero" d="M72 1V19"/>'
        f'<path class="span" d="M{place(low)} 10H{place(high)}"/><circle cx="{place(value)}" cy="10" r="4"/></svg>'
    )


def _grid(figures: Sequence[Figure]) -> str:
    return f'<div class="figures">{"".join(map(_figure, figures))}</div>'


def _figure(figure: Figure) -> str:
    legend = ""
    if isinstance(figure, Plot) and figure.joined:
        entries = "".join(f"<li>{swatch(series.slot)}{escape(series.name)}</li>" for series in figure.series)
        legend = f'<ul class="legend">{entries}</ul>'
    method = f' data-method="{escape(figure.title, quote=True)}"' if isinstance(figure, Radar) else ""
    return (
        f"<figure{method}><h4>{escape(figure.title)}</h4><figcaption>{escape(figure.about)}</figcaption>"
        f"{svg(figure)}{legend}</figure>"
    )


def _cases(worst: Sequence[Worst]) -> Iterable[str]:
    if not worst:
        return
    yield (
        "<p>The cases with the smallest share of right replies, known ones first: numbers say how often a method "
        "fails, these say how.</p>"
        '<div class="controls needs-script" hidden><input type="search" id="search" aria-label="Search the cases" '
        'placeholder="Search questions and replies"><span class="soft" id="count" role="status"></span></div>'
    )
    for key in dict.fromkeys((one.method, one.setting) for one in worst):
        method, setting = key
        of = f'data-method="{escape(method, quote=True)}"'
        yield f"<h3 {of}>{escape(method)} <small>{escape(str(setting))}</small></h3>"
        for one in worst:
            if (one.method, one.setting) == key:
                replies = "".join(map(_reply, one.replies))
                known = ", known" if one.known else ""
                yield (
                    f'<details class="case" {of}><summary><b>{escape(_asked(one))}</b>'
                    f'<span class="soft">{one.right} of {len(one.replies)} right{known}, case {escape(one.case)}</span>'
                    f'</summary><div class="inside">{replies}</div></details>'
                )


def _asked(one: Worst) -> str:
    """The question of the edit itself, which names a case best."""
    edits = [reply for reply in one.replies if reply.get("kind") == "edit"] or one.replies
    return str(edits[0].get("prompt", ""))


def _reply(reply: Mapping[str, object]) -> str:
    right = bool(reply["right"])
    expected = reply.get("expected")
    wanted = " / ".join(map(str, expected)) if isinstance(expected, (list, tuple)) else expected
    said = {"reply": reply.get("reply"), "expected": wanted, "before": reply.get("before")}
    pairs = "".join(
        f"<dt>{name}</dt><dd>{escape(str(text)) if text != '' else '<span class=soft>nothing</span>'}</dd>"
        for name, text in said.items()
        if text is not None
    )
    tag = f'<span class="tag {"right" if right else "wrong"}">{"right" if right else "wrong"}</span>'
    kind = escape(str(reply.get("kind", "")).replace("_", " "))
    return (
        f'<div class="reply"><p>{tag}<span class="tag">{kind}</span>{escape(str(reply.get("prompt", "")))}</p>'
        f"<dl>{pairs}</dl></div>"
    )


def _run(run: Run) -> str:
    pairs = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>"
        for name, value in flat(jsonable(dict(run.settings)))
        if value not in (None, "")
    )
    return (
        f'<details data-method="{escape(run.method, quote=True)}"><summary><b>{escape(run.method)}</b>'
        f'<span class="soft">{escape(str(run.setting))}; {len(run.cases):,} cases</span></summary>'
        f'<div class="inside"><dl class="settings">{pairs}</dl>{_left_out(run)}</div></details>'
    )


def _left_out(run: Run) -> str:
    if not run.left_out:
        return ""
    pairs = "".join(
        f"<dt>{escape(names.label(name))}, {names.SCORINGS.get(scoring, scoring).lower()}</dt><dd>{escape(why)}</dd>"
        for (scoring, _, name), why in ((metric.partition(" "), why) for metric, why in run.left_out.items())
    )
    return f'<h4>Not measured, and why</h4><dl class="settings reasons">{pairs}</dl>'
