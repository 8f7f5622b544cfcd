"""The report's figures as PNG files, for slides and papers; the page draws the same ones by `_svg.py`.

Matplotlib comes with the extra `bench` and is imported only when a picture is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memedit.errors import InputError
from memedit.evaluation._figures import Figure, Gaps, Plot, Radar

COLOURS = ("#2b5fd9", "#c2410c", "#0f7a5a", "#8b3fc4", "#a16207", "#be185d", "#0e7490", "#4d5563")
"""The page's slots in its light dress."""

_MARKS, _LINES = "osD^", ("-", "--", ":", "-.")


def write_png(figures: Iterable[Figure], folder: Path) -> list[Path]:
    """Write `NAME.png` of each figure into a folder, which is made; -> the files.

    Raises InputError where matplotlib is not installed or the folder cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise InputError("pictures are drawn by matplotlib, which is not installed: pip install 'memedit[bench]'")
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in figures:
            path = folder / f"{figure.name}.png"
            path.write_bytes(_DRAW[type(figure)](figure))
            written.append(path)
    except OSError as error:
        raise InputError(f"pictures cannot be written to {folder}: {error.strerror}") from error
    return written


def _look(slot: int) -> dict[str, Any]:
    turn = slot // len(COLOURS)
    return {
        "color": COLOURS[slot % len(COLOURS)],
        "marker": _MARKS[slot % len(_MARKS)],
        "linestyle": _LINES[turn % len(_LINES)],
        "markersize": 5,
        "linewidth": 1.4,
    }


def _plot(figure: Plot) -> bytes:
    canvas, axes = _canvas()
    for series in figure.series:
        look = _look(series.slot) | ({} if figure.joined else {"linestyle": "none"})
        x, y = [point.x for point in series.points], [100 * point.y for point in series.points]
        axes.plot(x, y, label=series.name, **look)
        for point in series.points:
            if point.low is not None and point.high is not None:
                axes.vlines(point.x, 100 * point.low, 100 * point.high, color=look["color"], linewidth=0.9, alpha=0.7)
    axes.set(
        xlabel=figure.x_label,
        ylabel=f"{figure.y_label}, %",
        title=figure.title,
        ylim=(-2, 102),
        xscale="log" if figure.logarithmic else "linear",
    )
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _png(canvas)


def _radar(figure: Radar) -> bytes:
    import numpy as np

    canvas, axes = _canvas(projection="polar")
    known = [(number, value) for number, value in enumerate(figure.values) if value is not None]
    angles = [2 * np.pi * number / len(figure.axes) for number, _ in known]
    shares = [100 * value for _, value in known]
    colour = COLOURS[figure.slot % len(COLOURS)]
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    axes.plot([*angles, *angles[:1]], [*shares, *shares[:1]], color=colour, marker="o", markersize=4, linewidth=1.4)
    axes.fill(angles, shares, color=colour, alpha=0.18)
    axes.set_xticks([2 * np.pi * number / len(figure.axes) for number in range(len(figure.axes))], figure.axes)
    axes.set(ylim=(0, 100), yticks=(25, 50, 75, 100), title=figure.title)
    axes.tick_params(labelsize=8, pad=10)
    return _png(canvas)


def _gaps(figure: Gaps) -> bytes:
    canvas, axes = _canvas()
    places = range(len(figure.rows))
    forced, free = [100 * row[1] for row in figure.rows], [100 * row[2] for row in figure.rows]
    axes.hlines(places, forced, free, color="#b5b9c2", linewidth=2)
    axes.plot(forced, places, "o", markerfacecolor="white", color=COLOURS[0], label="teacher-forced")
    axes.plot(free, places, "o", color=COLOURS[0], label="free generation")
    axes.set_yticks(places, [row[0] for row in figure.rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(-2, 102), xlabel="score, %", title=figure.title)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _png(canvas)


def _canvas(**options: Any) -> tuple[Any, Any]:
    # not pyplot: it picks a window system and keeps every figure
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(8, 4.5), layout="constrained")
    return canvas, canvas.subplots(subplot_kw=options)


def _png(canvas: Any) -> bytes:
    made = io.BytesIO()
    canvas.savefig(made, format="png", dpi=130, metadata={"Software": None})
    return made.getvalue()


_DRAW: dict[type, Callable[..., bytes]] = {Plot: _plot, Radar: _radar, Gaps: _gaps}
