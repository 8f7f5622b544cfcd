"""How metrics are shown: their words, their order, and a value as people read it.

What a metric is stands in `metrics.py`, once; from there come the order, the unit and which end is good. A metric that
is not in that table (of an older run, of another tool) is a share under its own name, after the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import cast

from memedit.evaluation.metrics import JUDGED, Metric, Scoring, table

SCORINGS = {"free": "Free generation", "teacher_forced": "Teacher-forced"}

PARTS = ("Must change", "Must not change", "Costs")
"""How the columns of a table are parted."""

_KEPT = (
    *("locality", "same_subject", "distracting", "forgetfulness", "false_fires", "upstream", "piqa", "perplexity"),
    *("NS", "NM", "zsre_neighbourhood"),
)
_COST = ("seconds", "bytes")
_WORDS = {"same_subject": "other attributes", "distracting": "distracting edit", "one_hop": "one hop"}


@cache
def _known() -> dict[tuple[Scoring, str], tuple[int, Metric]]:
    return {key: (place, metric) for place, (key, metric) in enumerate(table().items())}


def metric(scoring: str, name: str) -> Metric:
    """The metric called so; one that is not in the table is taken for a share."""
    key = cast(Scoring, scoring), name
    return _known()[key][1] if key in _known() else Metric(name, key[0], "", "", "")


def ordered(scoring: str, names: Iterable[str]) -> list[str]:
    """Names by part, then in the table's order, then by name."""
    places = {name: place for (known, name), (place, _) in _known().items() if known == scoring}
    return sorted(names, key=lambda name: (part(scoring, name), places.get(name, len(_known())), name))


def part(scoring: str, name: str) -> int:
    """The index in `PARTS` of the part that a metric's column belongs to."""
    return 2 if metric(scoring, name).unit in _COST else 1 if name.startswith(_KEPT) else 0


def label(name: str) -> str:
    """A metric's name as words; capitals and CounterFact's short names stay."""
    plain = name.removesuffix(JUDGED)
    words = _WORDS.get(plain, plain).replace("_", " ").replace("piqa", "PIQA").replace("zsre", "zsRE")
    words = words if words.startswith("zsRE") else words[:1].upper() + words[1:]
    return words + (", judged" if name.endswith(JUDGED) else "")


def percent(share: float) -> str:
    """A share in [0, 1] as people read it."""
    return f"{100 * share:.1f} %"


def shown(scoring: str, name: str, value: float) -> str:
    """A value in its unit, short enough for a table; shares and differences are in per cent without the sign."""
    return _SHOWN.get(metric(scoring, name).unit, "{:.3g}".format)(value)


def difference(scoring: str, name: str, value: float) -> str:
    """A difference of two values, with its sign; of shares in percentage points, of others in their unit."""
    unit = heading_unit(scoring, name)
    said = f"{100 * value:+.1f}" if unit == "%" else f"{value:+.3g}{f' {unit}' if unit else ''}"
    return said.replace("-", "−")


def heading_unit(scoring: str, name: str) -> str:
    """The unit as a column's heading has it."""
    return _UNITS.get(unit := metric(scoring, name).unit, unit)


def _size(value: float) -> str:
    for unit in ("B", "kB", "MB"):
        if abs(value) < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


_SHOWN = {
    "share": lambda value: f"{100 * value:.1f}",
    "difference": lambda value: f"{100 * value:+.1f}".replace("-", "−"),
    "bits": "{:.2f}".format,
    "bytes": _size,
    "seconds": "{:.3g}".format,
}
_UNITS = {"share": "%", "difference": "%", "seconds": "s", "perplexity": "", "bytes": ""}
