"""How a two-stage scope is calibrated: scored pairs go in, a file of figures comes out. Pure but for `measure`.

Three figures are taken from pairs that nothing was trained on:

    floor       the cosine that at most one right edit in 200 falls short of
    weights     verifier's log odds and cosine as one score, by logistic regression
    thresholds  for each rate and size of memory, the score that at most that share of out-of-scope questions reaches

The thresholds are split-conformal. Of n held-out questions that are out of scope, sorted by their score, take the k-th
smallest, k = ⌈(n + 1)(1 − rate)⌉: a further question of the same kind exceeds it with a probability of at most `rate`,
whatever the scores' distribution, whatever the models. That assumes that the held-out questions and the user's are
exchangeable: drawn from one source, in no order. It is a promise on average over draws of the held-out questions: with
n of them the rate that comes about scatters around its mean by some √(rate / n). It says nothing about a single
question, nor about a kind of question that was not held out, nor about recall. Hence thresholds are taken from the kind
of negative that needs the highest, and hence `memedit calibrate` for one's own questions.

Rates below 1 / (n + 1) have no such k: they are left out of the file, and what is read from it below its smallest rate
is an extrapolation without the promise. With more edits a question has more chances of a false match: thresholds are
measured at several sizes, never fall as the memory grows, and beyond the largest size follow from the union bound.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memedit.edits import DEFAULT_NAMESPACE, Draft, Message
from memedit.errors import InputError, NotFoundError
from memedit.scope._asked import asked, edit_text, follow_up
from memedit.scope._calibration import BOTH, Calibration, TwoStageCalibration

if TYPE_CHECKING:
    from memedit.encoders import Encoder
    from memedit.memory import EditMemory
    from memedit.scope.two_stage import Judge

RATES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
LOSS = 0.005
"""Share of right edits that the floor may lose."""
FEWEST = 20
"""Pairs, in scope or out of it, below which nothing is measured."""
STEP = 1e-4
"""Figures in the file are multiples of it, rounded to the safe side."""
FITTED_AT = 1000
"""The weights are fitted on negatives against the largest memory that was measured up to this size."""
MOST_AT_ONCE = 512
NAMING = frozenset({"same_subject"})
"""Kinds of negatives that name the subject of an edit, and fire on it where they fire."""
OWN_SHARE = 0.9
"""Of a kind's rate, the part for the edits on which it fires, named or not; the rest is for the others."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Pairs of a question and an edit with both stages' scores, (n, candidates) each; a row is a question.

    NaN stands where there was no candidate. Of a positive only the right edit's pair counts, so it has one column. One
    column may be given as (n,). `named` says of each pair whether the question names the edit's subject.
    """

    cosine: Floats
    logit: Floats
    named: NDArray[np.bool_]

    def __init__(self, cosine: ArrayLike, logit: ArrayLike, named: ArrayLike | None = None) -> None:
        for name, values in (("cosine", cosine), ("logit", logit)):
            array = np.asarray(values, np.float64)
            object.__setattr__(self, name, array.reshape(len(array), -1) if array.size else array.reshape(0, 1))
        if self.cosine.shape != self.logit.shape:
            raise InputError(f"cosines have the shape {self.cosine.shape}, log odds {self.logit.shape}")
        marks = np.zeros(self.cosine.shape, bool) if named is None else np.asarray(named, bool)
        object.__setattr__(self, "named", marks.reshape(self.cosine.shape))

    def __len__(self) -> int:
        return len(self.cosine)

    def best(self) -> Scored:
        """Each question's likeliest pair alone, by the verifier; questions without one are left out."""
        there = ~(np.isnan(self.logit) | np.isnan(self.cosine))
        kept = there.any(axis=1)
        at = np.where(there, self.logit, -np.inf).argmax(axis=1)
        rows = np.flatnonzero(kept)
        return Scored(self.cosine[rows, at[rows]], self.logit[rows, at[rows]], self.named[rows, at[rows]])

    def some(self, chosen: NDArray[Any]) -> Scored:
        """The questions at these places, or where this mask is True."""
        return Scored(self.cosine[chosen], self.logit[chosen], self.named[chosen])


