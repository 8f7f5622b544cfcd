"""Calibration: from a score to a probability, and from a false-fire rate that a user picks to a threshold.

A calibration is figures in a file, measured on held-out pairs by `python -m memedit.training.<scope>` or by `memedit
calibrate`: a logistic map of the score, and, for memories of several sizes, the score that a given share of unrelated
questions exceeds. The file sits beside its scope. It is not an entry of the registry, hence the underscore.

A scope of one score reads a `Calibration`. One of two stages reads a `TwoStageCalibration`: the floor between them, how
their scores are weighed, and a Calibration for each way to use them (both, or one alone).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from memedit.errors import InputError

if TYPE_CHECKING:
    from memedit.memory import EditMemory

BOTH = "both"
STAGES = (BOTH, "proposer", "verifier")


@dataclass(frozen=True)
class Calibration:
    """What was measured. `thresholds[edits][rate]` is the score that the share `rate` of unrelated questions exceeds
    when the memory holds `edits`; `slope` and `intercept` map a score to a probability in (0, 1). No threshold is above
    `ceiling`, the highest score there is. `growth` says what is done beyond the largest size that was measured."""

    encoder: str
    slope: float
    intercept: float
    thresholds: dict[int, dict[float, float]]
    ceiling: float = 1.0
    growth: Literal["slope", "union"] = "slope"
    named: dict[int, dict[float, float]] | None = None
    """Thresholds for edits whose subject the question names, where they have their own; then `thresholds` are those for
    all other edits."""

    def probability(self, score: float) -> float:
        """The probability that a question with this score falls under the edit; rises with the score."""
        odds = self.slope * score + self.intercept
        return 1.0 / (1.0 + math.exp(-odds)) if odds > -700.0 else 0.0

    def score_of(self, probability: float) -> float:
        """The score whose `probability` is this one, in (0, 1)."""
        return (math.log(probability / (1.0 - probability)) - self.intercept) / self.slope

    def score(self, false_fire: float, edits: int) -> float:
        """The score from which a candidate is in scope, for a rate in (0, 1) and a memory of `edits`.

        Between measured rates and sizes it is interpolated on logarithmic axes. A rate below the smallest that was
        measured goes on along the last piece. Beyond the largest size, with growth by "slope", the last slope goes on;
        with "union", the union bound takes over: a memory n times as large is n memories of that size, so each may fire
        at 1/n of the rate. Then, too, more edits never lower the threshold.
        """
        return self._score(self.thresholds, self.growth, false_fire, edits)

    def bounds(self, false_fire: float, edits: int) -> tuple[float, float]:
        """(the score from which an edit is in scope, what is taken first from the score of one that is not named).

        The latter is never negative: in a small memory hardly anything is near by chance, but what is near, and asks
        about another name, would fire.
        A memory twice as large holds twice as many edits that are near a question by chance, but not twice as many
        whose subject it names: thresholds for those stay, beyond the largest size, as they were measured there.
        """
        others = self.score(false_fire, edits)
        if self.named is None:
            return others, 0.0
        named = self._score(self.named, "slope", false_fire, min(edits, max(self.named)))
        return named, max(0.0, others - named)

    def _score(
        self, thresholds: Mapping[int, Mapping[float, float]], growth: str, false_fire: float, edits: int
    ) -> float:
        if not 0 < false_fire < 1:
            raise InputError(f"false_fire is a share of questions, in (0, 1), not {false_fire}")
        edits = max(edits, 1)
        largest = max(thresholds)
        if growth == "union" and edits > largest:
            false_fire, edits = false_fire * largest / edits, largest
        by_size = [
            (math.log(size), _along([(math.log(rate), score) for rate, score in table.items()], math.log(false_fire)))
            for size, table in sorted(thresholds.items())
        ]
        if growth == "union":
            by_size = [(size, max(score for _, score in by_size[: at + 1])) for at, (size, _) in enumerate(by_size)]
            if edits <= min(thresholds):
                return min(self.ceiling, by_size[0][1])
        return min(self.ceiling, _along(by_size, math.log(edits)))


@dataclass(frozen=True, kw_only=True)
class TwoStageCalibration:
    """What was measured of an encoder and a verifier together.

    `floor` is the cosine below which the verifier is not asked. `weights` (of the verifier's log odds, of the cosine,
    and a constant) make one score of both. `stages` holds a Calibration for "both", where the score is that sum, for
    "proposer", where it is the cosine, and for "verifier", where it is the log odds. `multi_hop` is the probability
    from which a question is taken for a multi-hop one (None: none is), `multi_hop_floor` the cosine down to which its
    candidates are shown. `negatives[kind][edits]` counts the questions that the thresholds were measured on.
    """

    encoder: str
    verifier: str
    floor: float
    weights: tuple[float, float, float]
    stages: Mapping[str, Calibration]
    multi_hop: float | None = None
    multi_hop_floor: float = -1.0
    negatives: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else is to be kept in the file: how it was made, what recall was left."""

    def score(self, logit: float, cosine: float) -> float:
        """Both stages' scores as one, in log odds."""
        a, b, c = self.weights
        return a * logit + b * cosine + c

    def write(self, path: Path) -> None:
        """Write it to a file, from which `load_two_stage` reads the same. Raises InputError where that cannot be."""
        a, b, c = self.weights
        data = {
            **self.facts,
            "scope": "two_stage",
            "encoder": self.encoder,
            "verifier": self.verifier,
            "floor": self.floor,
            "weights": {"logit": a, "cosine": b, "constant": c},
            "multi_hop": self.multi_hop,
            "multi_hop_floor": self.multi_hop_floor,
            "stages": {
                name: {
                    "slope": one.slope,
                    "intercept": one.intercept,
                    "thresholds": _written(one.thresholds),
                }
                | ({} if one.named is None else {"named": _written(one.named)})
                for name, one in self.stages.items()
            },
            "negatives": {
                kind: {str(size): count for size, count in sizes.items()} for kind, sizes in self.negatives.items()
            },
        }
        try:
            path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"the calibration cannot be written to {path}: {error.strerror}") from error


