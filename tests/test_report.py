"""The report of runs: what is read, compared, drawn and written, and how its page fares in a real browser."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from memedit.cli import cli
from memedit.errors import InputError, NotFoundError
from memedit.evaluation import _names as names
from memedit.evaluation._figures import Gaps, Plot, Point, Radar, Series
from memedit.evaluation._paired import differences, holm
from memedit.evaluation._svg import short, svg, ticks
from memedit.evaluation.report import (
    read,
    read_scope_rows,
    report,
    to_csv,
    to_html,
    to_markdown,
)

Metrics = dict[str, dict[str, float | None]]


def case(number: int, free: Mapping[str, float], forced: Mapping[str, float], **more: Any) -> dict[str, Any]:
    """A line of cases.jsonl as a run writes it."""
    right = free.get("reliability", 0) == 1
    return {
        "case": f"case-{number}",
        "known": number % 2 == 0,
        "metrics": {"free": dict(free), "teacher_forced": dict(forced)},
        "replies": [
            {
                "kind": "edit",
                "prompt": f"The mayor of Town {number} is",
                "reply": f"Dana {number}" if right else f"Otto {number}",
                "expected": [f"Dana {number}"],
                "right": right,
                "before": f"Otto {number}",
            },
            {
                "kind": "neighbour",
                "prompt": f"The mayor of Village {number} is",
                "reply": "Ada",
                "expected": ["Ada"],
                "right": True,
                "before": "Ada",
            },
        ],
        "seconds": {"edit": 0.5, "query": 0.01},
        "memory_bytes": 1024,
        **more,
    }


def rows_of(settings: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows in the schema of `memedit eval --json`: means, with made-up intervals a twentieth to either side."""
    made = []
    known = sum(one["known"] for one in cases)
    for over in ("all", "known"):
        chosen = [one for one in cases if over == "all" or one["known"]]
        for scoring in ("free", "teacher_forced"):
            for metric in dict.fromkeys(name for one in cases for name in one["metrics"][scoring]):
                values = [v for one in chosen if (v := one["metrics"][scoring].get(metric)) is not None]
                value = sum(values) / len(values) if values else None
                made.append(
                    {key: settings[key] for key in ("method", "model", "dataset", "protocol", "edits")}
                    | {"cases": len(cases), "known": known, "scoring": scoring, "metric": metric, "over": over}
                    | {"n": len(values), "value": value}
                    | {"low": value and value - 0.05, "high": value and min(1.0, value + 0.05)}
                )
    for kind, seconds in (("edit", 0.5), ("query", 0.01)):
        made.append(made[0] | {"scoring": "free", "metric": f"seconds_per_{kind}", "over": "all", "value": seconds})
    return made


def write_run(folder: Path, method: str, cases: Sequence[Mapping[str, Any]], **settings: Any) -> Path:
    """A finished run in the form that `memedit eval` writes."""
    said = {
        "format": 1,
        "method": method,
        "model": "pocket",
        "model_hash": "ab" * 32,
        "dataset": "counterfact",
        "dataset_sha256": "cd" * 32,
        "protocol": "single",
        "edits": 1,
        "seed": 0,
        "settings": {"scope": "two_stage"},
        "versions": {"memedit": "0.1.0"},
        "created_at": "2026-01-02T03:04:05+00:00",
    } | settings
    place = folder / method / f"{said['dataset']}-{said['protocol']}-{said['edits']}"
    place.mkdir(parents=True)
    (place / "run.json").write_text(json.dumps(said))
    (place / "cases.jsonl").write_text("".join(json.dumps(one) + "\n" for one in cases))
    (place / "rows.json").write_text(json.dumps({"rows": rows_of(said, cases)}))
    return place


