"""Two methods on the same cases: the difference of their means, how sure it is, and whether chance explains it.

Pairing takes away what the cases themselves differ in, so it sees differences that two separate intervals hide. Pure
functions of numbers; which figures are put side by side is `report.py`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

AT_ONCE = 4_000_000
"""Numbers that one block of draws may hold, 32 MB."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference over `cases` pairs with its 95 % interval and two-sided p in (0, 1]."""

    cases: int
    value: float
    low: float
    high: float
    p: float


def differences(gaps: Sequence[Sequence[float]], *, draws: int = 20_000, seed: int = 0) -> list[Difference]:
    """For each list of pairwise differences (one or more) their mean, by a bootstrap of the pairs.

    The interval is the percentile interval; p is the smallest level at which that interval leaves out 0, that is twice
    the smaller share of resamples on either side of it (Efron and Tibshirani 1993, chapters 13 and 15), with one added
    to both counts so that it is never 0. A list's figures depend on the seed and on itself alone. Raises ValueError
    for an empty list.
    """
    import numpy as np

    found: dict[int, Difference] = {}
    by_length: dict[int, list[int]] = {}
    for number, pairs in enumerate(gaps):
        by_length.setdefault(len(pairs), []).append(number)
    for cases, numbers in by_length.items():
        if not cases:
            raise ValueError("a difference needs at least one pair")
        # Lists of one length share their draws: how often a pair is drawn is counted once and multiplied with all.
        columns = np.asarray([gaps[number] for number in numbers], np.float64).T
        random, means = np.random.default_rng(seed), np.empty((draws, len(numbers)))
        block = max(1, AT_ONCE // cases)
        for start in range(0, draws, block):
            rows = min(block, draws - start)
            drawn = random.integers(cases, size=(rows, cases)) + cases * np.arange(rows)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=rows * cases).reshape(rows, cases)
            means[start : start + rows] = counts @ columns / cases
        lows, highs = np.percentile(means, [2.5, 97.5], axis=0)
        tiny = 1e-12  # sums of equal terms in another order
        sides = np.minimum((means <= tiny).sum(axis=0), (means >= -tiny).sum(axis=0))
        levels = np.minimum(1.0, 2 * (sides + 1) / (draws + 1))
        for number, mean, low, high, p in zip(numbers, columns.mean(axis=0), lows, highs, levels, strict=True):
            found[number] = Difference(cases, float(mean), float(low), float(high), float(p))
    return [found[number] for number in range(len(gaps))]


def holm(levels: Sequence[float]) -> list[float]:
    """The p values adjusted for how many there are (Holm 1979), in the order given, each in [0, 1]."""
    order = sorted(range(len(levels)), key=levels.__getitem__)
    adjusted, least = [0.0] * len(levels), 0.0
    for place, number in enumerate(order):
        least = max(least, min(1.0, (len(levels) - place) * levels[number]))
        adjusted[number] = least
    return adjusted