MANY = 5_000
"""Edits from which it does not matter what was written since the last search."""


class Sizes:
    """How many edits a namespace holds, within 1 %: counted anew only when enough was written to matter."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[EditMemory, dict[str, tuple[int, int]]] = WeakKeyDictionary()

    def __call__(self, memory: EditMemory, namespace: str) -> int:
        sizes = self._known.setdefault(memory, {})
        at, size = sizes.get(namespace, (-1, 0))
        # To ask anew takes as long as a twentieth of the decision, and of many edits a hundredth is many.
        head = memory.journal.seen if size >= MANY else memory.journal.head()
        if at < 0 or abs(head - at) > size // 100:
            at, size = head, memory.count(namespace)
            sizes[namespace] = at, size
        return size


def load_calibration(path: Path) -> Calibration:
    """The calibration in a file. Raises InputError where it is not there or not whole."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _calibration(data, str(data["encoder"]))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} is no calibration ({type(error).__name__}: {error}); make one with "
            "`python -m memedit.training.similarity --data DIR`"
        ) from error


def load_two_stage(path: Path) -> TwoStageCalibration:
    """The calibration of a two-stage scope in a file. Raises InputError where it is not there or not whole."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        encoder = str(data["encoder"])
        ceilings = {"proposer": 1.0}
        stages = {
            name: _calibration(data["stages"][name], encoder, ceilings.get(name, math.inf), "union") for name in STAGES
        }
        weights = data["weights"]
        bound = None if data.get("multi_hop") is None else float(data["multi_hop"])
        own = {
            "scope",
            "encoder",
            "verifier",
            "floor",
            "weights",
            "multi_hop",
            "multi_hop_floor",
            "stages",
            "negatives",
        }
        return TwoStageCalibration(
            encoder=encoder,
            verifier=str(data["verifier"]),
            floor=float(data["floor"]),
            weights=(float(weights["logit"]), float(weights["cosine"]), float(weights["constant"])),
            stages=stages,
            multi_hop=bound,
            multi_hop_floor=float(data.get("multi_hop_floor", -1.0)),
            negatives={
                kind: {int(size): int(count) for size, count in sizes.items()}
                for kind, sizes in data.get("negatives", {}).items()
            },
            facts={key: value for key, value in data.items() if key not in own},
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} is no calibration of the two_stage scope ({type(error).__name__}: {error}); make one with "
            "`memedit calibrate --data FILE`"
        ) from error


def _calibration(
    data: Mapping[str, Any], encoder: str, ceiling: float = 1.0, growth: Literal["slope", "union"] = "slope"
) -> Calibration:
    table, named = _read(data["thresholds"]), _read(data["named"]) if "named" in data else None
    return Calibration(encoder, float(data["slope"]), float(data["intercept"]), table, ceiling, growth, named)


def _read(data: Mapping[str, Mapping[str, float]]) -> dict[int, dict[float, float]]:
    table = {int(size): {float(rate): float(score) for rate, score in rates.items()} for size, rates in data.items()}
    if not table or not all(table.values()):
        raise ValueError("there are no thresholds in it")
    return table


def _written(thresholds: Mapping[int, Mapping[float, float]]) -> dict[str, dict[str, float]]:
    return {
        str(size): {str(rate): score for rate, score in sorted(table.items(), reverse=True)}
        for size, table in sorted(thresholds.items())
    }


def _along(points: Sequence[tuple[float, float]], x: float) -> float:
    """The piecewise linear line through the points at x; its end pieces go on, flat where there is one point only."""
    points = sorted(points)
    if len(points) == 1:
        return points[0][1]
    pieces = list(pairwise(points))
    (x0, y0), (x1, y1) = next(((left, right) for left, right in pieces if x <= right[0]), pieces[-1])
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