Negatives = Mapping[str, Mapping[int, Scored]]
"""Kind -> edits in memory -> the scored pairs of that kind's questions."""


# The figures


def floor_for(cosines: ArrayLike, loss: float = LOSS) -> float:
    """The cosine that a further right edit falls short of with a probability of at most `loss`, in [-1, 1].

    NaN, a right edit that was not among the candidates, is not the floor's loss. With fewer than 1 / loss edits it is
    the lowest that was seen, without that promise.
    """
    values = np.sort(np.asarray(cosines, np.float64).ravel())
    values = values[~np.isnan(values)]
    if not len(values):
        return -1.0
    at = max(math.floor((len(values) + 1) * loss) - 1, 0)
    return float(max(math.floor(values[at] / STEP) * STEP, -1.0))


def conformal(scores: ArrayLike, rate: float) -> float | None:
    """The score that a further one like these n exceeds with a probability of at most `rate`; None where n is too small
    to say, which is below 1 / rate - 1. NaN or -inf is a question on which nothing can fire."""
    values = np.sort(np.nan_to_num(np.asarray(scores, np.float64).ravel(), nan=-np.inf, posinf=np.inf, neginf=-np.inf))
    place = math.ceil((len(values) + 1) * (1 - rate) - 1e-9)
    return float(values[place - 1]) if 0 < place <= len(values) else (None if place > 0 else -math.inf)


def needed(rate: float) -> int:
    """How many held-out negatives a rate needs to be promised."""
    return math.ceil(1 / rate - 1 - 1e-9)


def thresholds_for(
    scores: Mapping[str, Mapping[int, Floats]],
    rates: Sequence[float] = RATES,
    shares: Mapping[str, float] | None = None,
) -> dict[int, dict[float, float]]:
    """size -> rate -> the score from which an edit is in scope, so that no kind of negative fires oftener.

    `scores[kind][size]` holds one score for each question. A kind with too few questions for a rate counts with its
    highest score; a rate that is out of reach for all kinds is left out, unless it is the largest. Thresholds rise with
    the size and with strictness, whatever chance did. `shares` says of each kind which part of a rate it has here.
    """
    found: dict[int, dict[float, float]] = {}
    sizes = sorted({size for by_size in scores.values() for size in by_size})
    for size in sizes:
        there = [kind for kind, by_size in scores.items() if len(by_size.get(size, ()))]
        kinds = [np.asarray(scores[kind][size], np.float64) for kind in there]
        kinds = [np.where(np.isnan(one), -np.inf, one) for one in kinds]
        finite = np.concatenate([one[np.isfinite(one)] for one in kinds]) if kinds else np.empty(0)
        lowest = float(finite.min()) if len(finite) else 0.0
        highest = max((float(one.max()) for one in kinds), default=-math.inf)
        table: dict[float, float] = {}
        for rate in sorted(rates, reverse=True):
            bounds = [
                conformal(one, rate * (shares or {}).get(kind, 1.0)) for kind, one in zip(there, kinds, strict=True)
            ]
            if any(bound is not None for bound in bounds):
                most = [float(one.max()) if bound is None else bound for one, bound in zip(kinds, bounds, strict=True)]
                table[rate] = _above(max([lowest, *most]))
        if kinds and not table:
            table[max(rates)] = _above(max(lowest, highest))
        before = found[max(found)] if found else {}
        least = -math.inf
        for rate in table:  # laxer ones first; no figure falls as the memory grows or the rate becomes stricter
            least = max([least, table[rate], *(value for other, value in before.items() if other >= rate)])
            table[rate] = least
        if table:
            found[size] = table
    return found


