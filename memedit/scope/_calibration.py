"""Calibration: from a score to a probability, and from a false-fire rate that a user picks to a threshold.

A calibration is figures in a file, measured on held-out pairs by `python -m memedit.training.<scope>`: a logistic map
of the score, and, for memories of several sizes, the score that a given share of unrelated questions exceeds. The file
sits beside its scope. It is not an entry of the registry, hence the underscore.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from memedit.errors import InputError


@dataclass(frozen=True)
class Calibration:
    """What was measured. `thresholds[edits][rate]` is the score that the share `rate` of unrelated questions exceeds
    when the memory holds `edits`; `slope` and `intercept` map a score to a probability in (0, 1)."""

    encoder: str
    slope: float
    intercept: float
    thresholds: dict[int, dict[float, float]]

    def probability(self, score: float) -> float:
        """The probability that a question with this score falls under the edit; rises strictly with the score."""
        return 1.0 / (1.0 + math.exp(-(self.slope * score + self.intercept)))

    def score(self, false_fire: float, edits: int) -> float:
        """The score from which a candidate is in scope, for a rate in (0, 1) and a memory of `edits`.

        Between measured rates and sizes it is interpolated on logarithmic axes, and beyond the largest size the last
        slope goes on, so that a growing memory is judged more strictly. A rate below the smallest that was measured
        goes on towards 1 likewise.
        """
        if not 0 < false_fire < 1:
            raise InputError(f"false_fire is a share of questions, in (0, 1), not {false_fire}")
        by_size = [
            (math.log(size), _along([(math.log(rate), score) for rate, score in table.items()], math.log(false_fire)))
            for size, table in self.thresholds.items()
        ]
        return min(1.0, _along(by_size, math.log(max(edits, 1))))


def load_calibration(path: Path) -> Calibration:
    """The calibration in a file. Raises InputError where it is not there or not whole."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        table = {
            int(size): {float(rate): float(score) for rate, score in rates.items()}
            for size, rates in data["thresholds"].items()
        }
        return Calibration(str(data["encoder"]), float(data["slope"]), float(data["intercept"]), table)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} is no calibration ({type(error).__name__}: {error}); make one with "
            "`python -m memedit.training.similarity --data DIR`"
        ) from error


def _along(points: Sequence[tuple[float, float]], x: float) -> float:
    """The piecewise linear line through the points at x; its end pieces go on, flat where there is one point only."""
    points = sorted(points)
    if len(points) == 1:
        return points[0][1]
    pieces = list(pairwise(points))
    (x0, y0), (x1, y1) = next(((left, right) for left, right in pieces if x <= right[0]), pieces[-1])
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
