"""How well a score separates, as pure functions of ranks: recall at a false-fire rate, AUROC, EER, calibration error.

Scores are only compared, so ties and scale do not matter; a threshold is always strict, so that a gate that gives all
the same score has recall 0, not 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ranks(pairs: Sequence[tuple[float, float]]) -> NDArray[np.int64]:
    """The place of each (probability, score) among all, ordered by the first, then the second; equal pairs share one.

    A calibrated probability saturates near 0 and 1; the raw score tells apart what it no longer does.
    """
    if not pairs:
        return np.empty(0, dtype=np.int64)
    return np.unique(np.asarray(pairs, dtype=np.float64), axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def threshold(negatives: ArrayLike, rate: float) -> float:
    """The lowest score that at most the share `rate` of negatives exceeds: firing means score > threshold.

    NaN where there are fewer than 1 / rate negatives, so that no rate is claimed that was not observable.
    """
    falling = np.sort(np.asarray(negatives, dtype=np.float64))[::-1]
    allowed = int(np.floor(rate * len(falling) + 1e-9))
    return float(falling[allowed]) if 0 < allowed < len(falling) else float("nan")


def recall(positives: ArrayLike, right: ArrayLike, above: float) -> float:
    """Share in [0, 1] of positives that score above the threshold with the right edit in front."""
    scores = np.asarray(positives, dtype=np.float64)
    if not len(scores) or np.isnan(above):
        return float("nan")
    return float(np.mean((scores > above) & np.asarray(right, dtype=bool)))


def auroc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Probability in [0, 1] that a positive scores above a negative, a tie counting half (Mann and Whitney 1947)."""
    pos, neg = np.sort(np.asarray(positives, dtype=np.float64)), np.sort(np.asarray(negatives, dtype=np.float64))
    if not len(pos) or not len(neg):
        return float("nan")
    below = np.searchsorted(neg, pos, side="left")
    upto = np.searchsorted(neg, pos, side="right")
    return float((below + upto).sum() / (2 * len(pos) * len(neg)))


def equal_error_rate(positives: ArrayLike, negatives: ArrayLike) -> float:
    """The rate at which false fires and misses are equal, in [0, 1]; between two thresholds it is interpolated."""
    pos, neg = np.sort(np.asarray(positives, dtype=np.float64)), np.sort(np.asarray(negatives, dtype=np.float64))
    if not len(pos) or not len(neg):
        return float("nan")
    cuts = np.unique(np.concatenate([pos, neg]))
    # Misses at "score > cut" rise from the first cut to the last, false fires fall; one more cut below them all.
    misses = np.concatenate([[0.0], np.searchsorted(pos, cuts, side="right") / len(pos)])
    fires = np.concatenate([[1.0], 1.0 - np.searchsorted(neg, cuts, side="right") / len(neg)])
    at = int(np.argmax(misses >= fires))
    before, after = fires[at - 1] - misses[at - 1], misses[at] - fires[at]
    share = before / (before + after) if before + after else 0.0
    return float(misses[at - 1] + share * (misses[at] - misses[at - 1]))


def calibration_error(probabilities: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error in [0, 1] over bins of equal width (Naeini et al. 2015)."""
    p, hit = np.asarray(probabilities, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if not len(p):
        return float("nan")
    which = np.minimum((p * bins).astype(int), bins - 1)
    total = np.bincount(which, minlength=bins)
    gaps = np.abs(np.bincount(which, weights=hit - p, minlength=bins))
    return float(gaps[total > 0].sum() / len(p))


def reliability(probabilities: ArrayLike, correct: ArrayLike, bins: int = 15) -> list[tuple[float, float, int]]:
    """(mean probability, share that is correct, how many) of each bin of equal width that holds any."""
    p, hit = np.asarray(probabilities, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    which = np.minimum((p * bins).astype(int), bins - 1)
    return [
        (float(p[which == one].mean()), float(hit[which == one].mean()), int((which == one).sum()))
        for one in np.unique(which)
    ]


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share in [0, 1] after Wilson (1927); NaN where nothing was counted."""
    if not total:
        return float("nan"), float("nan")
    z, share = 1.959964, count / total
    middle = share + z * z / (2 * total)
    half = z * float(np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)))
    low, high = (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)
    return min(max(0.0, low), share), max(min(1.0, high), share)


def recall_interval(
    positives: ArrayLike, right: ArrayLike, negatives: ArrayLike, rate: float, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of `recall` at `threshold(negatives, rate)`, by a bootstrap of both sides; NaN as there.

    Resampling n negatives moves the threshold to the order statistic of rank floor(n B) with B from Beta(k, n - k + 1),
    k being the rank of the threshold itself: drawn so, no sample has to be made. The share above it is drawn from its
    posterior under Jeffreys' prior, so that a recall of 1 has an interval too.
    """
    neg = np.sort(np.asarray(negatives, dtype=np.float64))[::-1]
    pos, hit = np.asarray(positives, dtype=np.float64), np.asarray(right, dtype=bool)
    allowed = int(np.floor(rate * len(neg) + 1e-9))
    if not len(pos) or not 0 < allowed < len(neg):
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    place = np.floor(len(neg) * random.beta(allowed + 1, len(neg) - allowed, size=draws)).astype(int)
    above = np.sort(pos[hit])
    counts = len(above) - np.searchsorted(above, neg[np.minimum(place, len(neg) - 1)], side="right")
    shares = random.beta(counts + 0.5, len(pos) - counts + 0.5)
    low, high = np.percentile(shares, [2.5, 97.5])
    here = recall(pos, hit, float(neg[allowed]))
    return min(float(low), here), max(float(high), here)


def trade_off(positives: ArrayLike, right: ArrayLike, negatives: ArrayLike) -> tuple[list[float], list[float]]:
    """(false-fire rates, recalls) from the strictest threshold to the loosest, one point per number of false fires."""
    neg = np.sort(np.asarray(negatives, dtype=np.float64))[::-1]
    above = np.sort(np.asarray(positives, dtype=np.float64)[np.asarray(right, dtype=bool)])
    if not len(neg) or not len(np.asarray(positives)):
        return [], []
    fires = np.unique(np.geomspace(1, len(neg), 200).astype(int)) - 1
    recalls = (len(above) - np.searchsorted(above, neg[fires], side="right")) / len(np.asarray(positives))
    return (fires / len(neg)).tolist(), recalls.tolist()


def finite(value: float, digits: int = 4) -> float | None:
    """A figure for a report: rounded, and None where there is none."""
    return None if np.isnan(value) else round(value, digits)