def logistic(right: Floats, wrong: Floats, shares: Floats | None = None) -> tuple[Floats, float]:
    """Weights, none negative, and constant of P(right | features (n, f)), both sides weighing the same.

    Slightly ridged (on standardised features), so that it is finite where the sides do not overlap. `shares` weighs the
    wrong ones. A feature whose weight would be negative is left out: more of either score never speaks against.
    """
    x = np.concatenate([right, wrong])
    y = np.concatenate([np.ones(len(right)), np.zeros(len(wrong))])
    part = np.full(len(wrong), 1.0) if shares is None else shares
    weight = np.concatenate([np.full(len(right), 0.5 / len(right)), 0.5 * part / part.sum()])
    mean, spread = x.mean(axis=0), x.std(axis=0)
    used = [at for at in range(x.shape[1]) if spread[at] > 1e-9]
    while True:
        design = np.column_stack([(x[:, used] - mean[used]) / spread[used], np.ones(len(x))])
        beta = _newton(design, y, weight)
        negative = [at for at, one in zip(used, beta[:-1], strict=True) if one < 0]
        if not negative:
            break
        used.remove(min(negative, key=lambda at: beta[used.index(at)]))
    weights = np.zeros(x.shape[1])
    weights[used] = beta[:-1] / spread[used]
    return weights, float(beta[-1] - weights @ mean)


def _newton(design: Floats, y: Floats, weight: Floats) -> Floats:
    ridge = np.full(design.shape[1], 1e-3)
    ridge[-1] = 1e-9
    beta = np.zeros(design.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -500, 500)))
        gradient = design.T @ (weight * (y - p)) - ridge * beta
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        beta = beta + step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-9:
            break
    return beta


def combine(right: Scored, wrong: Sequence[Scored]) -> tuple[float, float, float]:
    """Weights of the verifier's log odds, of the cosine, and a constant; each group of wrong pairs weighs the same."""
    ours, others = right.best(), [one.best() for one in wrong]
    others = [one for one in others if len(one)]
    if not len(ours) or not others:
        raise InputError("weights need pairs in scope and pairs out of scope; there is none of one of them")
    features = [np.column_stack([one.logit[:, 0], one.cosine[:, 0]]) for one in (ours, *others)]
    shares = np.concatenate([np.full(len(one), 1 / len(one)) for one in others])
    (a, b), c = logistic(features[0], np.concatenate(features[1:]), shares)
    return float(a), float(b), float(c)


def multi_hop_threshold(probabilities: ArrayLike, rate: float = 0.02) -> float:
    """The probability from which a question is taken for a multi-hop one, from those of held-out questions that are
    not; at most `rate` of them are. Raises InputError where there are too few."""
    bound = conformal(probabilities, rate)
    if bound is None:
        raise InputError(f"a rate of {rate} needs {needed(rate)} questions of one hop, not {np.size(probabilities)}")
    return _above(bound)


def scores_of(
    pairs: Scored,
    stage: str,
    weights: tuple[float, float, float],
    floor: float,
    *,
    named: bool | None = None,
    unnamed: float = 0.0,
) -> Floats:
    """(n,): each question's best score in a stage ("both", "proposer", "verifier"); -inf where nothing can fire.

    `named` counts those edits alone whose subject the question names, or names not; `unnamed` is taken from the scores
    of these.
    """
    a, b, c = weights
    each = {BOTH: a * pairs.logit + b * pairs.cosine + c, "proposer": pairs.cosine, "verifier": pairs.logit}[stage]
    each = each - np.where(pairs.named, 0.0, unnamed)
    out = np.isnan(each)
    if named is not None:
        out |= pairs.named != named
    if stage == BOTH:
        out |= ~(pairs.cosine >= floor)
    best: Floats = np.where(out, -np.inf, each).max(axis=1, initial=-np.inf)
    return best