def some(count: int, right: Sequence[int], *, kept: float = 1.0, forced: float = 0.9) -> list[dict[str, Any]]:
    """So many cases, of which those numbered are right in free generation."""
    return [
        case(
            number,
            {"reliability": float(number in right), "generalisation": float(number in right), "locality": kept},
            {"reliability": forced, "generalisation": forced, "locality": kept},
        )
        for number in range(count)
    ]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three methods on one setting: base gets none right, memory 9 of 10, rome 4 of 10."""
    write_run(tmp_path / "run", "base", some(10, [], forced=0.1))
    write_run(tmp_path / "run", "memory", some(10, range(9)))
    write_run(tmp_path / "run", "rome", some(10, range(4), kept=0.8))
    return tmp_path / "run"


# ------------------------------------------------------------------------------------------------------------- reading


def test_read_finds_every_run_below_a_folder(runs: Path) -> None:
    found = read(runs)
    assert [run.method for run in found] == ["base", "memory", "rome"]
    assert [len(run.cases) for run in found] == [10, 10, 10]
    assert read(runs / "rome")[0].setting.dataset == "counterfact"


def test_a_line_that_a_kill_cut_short_is_no_case(runs: Path) -> None:
    file = runs / "rome" / "counterfact-single-1" / "cases.jsonl"
    file.write_text(file.read_text() + '{"case": "case-9')
    assert len(read(runs / "rome")[0].cases) == 10


def test_a_stopped_run_without_rows_is_counted_from_its_cases(runs: Path) -> None:
    (runs / "rome" / "counterfact-single-1" / "rows.json").unlink()
    row = next(row for row in read(runs / "rome")[0].rows if (row["scoring"], row["metric"]) == ("free", "reliability"))
    assert row["value"] == 0.4
    assert row["low"] <= 0.4 <= row["high"]


def test_what_is_no_run_says_so(tmp_path: Path, runs: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no run at"):
        read(tmp_path / "nothing")
    settings = runs / "rome" / "counterfact-single-1" / "run.json"
    settings.write_text('{"method": "rome"}')
    with pytest.raises(InputError, match="does not say model, dataset, protocol, edits"):
        read(runs)
    settings.write_text("[]")
    with pytest.raises(InputError, match="holds no object"):
        read(runs)


def test_scope_rows_are_told_from_other_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('{"rows": [{"metric": "reliability"}]}')
    with pytest.raises(InputError, match="no rows of a scope"):
        read_scope_rows(tmp_path / "rows.json")


# ------------------------------------------------------------------------------------------------------------ comparing


def test_a_paired_difference_worked_by_hand() -> None:
    # Of 10 pairs 9 are equal and one differs by 1: a resample's mean is k/10 with k ~ Binomial(10, 1/10).
    found = differences([[1.0] + [0.0] * 9], draws=20_000)[0]
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == (0.0, pytest.approx(0.3))  # P(k > 3) = 0.013, P(k > 2) = 0.070
    assert found.p == pytest.approx(2 * 0.9**10, abs=0.02)  # a resample is at 0 where it leaves the one out


def test_a_difference_agrees_with_a_slow_bootstrap() -> None:
    rng = random.Random(3)
    gaps = [rng.choice([-1.0, 0.0, 0.0, 1.0, 1.0]) for _ in range(40)]
    found = differences([gaps])[0]
    means = sorted(sum(rng.choices(gaps, k=40)) / 40 for _ in range(5_000))
    assert found.value == pytest.approx(sum(gaps) / 40)
    assert (found.low, found.high) == (pytest.approx(means[125], abs=0.03), pytest.approx(means[4875], abs=0.03))
    below = sum(mean <= 0 for mean in means) / 5_000
    assert found.p == pytest.approx(2 * below, abs=0.01)


def test_a_difference_is_seeded_and_its_own() -> None:
    gaps, other = [0.0, 1.0, 0.5, -0.25] * 5, [1.0, 0.0] * 10
    alone = differences([gaps], seed=7)[0]
    assert differences([other, gaps, [1.0]], seed=7)[1] == alone
    assert differences([gaps], seed=8)[0] != alone
    turned = differences([[-gap for gap in gaps]], seed=7)[0]
    assert (turned.value, turned.low, turned.high, turned.p) == (
        pytest.approx(-alone.value),
        pytest.approx(-alone.high),
        pytest.approx(-alone.low),
        alone.p,
    )
    with pytest.raises(ValueError, match="at least one pair"):
        differences([[]])


def test_no_difference_at_all_is_certain() -> None:
    same = differences([[0.0] * 30])[0]
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_holm_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_methods_are_compared_on_the_cases_that_both_have(tmp_path: Path) -> None:
    write_run(tmp_path, "memory", some(10, range(10)))
    write_run(tmp_path, "rome", some(6, [0, 1, 2]))
    found = [one for one in report(read(tmp_path)).comparisons if one.metric == "reliability"]
    free = next(one for one in found if one.scoring == "free")
    assert (free.method, free.against, free.difference.cases, free.difference.value) == ("rome", "memory", 6, -0.5)
    assert next(one for one in found if one.scoring == "teacher_forced").difference.value == 0


def test_the_method_compared_with_can_be_chosen(runs: Path) -> None:
    made = report(read(runs), against="rome")
    assert {(one.method, one.against) for one in made.comparisons} == {("memory", "rome")}
    with pytest.raises(InputError, match="no run is of 'memit'; there are: base, memory, rome"):
        report(read(runs), against="memit")


def test_one_method_is_compared_with_the_unedited_model(tmp_path: Path) -> None:
    """Where there is but one; a setting with two is compared as ever, and neither minus the unedited model."""
    write_run(tmp_path, "base", some(10, [0]))
    write_run(tmp_path, "rome", some(10, range(4)))
    for method in ("base", "memory", "rome"):
        write_run(tmp_path, method, some(10, [0]), protocol="loaded", edits=10)
    made = report(read(tmp_path))
    pairs = {(one.setting.protocol, one.method, one.against) for one in made.comparisons}
    assert pairs == {("single", "rome", "base"), ("loaded", "rome", "memory")}
    free = next(one for one in made.comparisons if (one.scoring, one.metric) == ("free", "reliability"))
    assert (free.setting.protocol, free.difference.value) == ("loaded", 0)
    single = [one for one in made.comparisons if one.setting.protocol == "single" and one.scoring == "free"]
    assert next(one for one in single if one.metric == "reliability").difference.value == pytest.approx(0.3)
    written = to_markdown(made)
    assert written.index("Differences from memory") != written.index("Differences from base")
    assert "minus base" in to_html(made)


# --------------------------------------------------------------------------------------------------------------- tables


def test_scorings_never_share_a_table(runs: Path) -> None:
    tables = report(read(runs)).tables
    assert [table.scoring for table in tables] == ["free", "teacher_forced"]
    free, forced = (
        {line.method: line.cells[0].value for line in table.lines if line.over == "all" and line.cells[0]}
        for table in tables
    )
    assert free == {"base": 0.0, "memory": 0.9, "rome": 0.4}
    assert forced == pytest.approx({"base": 0.1, "memory": 0.9, "rome": 0.9})


def test_scores_are_over_all_and_over_known_cases(runs: Path) -> None:
    table = report(read(runs)).tables[0]
    rome = {line.over: line for line in table.lines if line.method == "rome"}
    assert (rome["all"].cases, rome["known"].cases) == (10, 5)
    assert rome["all"].cells[0] is not None
    assert rome["known"].cells[0] is not None
    assert (rome["all"].cells[0].value, rome["known"].cells[0].value) == (0.4, 0.4)
    assert (rome["all"].cells[0].low, rome["all"].cells[0].high) == (pytest.approx(0.35), pytest.approx(0.45))


def test_the_best_is_marked_and_never_the_unedited_model(runs: Path) -> None:
    table = report(read(runs)).tables[0]
    best = {
        metric: {line.method for line in table.lines if line.over == "all" and (cell := line.cells[at]) and cell.best}
        for at, metric in enumerate(table.metrics)
    }
    assert best["reliability"] == {"memory"}
    assert best["locality"] == {"memory"}  # base has 1 too
    assert best["seconds_per_edit"] == set()  # all are equal


def test_two_runs_of_one_method_keep_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "one", "memory", some(4, range(4)))
    write_run(tmp_path / "two", "memory", some(4, [0]))
    made = report([*read(tmp_path / "one"), *read(tmp_path / "two")])
    assert made.methods == ("memory", "memory (2)")
    assert {
        one.difference.value for one in made.comparisons if one.metric == "reliability" and one.scoring == "free"
    } == {-0.75}


def test_the_unedited_model_of_two_runs_is_no_method(tmp_path: Path) -> None:
    for name, method in (("one", "alphaedit"), ("two", "rome")):
        write_run(tmp_path / name, "base", some(4, [], kept=1.0))
        write_run(tmp_path / name, method, some(4, [0, 1], kept=0.5))
    made = report([*read(tmp_path / "one"), *read(tmp_path / "two")])
    assert made.methods == ("base", "base (2)", "alphaedit", "rome")
    assert {run.settings["method"] for run in made.runs} == {"base", "alphaedit", "rome"}
    assert [run.method for run in made.runs if run.unedited] == ["base", "base (2)"]
    assert {(one.method, one.against) for one in made.comparisons} == {("rome", "alphaedit")}
    assert not any(cell and cell.best for line in made.tables[0].lines for cell in line.cells if line.unedited)
    assert {one.method for one in made.worst} == {"alphaedit", "rome"}
    radars = [figure.title for figure in made.figures if isinstance(figure, Radar)]
    assert radars == ["base", "alphaedit", "rome"]


def test_nothing_to_show_is_said() -> None:
    with pytest.raises(InputError, match="nothing to report"):
        report([])


def test_worst_cases_are_known_ones_first_and_wrong_replies_first(runs: Path) -> None:
    made = report(read(runs), worst=4).worst
    assert {one.method for one in made} == {"memory", "rome"}  # the unedited model fails by nature
    rome = [one for one in made if one.method == "rome"]
    assert [(one.case, one.known) for one in rome] == [
        ("case-4", True),
        ("case-6", True),
        ("case-8", True),
        ("case-5", False),
    ]
    assert [reply["right"] for reply in rome[0].replies] == [False, True]
    assert [one.case for one in made if one.method == "memory"] == ["case-9"]


# -------------------------------------------------------------------------------------------------------------- figures


def test_curves_against_edits_seconds_and_place(tmp_path: Path) -> None:
    for edits, right in ((10, 9), (20, 10)):
        for method, held in (("memory", right), ("rome", right // 2)):
            cases = some(edits, range(held))
            write_run(tmp_path, method, cases, protocol="sequential", edits=edits)
    made = {figure.name: figure for figure in report(read(tmp_path)).figures}
    curve = made["edits-free-reliability-counterfact-sequential-pocket"]
    assert isinstance(curve, Plot)
    assert [(series.name, [(p.x, p.y) for p in series.points]) for series in curve.series] == [
        ("memory", [(10, 0.9), (20, 0.5)]),
        ("rome", [(10, 0.4), (20, 0.25)]),
    ]
    retention = next(figure for name, figure in made.items() if name.startswith("retention"))
    assert isinstance(retention, Plot)
    memory = retention.series[0].points  # of 20 edits the first 10 hold, so those with 10 or more after them
    assert [(point.x, point.y) for point in memory][:3] == [(1.0, 0.0), (3.0, 0.0), (5.0, 0.0)]
    assert [(point.x, point.y) for point in memory][-1] == (19.0, 1.0)
    seconds = next(figure for name, figure in made.items() if name.startswith("seconds-edit"))
    assert isinstance(seconds, Plot)
    assert seconds.series[1].points[0].x == 0.5
    assert seconds.series[1].points[0].y == pytest.approx(3 / (4 + 4 + 1))  # of 1/4, 1/4 and 1


def test_a_radar_per_method_and_the_gap_between_scorings(runs: Path) -> None:
    figures = report(read(runs)).figures
    radars = [figure for figure in figures if isinstance(figure, Radar)]
    assert [radar.title for radar in radars] == ["base", "memory", "rome"]
    assert radars[2].axes == ("Reliability", "Generalisation", "Locality")
    assert radars[2].values == (0.4, 0.4, pytest.approx(0.8))
    gap = next(figure for figure in figures if isinstance(figure, Gaps))
    assert gap.rows[2] == ("rome", pytest.approx(0.9), 0.4)


def test_recall_against_false_fires_of_a_bench(runs: Path) -> None:
    row = {"scope": "two_stage", "dataset": "zsre", "edits": 100, "query": "alias", "negative": "general"}
    rows = [row | {"recall_at_1pct": 0.9, "recall_at_0.1pct": 0.8}, row | {"query": None, "recall_at_1pct": None}]
    figure = next(one for one in report(read(runs), scope_rows=rows).figures if one.name == "scope-zsre-100")
    assert isinstance(figure, Plot)
    assert [[(point.x, point.y) for point in series.points] for series in figure.series] == [
        [(0.001, 0.8), (0.01, 0.9)]
    ]


def test_recall_against_false_fires_of_a_run(tmp_path: Path) -> None:
    def reply(kind: str, probability: float | None) -> dict[str, Any]:
        return {"kind": kind, "prompt": "p", "reply": "r", "expected": [], "right": True, "probability": probability}

    cases = some(2, [0, 1])
    cases[0]["replies"] = [reply("edit", 0.9), reply("neighbour", 0.5), reply("neighbour", None)]
    cases[1]["replies"] = [reply("paraphrase", 0.4), reply("same_subject", 0.1), reply("neighbour", 0.2)]
    write_run(tmp_path, "memory", cases)
    figure = next(one for one in report(read(tmp_path)).figures if one.name.startswith("trade-off"))
    assert isinstance(figure, Plot)
    points = {round(point.x, 3): point.y for point in figure.series[0].points}
    assert points == {0.125: 0.5, 0.25: 1.0, 0.5: 1.0, 0.75: 1.0}  # no false fire: an eighth, for the axis


@pytest.mark.parametrize(
    ("low", "high", "logarithmic", "wanted"),
    [
        (1, 10_000, True, [1, 10, 100, 1000, 10_000]),
        (3, 3, True, [1, 10]),
        (0, 95, False, [0, 20, 40, 60, 80, 100]),
        (2, 2, False, [2.0, 2.2]),
    ],
)
def test_ticks_are_round(low: float, high: float, logarithmic: bool, wanted: list[float]) -> None:
    found = ticks(low, high, logarithmic)
    assert found[: len(wanted)] == pytest.approx(wanted)
    assert found[0] <= low <= high <= found[-1]
    assert len(ticks(1e-6, 1.0, True)) <= 6


def test_numbers_on_an_axis() -> None:
    assert [short(x) for x in (1e-6, 0.001, 0.25, 1, 12.5, 10_000)] == ["10⁻⁶", "0.001", "0.25", "1", "12", "10,000"]


def test_an_svg_is_well_formed_titled_and_escaped() -> None:
    evil = '<script>alert("x")</script>'
    points = (Point(1, 0.5, 0.4, 0.6, evil), Point(10, 1.0))
    for joined in (True, False):
        made = svg(Plot("a-b", evil, evil, evil, evil, (Series(evil, 9, points),), logarithmic=True, joined=joined))
        tree = ElementTree.fromstring(made)
        assert made.startswith("<svg")
        assert "<script" not in made
        titles = [element.text for element in tree if element.tag == "title"]
        assert titles == [evil]
        assert tree.attrib["aria-labelledby"] == "a-b-t a-b-d"
    radar = ElementTree.fromstring(svg(Radar("r", "t", "d", 0, ("a", "b", "c", "d"), (1.0, None, 0.5, 0.0))))
    shape = next(element for element in radar if element.attrib.get("class") == "shape")
    assert len(shape.attrib["points"].split()) == 3
    ElementTree.fromstring(svg(Gaps("g", "t", "d", ((evil, 0.9, 0.1),))))


# ---------------------------------------------------------------------------------------------------------------- files


def test_csv_holds_every_row(runs: Path) -> None:
    made = report(read(runs))
    rows = list(csv.DictReader(io.StringIO(to_csv(made))))
    assert len(rows) == sum(len(run.rows) for run in made.runs)
    row = next(row for row in rows if row["method"] == "rome" and row["metric"] == "reliability")
    assert (row["scoring"], row["over"], row["value"], row["cases"], row["known"]) == ("free", "all", "0.4", "10", "5")


def test_markdown_has_a_heading_per_scoring_and_escapes(tmp_path: Path) -> None:
    write_run(tmp_path, "memory", some(4, range(4)), dataset="a|b")
    write_run(tmp_path, "rome", some(4, [0]), dataset="a|b")
    text = to_markdown(report(read(tmp_path)))
    assert text.count("\n## ") + text.startswith("## ") == 3
    assert "a\\|b" in text
    assert "| rome | 1 | 4 | 25.0 (20.0–30.0) |" in text
    assert "−75.0" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    columns = [len(re.split(r"(?<!\\)\|", line)) for line in tables]
    assert len(set(columns)) <= 3  # two tables of scores and one of differences


def test_values_are_shown_in_their_unit() -> None:
    assert names.shown("free", "reliability", 0.985) == "98.5"
    assert names.shown("teacher_forced", "EM", -0.25) == "−25.0"
    assert names.shown("free", "bytes_per_edit", 38_400.0) == "38.4 kB"
    assert names.shown("free", "seconds_per_edit", 0.01234) == "0.0123"
    assert names.difference("free", "reliability", -0.5) == "−50.0"
    assert names.difference("free", "GE", 0.5) == "+0.5 bits"
    assert names.label("one_hop") == "One hop"
    assert names.label("reliability_judged") == "Reliability, judged"
    assert names.ordered("free", ["zebra", "locality", "reliability", "seconds_per_edit"]) == [
        "reliability",
        "zebra",
        "locality",
        "seconds_per_edit",
    ]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours `#rrggbb` (WCAG 2.2)."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_both_dresses_have_contrast_for_everybody() -> None:
    from importlib.resources import files

    style = files("memedit.evaluation").joinpath("page", "page.css").read_text("utf-8")
    dresses = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part)) for part in re.findall(r":root \{(.*?)\}", style, re.S)
    ]
    assert len(dresses) == 2
    for colours in dresses:
        for words in ("ink", "soft", "accent", "good", "bad"):
            for ground in ("paper", "card", "wash"):
                assert contrast(colours[words], colours[ground]) >= 4.5, (words, ground)
        for slot in range(8):
            assert contrast(colours[f"s{slot}"], colours["card"]) >= 3, slot


def test_the_page_needs_nothing_from_outside(runs: Path) -> None:
    page = to_html(report(read(runs)), "A & B")
    assert "<title>A &amp; B</title>" in page
    assert not re.search(r"""(?:src|href)="(?!#|data:)""", page)
    assert not re.search(r"@import|url\(", page)
    assert all('scope="' in head or "scope=col" in head for head in re.findall(r"<th[ >][^>]*", page))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_what_a_reply_says_is_text(tmp_path: Path) -> None:
    evil = '</summary><script>document.title="owned"</script><img src=x onerror="document.title=1">'
    cases = some(2, [])
    for one in cases:
        one["case"] = evil
        one["replies"][0].update(prompt=evil, reply=evil, expected=[evil], before=evil, kind=evil)
    write_run(tmp_path, "memory", cases, settings={"note": evil})
    page = to_html(report(read(tmp_path)))
    assert page.count("<script") == 1
    assert "<img" not in page
    assert "&lt;script&gt;" in page


