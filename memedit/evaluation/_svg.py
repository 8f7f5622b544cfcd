"""Figures as inline SVG that takes its colours from the page, light or dark, and needs nothing else.

Drawn small (360 units wide) and laid side by side, so that the letters keep their size on a phone. Series are told
apart by colour, mark and dash at once. `_png.py` draws the same figures for slides and papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from memedit.evaluation._figures import Figure, Gaps, Plot, Point, Radar, Series

WIDTH = 360
SLOTS = 8
"""Colours that the page defines as --s0 … --s7; from there on they come again with another dash."""

_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 26, 42
_HEIGHT = 250


def svg(figure: Figure) -> str:
    """The figure as one `<svg>` element with a title and a description for those who do not see it."""
    return _DRAW[type(figure)](figure)


def colour(slot: int) -> str:
    """The CSS colour of a slot."""
    return f"var(--s{slot % SLOTS})"


def mark(slot: int, x: float, y: float, size: float = 4.0) -> str:
    """The mark of a slot around a point: circle, square, diamond or triangle."""
    fill = f'style="fill:{colour(slot)}"'
    shape = slot % 4
    if shape == 0:
        return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(size)}" {fill}/>'
    if shape == 1:
        side = size * 1.8
        return f'<rect x="{_n(x - side / 2)}" y="{_n(y - side / 2)}" width="{_n(side)}" height="{_n(side)}" {fill}/>'
    reach = size * 1.3
    corners = (
        [(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)]
        if shape == 2
        else [(x, y - reach), (x + reach, y + size), (x - reach, y + size)]
    )
    return f'<polygon points="{_points(corners)}" {fill}/>'


def swatch(slot: int) -> str:
    """A slot's line and mark, for a legend."""
    return (
        f'<svg class="swatch" viewBox="0 0 26 12" width="26" height="12" aria-hidden="true">'
        f'<path d="M1 6H25" {_stroke(slot)}/>{mark(slot, 13, 6, 3.5)}</svg>'
    )


def _n(number: float) -> str:
    """A number as short as a tenth of a unit needs; never an exponent."""
    return f"{number:.1f}".removesuffix(".0")


def _points(corners: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in corners)


def _stroke(slot: int) -> str:
    dash = _DASHES[slot // SLOTS % len(_DASHES)]
    return f'class="line" style="stroke:{colour(slot)}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(words)}</text>'


def _framed(figure: Figure, height: float, inside: Sequence[str]) -> str:
    name = escape(figure.name, quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(figure.title)}</title><desc id="{name}-d">{escape(figure.about)}</desc>'
        f"{''.join(inside)}</svg>"
    )


def ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round numbers from `low` to `high`, at most six steps: powers of ten on a logarithmic axis."""
    if logarithmic:
        first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
        every = max(1, -(-(last - first) // 5))
        return [10.0**power for power in range(first, max(last, first + 1) + every, every)]
    span = high - low or 1.0
    step = 10 ** math.floor(math.log10(span / 5))
    step *= next(times for times in (1, 2, 5, 10) if span / (step * times) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def short(number: float) -> str:
    """A number as an axis has it: 10⁻⁶, 0.001, 0.5, 20, 10,000."""
    if 0 < number < 0.001:
        return "10⁻" + str(-round(math.log10(number))).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{number:,.0f}" if abs(number) >= 10 or number == round(number) else f"{number:.10f}".rstrip("0")


def _plot(figure: Plot) -> str:
    xs = [point.x for series in figure.series for point in series.points]
    at = ticks(min(xs), max(xs), figure.logarithmic)
    scale: Callable[[float], float] = math.log10 if figure.logarithmic else float
    start, span = scale(at[0]), scale(at[-1]) - scale(at[0])

    def place_x(x: float) -> float:
        return _LEFT + (scale(x) - start) / span * (WIDTH - _LEFT - _RIGHT)

    def place_y(y: float) -> float:
        return _HEIGHT - _BOTTOM - min(1.0, max(0.0, y)) * (_HEIGHT - _TOP - _BOTTOM)

    # Where the title says it already, the axis does not say it again.
    drawn = [] if figure.title.startswith(figure.y_label) else [_text(0, 11, figure.y_label, kind="axis")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = place_y(share)
        drawn.append(f'<path class="grid" d="M{_LEFT} {_n(y)}H{WIDTH - _RIGHT}"/>')
        drawn.append(_text(_LEFT - 6, y + 3.5, f"{100 * share:g} %", anchor="end"))
    for number, x in enumerate(at):
        anchor = "start" if number == 0 else "end" if number == len(at) - 1 else "middle"
        drawn.append(f'<path class="grid" d="M{_n(place_x(x))} {_HEIGHT - _BOTTOM}v4"/>')
        drawn.append(_text(place_x(x), _HEIGHT - _BOTTOM + 16, short(x), anchor=anchor))
    drawn.append(_text((_LEFT + WIDTH - _RIGHT) / 2, _HEIGHT - 6, figure.x_label, anchor="middle", kind="axis"))
    for series in figure.series:
        places = [(place_x(point.x), place_y(point.y)) for point in series.points]
        if figure.joined and len(places) > 1:
            path = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in places)
            drawn.append(f'<path d="{path}" {_stroke(series.slot)}/>')
        for point, (x, y) in zip(series.points, places, strict=True):
            drawn.append(_marked(series, point, x, y, place_y))
    if not figure.joined:
        drawn += _labels(figure, place_x, place_y)
    return _framed(figure, _HEIGHT, drawn)


def _marked(series: Series, point: Point, x: float, y: float, place_y: Callable[[float], float]) -> str:
    whisker = ""
    if point.low is not None and point.high is not None:
        top, bottom = place_y(point.high), place_y(point.low)
        whisker = f'<path class="whisker" style="stroke:{colour(series.slot)}" d="M{_n(x)} {_n(top)}V{_n(bottom)}"/>'
    note = f"<title>{escape(point.note)}</title>" if point.note else ""
    return f"<g>{note}{whisker}{mark(series.slot, x, y)}</g>"


def _labels(figure: Plot, place_x: Callable[[float], float], place_y: Callable[[float], float]) -> list[str]:
    """A name beside each series' last mark, on the side with room, pushed up where two would meet."""
    last = [(series, series.points[-1]) for series in figure.series if series.points]
    taken = [(place_x(point.x) - 6, place_x(point.x) + 6, place_y(point.y) + 3.5) for _, point in last]
    drawn = []
    for series, point in sorted(last, key=lambda one: -place_y(one[1].y)):
        x, y = place_x(point.x), place_y(point.y) + 3.5
        leftwards = x > WIDTH / 2
        wide = 6.2 * len(series.name)
        start = x - 9 - wide if leftwards else x + 9
        while any(abs(y - other) < 12 and start < end and begin < start + wide for begin, end, other in taken):
            y -= 12
        taken.append((start, start + wide, y))
        drawn.append(_text(x - 9 if leftwards else x + 9, y, series.name, anchor="end" if leftwards else "start"))
    return drawn


