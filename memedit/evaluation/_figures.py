"""Figures as values: what is to be drawn, before anything draws it.

`_svg.py` draws them into the page and `_png.py` by matplotlib, both from these, so that the two cannot tell different
stories. Shares are in [0, 1]; a series keeps its `slot`, hence its colour and mark, in every figure of a report.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A mark at (x, y), with its 95 % interval in y where there is one, and words for whoever points at it."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together; `slot` >= 0 numbers its colour, mark and dash."""

    name: str
    slot: int
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """Shares in y against x: a line per series, or, where `joined` is False, a labelled mark per point.

    `name` serves as a file's name. x must be > 0 where `logarithmic`.
    """

    name: str
    title: str
    about: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    logarithmic: bool = False
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Radar:
    """One shape over three or more axes, each a share in [0, 1]; None where an axis was not measured."""

    name: str
    title: str
    about: str
    slot: int
    axes: tuple[str, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Gaps:
    """Pairs of shares, a line between them: (label, teacher-forced, free)."""

    name: str
    title: str
    about: str
    rows: tuple[tuple[str, float, float], ...]


Figure = Plot | Radar | Gaps