# -------------------------------------------------------------------------------------------------------------- command


def run_cli(*arguments: object) -> Any:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


def test_the_command_writes_what_is_asked_for(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures are drawn by the extra bench")
    html, table, text, pictures = (tmp_path / name for name in ("r.html", "r.csv", "r.md", "png"))
    found = run_cli(
        "report", runs, "--html", html, "--csv", table, "--markdown", text, "--png", pictures, "--title", "T"
    )
    assert found.exit_code == 0, found.output
    assert "<title>T</title>" in html.read_text()
    assert table.read_text().startswith("method,model,")
    assert text.read_text().startswith("## Free generation")
    drawn = sorted(pictures.iterdir())
    assert len(drawn) == len(report(read(runs)).figures)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in drawn)


def test_the_command_prints_rows(runs: Path) -> None:
    found = run_cli("report", runs, "--json")
    said = json.loads(found.stdout)
    assert {row["method"] for row in said["rows"]} == {"base", "memory", "rome"}
    one = next(row for row in said["comparisons"] if (row["scoring"], row["metric"]) == ("free", "reliability"))
    assert (one["method"], one["against"], one["difference"], one["edits"]) == (
        "rome",
        "memory",
        pytest.approx(-0.5),
        1,
    )
    plain = run_cli("report", runs)
    assert "rome\tcounterfact\tsingle\t1\tfree\treliability\tall\t0.4" in plain.stdout