def _radar(figure: Radar) -> str:
    count, reach = len(figure.axes), 82.0
    # The lowest corner of an odd shape lies above the circle's lowest point.
    lowest = max(-math.cos(2 * math.pi * number / count) for number in range(count))
    middle = (WIDTH / 2, 124.0)
    height = middle[1] + reach * lowest + 42

    def place(number: int, share: float) -> tuple[float, float]:
        angle = 2 * math.pi * number / count - math.pi / 2
        return middle[0] + share * reach * math.cos(angle), middle[1] + share * reach * math.sin(angle)

    drawn = [
        f'<polygon class="grid" points="{_points([place(number, share) for number in range(count)])}"/>'
        for share in (0.25, 0.5, 0.75, 1)
    ]
    for number, axis in enumerate(figure.axes):
        x, y = place(number, 1)
        drawn.append(f'<path class="grid" d="M{_n(middle[0])} {_n(middle[1])}L{_n(x)} {_n(y)}"/>')
        x, y = place(number, 1.11)
        side = x - middle[0]
        anchor = "middle" if abs(side) < 8 else "start" if side > 0 else "end"
        value = figure.values[number]
        words = [*_broken(axis), "–" if value is None else f"{100 * value:.0f} %"]
        up = y - middle[1]
        first = y + (4 - 13 * (len(words) - 1) if up < -40 else 6 if up > 40 else 4 - 6.5 * (len(words) - 1))
        for at, line in enumerate(words):
            kind = "tick" if at == len(words) - 1 else "axis"
            drawn.append(_text(x, first + 13 * at, line, anchor=anchor, kind=kind))
    known = [(number, value) for number, value in enumerate(figure.values) if value is not None]
    corners = [place(number, min(1.0, max(0.0, value))) for number, value in known]
    fill = f"fill:{colour(figure.slot)}"
    drawn.append(f'<polygon class="shape" style="{fill};stroke:{colour(figure.slot)}" points="{_points(corners)}"/>')
    drawn += [mark(figure.slot, x, y, 3) for x, y in corners]
    return _framed(figure, height, drawn)


def _broken(words: str) -> list[str]:
    """Words in two lines where they are too long for one."""
    before, blank, after = words.partition(" ")
    return [before, after] if blank and len(words) > 13 else [words]


def _gaps(figure: Gaps) -> str:
    step, top, left, right = 26.0, 34.0, 128.0, 18.0
    height = top + step * len(figure.rows) + 26

    def place(share: float) -> float:
        return left + min(1.0, max(0.0, share)) * (WIDTH - left - right)

    bottom = height - 22
    drawn = []
    for share in (0, 0.5, 1):
        drawn.append(f'<path class="grid" d="M{_n(place(share))} {_n(top - 8)}V{_n(bottom)}"/>')
        drawn.append(_text(place(share), bottom + 14, f"{100 * share:g} %", anchor="middle"))
    drawn.append(f'<circle class="hollow" cx="6" cy="8" r="4.5"/>{_text(16, 12, "teacher-forced", kind="axis")}')
    drawn.append(f'<circle class="full" cx="118" cy="8" r="4.5"/>{_text(128, 12, "free generation", kind="axis")}')
    for number, (label, forced, free) in enumerate(figure.rows):
        y = top + step * number + step / 2 - 6
        note = f"<title>{escape(f'{label}: teacher-forced {100 * forced:.1f} %, free {100 * free:.1f} %')}</title>"
        drawn.append(
            f"{_text(left - 12, y + 4, label, anchor='end', kind='axis')}<g>{note}"
            f'<path class="link" d="M{_n(place(forced))} {_n(y)}H{_n(place(free))}"/>'
            f'<circle class="hollow" cx="{_n(place(forced))}" cy="{_n(y)}" r="4.5"/>'
            f'<circle class="full" cx="{_n(place(free))}" cy="{_n(y)}" r="4.5"/></g>'
        )
    return _framed(figure, height, drawn)


_DRAW: dict[type, Callable[..., str]] = {Plot: _plot, Radar: _radar, Gaps: _gaps}