def calibrate(
    positives: Mapping[str, Scored],
    negatives: Negatives,
    *,
    encoder: str,
    verifier: str,
    rates: Sequence[float] = RATES,
    loss: float = LOSS,
    weights: tuple[float, float, float] | None = None,
    floor: float | None = None,
    multi_hop: float | None = None,
    by_name: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> TwoStageCalibration:
    """The calibration for scored pairs: right ones by kind, and out-of-scope questions by kind and size of memory.

    `weights` and `floor` are taken as given, where they are. `by_name` gives edits that the question names thresholds
    of their own, which takes twice as many questions (`_by_name`). `facts` go into the file beside the recall that is
    left.
    Raises InputError where there is nothing to measure on.
    """
    right = _joined(list(positives.values()))
    if not any(len(one) for by_size in negatives.values() for one in by_size.values()):
        raise InputError("a calibration needs questions that are out of scope; there is none")
    fitted = [by_size[_fitted_at(by_size)] for by_size in negatives.values() if by_size]
    if weights is None:
        a, b, c = combine(right, fitted)
        weights = (round(a, 6), round(b, 6), round(c, 6))
    if floor is None:
        floor = floor_for(right.cosine, loss)
    stages = {}
    for stage in (BOTH, "proposer", "verifier"):
        if by_name:
            thresholds, named = _by_name(negatives, stage, weights, floor, rates)
        else:
            thresholds, named = thresholds_for(_scores(negatives, stage, weights, floor), rates), None
        slope, intercept = 1.0, 0.0
        if stage != BOTH and len(right):
            name = "cosine" if stage == "proposer" else "logit"
            sides = [getattr(one.best(), name) for one in (right, _joined(fitted))]
            if all(len(side) for side in sides):
                (slope,), intercept = logistic(*sides)
        stages[stage] = Calibration(
            encoder,
            round(float(slope), 6),
            round(float(intercept), 6),
            thresholds,
            1.0 if stage == "proposer" else math.inf,
            "union",
            named,
        )
    made = TwoStageCalibration(
        encoder=encoder,
        verifier=verifier,
        floor=round(floor, 6),
        weights=weights,
        stages=stages,
        multi_hop=multi_hop,
        negatives={kind: {size: len(one) for size, one in by_size.items()} for kind, by_size in negatives.items()},
    )
    left = {
        kind: {str(rate): round(recall(one, made, rate, FITTED_AT), 4) for rate in rates}
        for kind, one in positives.items()
        if len(one)
    }
    return TwoStageCalibration(**{**vars(made), "facts": {**(facts or {}), "recall_at_1000_edits": left}})


def _scores(
    negatives: Negatives, stage: str, weights: tuple[float, float, float], floor: float, named: bool | None = None
) -> dict[str, dict[int, Floats]]:
    return {
        kind: {size: scores_of(one, stage, weights, floor, named=named) for size, one in by_size.items()}
        for kind, by_size in negatives.items()
    }


def _by_name(
    negatives: Negatives, stage: str, weights: tuple[float, float, float], floor: float, rates: Sequence[float]
) -> tuple[dict[int, dict[float, float]], dict[int, dict[float, float]]]:
    """(thresholds for edits that the question does not name, those for edits that it does).

    A question may fire on either, so each kind of question shares its rate between the two, most of it where that kind
    fires: by the union bound both thresholds together keep the whole rate for every kind.
    """
    others, named = (
        thresholds_for(
            _scores(negatives, stage, weights, floor, which),
            rates,
            {kind: OWN_SHARE if (kind in NAMING) == which else 1 - OWN_SHARE for kind in negatives},
        )
        for which in (False, True)
    )
    return others, named


def recall(positives: Scored, figures: TwoStageCalibration, false_fire: float, edits: int) -> float:
    """The share of right edits that are in scope; NaN without any."""
    return _share(positives, figures, false_fire, edits)


def false_fires(negatives: Scored, figures: TwoStageCalibration, false_fire: float, edits: int) -> float:
    """The share of out-of-scope questions on which an edit fires; NaN without any."""
    return _share(negatives, figures, false_fire, edits)


def _share(pairs: Scored, figures: TwoStageCalibration, false_fire: float, edits: int) -> float:
    bound, unnamed = figures.stages[BOTH].bounds(false_fire, edits)
    scores = scores_of(pairs, BOTH, figures.weights, figures.floor, unnamed=unnamed)
    return float((scores >= bound).mean()) if len(scores) else math.nan


def _fitted_at(by_size: Mapping[int, Scored]) -> int:
    return max((size for size in by_size if size <= FITTED_AT), default=min(by_size))


def _joined(parts: Sequence[Scored]) -> Scored:
    alone = [one.best() if one.cosine.shape[1] > 1 else one for one in parts]
    if not alone:
        return Scored([], [])
    return Scored(
        np.concatenate([one.cosine for one in alone]),
        np.concatenate([one.logit for one in alone]),
        np.concatenate([one.named for one in alone]),
    )


def _above(value: float) -> float:
    """The next figure above, as files keep them."""
    if not math.isfinite(value):
        return value
    return round((math.floor(value / STEP + 1e-6) + 1) * STEP, 6)


# Measuring


@dataclass(frozen=True)
class Measured:
    """Questions as the scope sees them: for each its candidates' ids, nearest first, and both stages' scores."""

    ids: tuple[tuple[str, ...], ...]
    pairs: Scored

    def right(self, wanted: Sequence[str | None]) -> Scored:
        """The pair of each question that has a right edit; NaN where that is not among the candidates."""
        rows = [(row, id_) for row, id_ in enumerate(wanted) if id_ is not None]
        at = [(row, self.ids[row].index(id_) if id_ in self.ids[row] else -1) for row, id_ in rows]
        return Scored(
            [self.pairs.cosine[row, place] if place >= 0 else math.nan for row, place in at],
            [self.pairs.logit[row, place] if place >= 0 else math.nan for row, place in at],
            [bool(place >= 0 and self.pairs.named[row, place]) for row, place in at],
        )


def measure(
    memory: EditMemory,
    conversations: Sequence[Sequence[Message]],
    verifier: Judge,
    *,
    candidates: int = 3,
    namespace: str = DEFAULT_NAMESPACE,
) -> Measured:
    """Score conversations against a memory by its encoder and a verifier, as `TwoStage` does, but without a floor.

    A pair that the words alone tell to be wrong (`by_words`) has no scores: the gate leaves it out at any threshold, so
    it sets none.
    """
    from memedit.scope.two_stage import Asked, by_words, encoded, known_names, names_subject, proposed

    ids: list[tuple[str, ...]] = []
    cosine = np.full((len(conversations), candidates), np.nan)
    logit = np.full((len(conversations), candidates), np.nan)
    named = np.zeros((len(conversations), candidates), bool)
    for start in range(0, len(conversations), MOST_AT_ONCE):
        some = conversations[start : start + MOST_AT_ONCE]
        asks = [Asked(messages, asked(messages), follow_up(messages)) for messages in some]
        asks = known_names(asks, memory, namespace=namespace)
        vectors = encoded([ask.texts for ask in asks], memory.encoder)
        found = proposed(asks, vectors, memory, candidates, namespace=namespace)
        where = [(start + row, column, near) for row, nears in enumerate(found) for column, near in enumerate(nears)]
        odds = verifier.pairs([(text, edit_text(hit.edit)) for _, _, (text, hit) in where])
        for (row, column, (text, hit)), odd in zip(where, odds, strict=True):
            if not isinstance(by_words(text, hit.edit), str):
                cosine[row, column], logit[row, column] = hit.score, odd
            named[row, column] = names_subject(text, hit.edit)
        ids += [tuple(hit.edit.id for _, hit in nears) for nears in found]
    return Measured(tuple(ids), Scored(cosine, logit, named))


# A user's own pairs


@dataclass(frozen=True)
class Pair:
    """A line of a user's file: a conversation, and the edit (id or statement) it falls under, or None."""

    messages: tuple[Message, ...]
    edit: str | None
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What calibrating on a user's pairs gave. `recall` and `false_fires` are measured at `false_fire` on one half of
    the pairs with figures made from the other, None where there was nothing to measure; `figures` are made from all."""

    figures: TwoStageCalibration
    false_fire: float
    edits: int
    positives: int
    negatives: int
    recall: float | None
    false_fires: float | None
    promised: bool
    """Whether there are enough questions out of scope for the rate to be promised rather than extrapolated."""
    notes: tuple[str, ...] = field(default=())

    @property
    def threshold(self) -> float:
        """The probability from which an edit is in scope, at this rate and size."""
        stage = self.figures.stages[BOTH]
        return stage.probability(stage.bounds(self.false_fire, self.edits)[0])


ROLES = ("system", "user", "assistant", "tool")


def read_pairs(path: Path) -> list[Pair]:
    """The pairs in a JSONL file. Raises NotFoundError, or InputError that names the line."""
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; --data names a file of questions, one JSON object a line")
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            found.append(_pair(line, f"{path}:{number}", number))
    return found


def _pair(line: str, where: str, number: int) -> Pair:
    shape = '{"question": "Who leads Acme?", "edit": "The CEO of Acme is Dana Li" or null}'
    try:
        data = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}); a line looks like {shape}") from error
    question = data.get("question") if isinstance(data, dict) else None
    edit = data.get("edit") if isinstance(data, dict) else None
    if isinstance(question, str):
        question = [{"role": "user", "content": question}]
    whole = isinstance(question, list) and all(
        isinstance(turn, dict) and turn.get("role") in ROLES and isinstance(turn.get("content"), str)
        for turn in question
    )
    if not whole or not (edit is None or (isinstance(edit, str) and edit.strip())):
        raise InputError(f"{where}: a line looks like {shape} (or a list of messages)")
    messages = tuple(Message(turn["role"], turn["content"]) for turn in question or ())
    if not asked(messages):
        raise InputError(f"{where}: the question is empty, or has no message of the user")
    return Pair(messages, edit.strip() if edit else None, number)


def calibrate_pairs(
    pairs: Sequence[Pair],
    memory: EditMemory,
    verifier: Judge,
    *,
    false_fire: float | None = None,
    candidates: int = 3,
    namespace: str = DEFAULT_NAMESPACE,
    known: TwoStageCalibration | None = None,
    seed: int = 0,
) -> Report:
    """Calibrate on a user's pairs, judged with the edits of a memory in place, for a rate (None: the shipped one).

    Where fewer than 20 pairs are in scope, weights and floor are those of `known` (the calibration so far); without
    one, or with fewer than 20 out of scope, raises InputError that says how many are needed.
    """
    if false_fire is None:
        from memedit.scope.two_stage import TwoStage

        false_fire = TwoStage.false_fire
    if not 0 < false_fire < 1:
        raise InputError(f"false_fire is a share of questions, in (0, 1), not {false_fire}")
    wanted = _wanted(pairs, memory, namespace)
    negative = np.array([id_ is None for id_ in wanted], bool)
    out, inside = int(negative.sum()), int((~negative).sum())
    if out < FEWEST:
        raise InputError(
            f"only {out} of the questions are out of scope (no edit): fewer than {FEWEST} say nothing; to promise a "
            f"false-fire rate of {false_fire:g} there must be {max(needed(false_fire), FEWEST):,}"
        )
    if inside < FEWEST and known is None:
        raise InputError(
            f"only {inside} of the questions fall under an edit; without a calibration to start from, "
            f"{FEWEST} are needed"
        )
    found = measure(memory, [pair.messages for pair in pairs], verifier, candidates=candidates, namespace=namespace)
    right, wrong = found.right(wanted), found.pairs.some(negative)
    size = max(memory.count(namespace), 1)
    rates = sorted({*RATES, false_fire}, reverse=True)
    start = known if inside < FEWEST else None

    def figures(right: Scored, wrong: Scored) -> TwoStageCalibration:
        return calibrate(
            {"own": right},
            {"own": {size: wrong}},
            encoder=memory.encoder.identity,
            verifier=verifier.identity,
            rates=rates,
            weights=start.weights if start else None,
            floor=start.floor if start else None,
            multi_hop=known.multi_hop if known and known.encoder == memory.encoder.identity else None,
            facts={"made_by": "memedit calibrate", "false_fire": false_fire},
        )

    random = np.random.default_rng(seed)
    ours, others = random.permutation(len(right)), random.permutation(len(wrong))
    half = figures(right.some(ours[::2]), wrong.some(others[::2]))
    return Report(
        figures=figures(right, wrong),
        false_fire=false_fire,
        edits=size,
        positives=inside,
        negatives=out,
        recall=recall(right.some(ours[1::2]), half, false_fire, size) if inside > 1 else None,
        false_fires=false_fires(wrong.some(others[1::2]), half, false_fire, size),
        promised=out >= needed(false_fire),
        notes=tuple(_notes(inside, out, false_fire, start is not None)),
    )


def _notes(inside: int, out: int, false_fire: float, kept: bool) -> Iterator[str]:
    if kept:
        yield f"only {inside} questions are in scope: the stages' weights and floor stay as they were"
    if out < needed(false_fire):
        yield (
            f"{out} questions out of scope promise a rate of {1 / (out + 1):.3g} at best; for {false_fire:g}, "
            f"which needs {needed(false_fire):,}, the threshold is extrapolated"
        )


def alone(pairs: Sequence[Pair], folder: Path, encoder: str | Encoder) -> EditMemory:
    """A memory in a folder with the statements of the pairs in it, to calibrate on."""
    from memedit.memory import EditMemory

    memory = EditMemory.open(folder, encoder=encoder, store="exact")
    memory.add_many(
        [Draft(statement=statement) for statement in dict.fromkeys(pair.edit for pair in pairs if pair.edit)]
    )
    return memory


def verifier_for(encoder: Encoder) -> Judge:
    """The verifier that the scope would use with this encoder."""
    from memedit.scope.two_stage import TwoStage

    return TwoStage().judge(encoder)


def known(calibration: Path | None, encoder: Encoder) -> TwoStageCalibration | None:
    """The calibration that the scope would use, if it is there and of this encoder."""
    from memedit.scope.two_stage import TwoStage

    try:
        figures = TwoStage(calibration=calibration).figures
    except InputError:
        return None
    return figures if figures.encoder == encoder.identity else None


def _wanted(pairs: Sequence[Pair], memory: EditMemory, namespace: str) -> list[str | None]:
    """The id of each pair's edit. Raises NotFoundError that names the line."""
    by_text = {_folded(edit.statement): edit.id for edit in reversed(memory.list(namespace=namespace))}
    current = set(by_text.values())
    found: list[str | None] = []
    for pair in pairs:
        if pair.edit is None:
            found.append(None)
            continue
        id_ = by_text.get(_folded(pair.edit))
        if id_ is None and re.fullmatch(r"e-[0-9a-f]{4,}", pair.edit):
            with suppress(NotFoundError):  # told below, with the line
                id_ = memory.get(pair.edit, namespace=namespace).id
        if id_ not in current:
            raise NotFoundError(
                f"line {pair.line}: {pair.edit!r} is no current edit of namespace {namespace!r}; add it first, or "
                "calibrate with --alone on the statements of the file by themselves"
            )
        found.append(id_)
    return found


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold().rstrip(".")