def test_the_command_says_what_is_wrong(runs: Path, tmp_path: Path) -> None:
    absent = run_cli("report", tmp_path / "none")
    assert absent.exit_code == 2
    assert "there is no run at" in absent.stderr
    nowhere = run_cli("report", runs, "--html", tmp_path / "no" / "folder.html")
    assert nowhere.exit_code == 2
    assert "cannot be written" in nowhere.stderr


# -------------------------------------------------------------------------------------------------------------- browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def file(runs: Path, tmp_path: Path) -> Path:
    """A page with long words and hostile replies, of three methods on two numbers of edits."""
    evil = '<script>document.title="owned"</script><img src="http://127.0.0.1:9/x" onerror="document.title=1">'
    cases = some(12, [0, 3])
    for one in cases:
        one["replies"][0]["reply"] = evil + "w" * 300
    write_run(runs, "fine_tune", cases)
    for edits in (5, 50):
        write_run(runs, "memory", some(5, [1, 2]), protocol="sequential", edits=edits)
    made = tmp_path / "report.html"
    made.write_text(to_html(report(read(runs)), "Checked"), encoding="utf-8")
    return made


def test_in_a_browser(browser: Any, file: Path) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        for width in (1280, 375):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            said, asked = [], []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(file.as_uri())
            page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.title() == "Checked"
            assert said == []
            assert asked == [file.as_uri()]
            grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
            page.close()
    assert grounds["light"] != grounds["dark"]


def test_tables_sort_methods_hide_and_cases_are_searched(browser: Any, file: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(file.as_uri())
    table = page.locator("table.sortable", has_text="single").first
    names_shown = "rows => rows.filter(row => !row.hidden).map(row => row.dataset.method)"
    rows = table.locator("tbody tr")
    page.locator("[data-hides='over known']").uncheck()
    assert rows.evaluate_all(names_shown) == ["base", "memory", "fine_tune", "rome"]
    table.get_by_role("button", name="Reliability").click()
    assert rows.evaluate_all(names_shown) == ["memory", "rome", "fine_tune", "base"]
    assert table.locator("th[aria-sort=descending]").inner_text().startswith("Reliability")
    table.get_by_role("button", name="Reliability").click()
    assert rows.evaluate_all(names_shown) == ["base", "fine_tune", "rome", "memory"]
    page.locator("[data-hides='method base']").uncheck()
    assert rows.evaluate_all(names_shown) == ["fine_tune", "rome", "memory"]
    cases = page.locator(".case:visible")
    before = cases.count()
    page.get_by_role("searchbox").fill("town 9 is")
    assert 0 < cases.count() < before
    assert all("Town 9" in text for text in cases.all_inner_texts())
    page.close()


def test_without_scripts_the_page_is_whole(browser: Any, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.get_by_role("searchbox").count() == 0  # what needs the script is not shown without it
    assert page.locator("table").first.is_visible()
    assert page.locator("figure svg").count() > 5
    context.close()
