"""Every figure that memedit reports, as pure functions: what it is of, how it is worked out, where it comes from.

Two protocols of scoring stand side by side and never share a column: `free` is what a user gets, the reply that greedy
generation writes by itself; `teacher_forced` is what much of the field reports, the probabilities of an answer that is
fed to the model token by token. The same word names the same idea in both (reliability), and each `Metric` belongs to
one. Functions of one case see `Asked`, one question put to the edited model and to the unedited one; figures over
cases (means, the harmonic mean S, perplexity) and their bootstrap intervals stand below the table.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

from memedit.datasets import FOLLOWING
from memedit.matching import gives

if TYPE_CHECKING:  # a listing of the metrics loads no numpy
    from numpy.typing import ArrayLike

    from memedit.evaluation.systems import TargetScore

Scoring = Literal["free", "teacher_forced"]

IN_SCOPE = ("edit", *FOLLOWING)
"""Kinds of question whose right answer follows from the edit; "edit" is the edit's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question, as the edited model answers it and as the unedited one did.

    `kind` is "edit" or one of `Case.questions`; `answers` are right after the edit (for kinds that must not change: the
    true ones). `target` is teacher-forced: of the first of `answers` (without any: of the unedited reply), by the
    edited model; `target_before` the same by the unedited one; `new` and `true` are the scores of the edit's new answer
    and of the true one, the two that CounterFact compares. `distance` is `total_variation` of the next token's
    distributions. What a system cannot give is None. `in_scope` says whether an edit was used, where the system says.
    """

    kind: str
    prompt: str
    reply: str
    before: str
    answers: tuple[str, ...] = ()
    target: TargetScore | None = None
    target_before: TargetScore | None = None
    new: TargetScore | None = None
    true: TargetScore | None = None
    distance: float | None = None
    in_scope: bool | None = None
    verdict: bool | None = None


Case = Sequence[Asked]


# ----------------------------------------------------------------------------------------- of one reply or text


def right(asked: Asked) -> bool | None:
    """Whether the reply gives a right answer (`matching.gives`); None where no answer is known."""
    return gives(asked.reply, asked.answers) if asked.answers else None


def same(asked: Asked) -> bool:
    """Whether the reply is the unedited model's, letter for letter."""
    return asked.reply == asked.before


def token_accuracy(score: TargetScore) -> float:
    """Share in [0, 1] of the target's tokens that are the most probable, each after the right tokens before it.

    Source: zsRE's efficacy, De Cao et al. 2021 ("Editing Factual Knowledge in Language Models", section 4) as Meng et
    al. 2022 ("Locating and Editing Factual Associations in GPT", section 4.1) compute it; EasyEdit's `rewrite_acc`.
    """
    return score.right / score.tokens


def probability(score: TargetScore) -> float:
    """The geometric mean of the target's token probabilities, in [0, 1].

    CounterFact's comparisons are of this mean rather than of the product, so that of two answers the longer one is not
    the less likely for its length alone (the evaluation code of Meng et al. 2022).
    """
    return math.exp(score.log_probability / score.tokens)


def agreement(before: TargetScore, after: TargetScore) -> float:
    """Share in [0, 1] of positions whose most probable token is the unedited model's; both are fed the same text.

    Source: locality as Mitchell et al. 2022 ("Memory-Based Model Editing at Scale") and EasyEdit measure it, by what
    the model said before and not by whether that was true. Raises ValueError where the two have other lengths.
    """
    pairs = list(zip(before.predicted, after.predicted, strict=True))
    return sum(old == new for old, new in pairs) / len(pairs)


def total_variation(before: ArrayLike, after: ArrayLike) -> float:
    """Half the sum of absolute differences of two distributions over the same tokens: in [0, 1], 0 where they agree.

    The distance of distributions that memedit reports. It is the largest difference in probability that any set of next
    tokens can have; unlike the Kullback-Leibler divergence (which Hoelscher-Obermaier et al. 2023 use) it is bounded
    and symmetric, so that a mean over cases is not ruled by one of them.
    """
    import numpy as np

    difference = np.asarray(before, np.float64) - np.asarray(after, np.float64)
    return min(1.0, 0.5 * float(np.abs(difference).sum()))


def words(text: str) -> list[str]:
    """Words and marks of punctuation, one each, in their case: what n-grams and term counts are of."""
    return re.findall(r"\w+|[^\w\s]", text)


def n_gram_entropy(text: str, weights: Mapping[int, float] | None = None) -> float:
    """The mean over n of weights[n] times the entropy, in bits, of the text's n-grams; a text without any has none.

    Fluency: it falls where a model repeats itself. Source: Zhang et al. 2018, with bigrams weighted 2/3 and trigrams
    4/3 as in GE of Meng et al. 2022 (who print it times 100).
    """
    chosen = weights or {2: 2 / 3, 3: 4 / 3}
    said = words(text)
    total = 0.0
    for n, weight in chosen.items():
        counts = Counter(zip(*(said[at:] for at in range(n)), strict=False))
        whole = sum(counts.values())
        total += weight * -sum(count / whole * math.log2(count / whole) for count in counts.values())
    return total / len(chosen)


def document_frequencies(documents: Iterable[str]) -> dict[str, float]:
    """Term -> smoothed inverse document frequency, 1 + ln((1 + n) / (1 + documents that hold it)); terms in lower case.

    RS weighs terms by them. Meng et al. count documents of Wikipedia; memedit those of the reference texts of all the
    dataset's cases, which needs no download: figures of RS compare within memedit only.
    """
    holding: Counter[str] = Counter()
    number = 0
    for document in documents:
        number += 1
        holding.update({word.casefold() for word in words(document)})
    return {term: 1 + math.log((1 + number) / (1 + count)) for term, count in holding.items()}


def tf_idf_cosine(text: str, other: str, frequencies: Mapping[str, float]) -> float:
    """The cosine in [0, 1] of two texts' term counts weighted by `frequencies`; unknown terms count nothing.

    Source: RS, consistency of what is generated about the subject with texts about the new target (Meng et al. 2022).
    """
    first, second = (
        {term: count * frequencies.get(term, 0.0) for term, count in Counter(map(str.casefold, words(one))).items()}
        for one in (text, other)
    )
    product = sum(weight * second.get(term, 0.0) for term, weight in first.items())
    lengths = math.sqrt(sum(w * w for w in first.values())) * math.sqrt(sum(w * w for w in second.values()))
    return min(1.0, product / lengths) if lengths else 0.0


def harmonic_mean(values: Sequence[float]) -> float:
    """0 where any value is: of ES, PS and NS it is CounterFact's score S (Meng et al. 2022)."""
    return len(values) / sum(1 / value for value in values) if values and min(values) > 0 else 0.0


def perplexity(log_probabilities: Sequence[float], tokens: Sequence[int]) -> float:
    """exp of the mean negative log-probability of a token over all texts; 1 is certainty, `inf` beyond any number."""
    try:
        return math.exp(-sum(log_probabilities) / sum(tokens))
    except OverflowError:
        return math.inf


# ----------------------------------------------------------------------------------------- of one case

Of = Callable[[Case], "float | None"]


def mean(values: Iterable[float | bool | None]) -> float | None:
    """The mean of the values that are there; None without any."""
    there = [float(value) for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _of(kind: str | tuple[str, ...], each: Callable[[Asked], float | bool | None]) -> Of:
    """The mean over the case's questions of that kind."""
    kinds = (kind,) if isinstance(kind, str) else kind
    return lambda case: mean(each(asked) for asked in case if asked.kind in kinds)


def _accuracy(asked: Asked) -> float | None:
    return token_accuracy(asked.target) if asked.target is not None and asked.answers else None


def _agreement(asked: Asked) -> float | None:
    if asked.target is None or asked.target_before is None:
        return None
    return agreement(asked.target_before, asked.target)


def _difference(asked: Asked) -> float | None:
    """P(new) - P(true), or the reverse where it is the true one that should win."""
    if asked.new is None or asked.true is None:
        return None
    difference = probability(asked.new) - probability(asked.true)
    return -difference if asked.kind == "neighbour" else difference


def _success(asked: Asked) -> bool | None:
    difference = _difference(asked)
    return None if difference is None else difference > 0


def _same_where_known(asked: Asked) -> bool | None:
    return same(asked) if asked.answers and gives(asked.before, asked.answers) else None


def _any_wording(case: Case) -> float | None:
    found = [right(asked) for asked in case if asked.kind == "one_hop" and asked.answers]
    return float(any(found)) if found else None


def _entropy(case: Case) -> float | None:
    return mean(n_gram_entropy(asked.reply) for asked in case if asked.kind == "attribute")


@dataclass(frozen=True, slots=True)
class Metric:
    """A line of the table. `of` works it out for one case: None where the case has nothing to work it out of.

    `needs` is what is said where no case has. `unit` is "share" (0 to 1), "difference" (-1 to 1), "bits", "seconds",
    "bytes" or "perplexity"; `better` is the end at which it is good. `datasets` are beginnings of names: empty is all.
    """

    name: str
    scoring: Scoring
    definition: str
    source: str
    needs: str
    of: Of | None = None
    unit: str = "share"
    better: Literal["higher", "lower"] = "higher"
    datasets: tuple[str, ...] = ()


ROME = "Meng et al. 2022, Locating and Editing Factual Associations in GPT, section 3.3 (CounterFact)"
SURVEY = "Yao et al. 2023, Editing Large Language Models: Problems, Methods, and Opportunities, sections 2 and 5"
MIRAGE = "Yang et al. 2025, The Mirage of Model Editing: free generation in place of teacher forcing"
RIPPLE = "Cohen et al. 2024, Evaluating the Ripple Effects of Knowledge Editing in Language Models"
PLUS = "Hoelscher-Obermaier et al. 2023, Detecting Edit Failures In Large Language Models (CounterFact+)"
ZSRE = "De Cao et al. 2021 and Mitchell et al. 2022, as computed by Meng et al. 2022 (zsRE)"
MQUAKE = "Zhong et al. 2023, MQuAKE: Assessing Knowledge Editing via Multi-Hop Questions, section 4"
OWN = "memedit"

_KINDS = (
    # name, kind of question, what it is, source
    ("reliability", "edit", "the edit's own question", MIRAGE),
    ("generalisation", "paraphrase", "the same question in other words", SURVEY),
    ("subject_alias", "alias", "the question with another name of the subject", SURVEY),
    ("reversed", "reversed", "the fact asked backwards", SURVEY),
    ("one_hop", "one_hop", "a question that needs the edited fact on the way", SURVEY),
    ("logical", "logical", "a question whose answer follows from the edited fact", RIPPLE),
    ("yes_questions", "yes", "a question that the edit makes true", "Huang et al. 2025, HalluEditBench"),
    ("no_questions", "no", "a question that the edit makes false", "Huang et al. 2025, HalluEditBench"),
)
_KEPT = (
    ("locality", "neighbour", "questions about other subjects", SURVEY),
    ("same_subject", "same_subject", "questions about other attributes of the edited subject", RIPPLE),
    ("distracting", "distracting", "a neighbour's question with the edit's sentence before it", PLUS),
)


def _table() -> tuple[Metric, ...]:
    made: list[Metric] = []
    for name, kind, what, source in _KINDS:
        free = f"share of replies that give a right answer: {what}"
        forced = f"share of the right answer's tokens that are most probable: {what}"
        made += [
            Metric(name, "free", free, source, f"questions of kind {kind!r} with answers", _of(kind, right)),
            Metric(name, "teacher_forced", forced, source, f"probabilities, and {kind!r} questions with answers",
                   _of(kind, _accuracy)),
        ]  # fmt: skip
    for name, kind, what, source in _KEPT:
        free = f"share of replies that are the unedited model's, letter for letter: {what}"
        forced = f"share of positions whose most probable token is the unedited model's: {what}"
        distance = f"total variation of the next token's distribution, before and after: {what}"
        needs = f"questions of kind {kind!r}"
        made += [
            Metric(name, "free", free, source, needs, _of(kind, same)),
            Metric(name, "teacher_forced", forced, source, f"probabilities, and {needs}", _of(kind, _agreement)),
            Metric(f"{name}_distance", "teacher_forced", distance, OWN, f"whole distributions, and {needs}",
                   _of(kind, lambda asked: asked.distance), better="lower"),
        ]  # fmt: skip
    known = "share of replies that are the unedited model's, of the neighbours that it answers rightly"
    kept = "share of replies that give the true answers: other values of the edited relation, that stay true"
    recall = "share of the edit's own and rephrased questions for which an edit was found in scope"
    fires = "share of questions that the edit does not bear on for which an edit was found in scope"
    chosen = "a system that says whether an edit was in scope"
    texts = "the nested form of CounterFact, which has prompts to generate from"
    wordings = "share of cases whose multi-hop question is answered rightly in at least one of its wordings"
    both = "probabilities, and both the new and the old answer"
    entropy = "weighted entropy of the bigrams and trigrams of what is generated about the subject; greedy, not sampled"
    made += [
        Metric("locality_known", "free", known, OWN, "neighbours whose answer the unedited model gives",
               _of("neighbour", _same_where_known)),
        Metric("forgetfulness", "free", kept, RIPPLE, "questions of kind 'forgetfulness'", _of("forgetfulness", right)),
        Metric("recall", "free", recall, OWN, chosen, _of(("edit", "paraphrase"), lambda asked: asked.in_scope)),
        Metric("false_fires", "free", fires, OWN, chosen,
               _of(("neighbour", "same_subject", "distracting"), lambda asked: asked.in_scope), better="lower"),
        Metric("one_hop_any", "free", wordings, MQUAKE, "MQuAKE, which asks in three wordings", _any_wording,
               datasets=("mquake",)),
        Metric("GE", "free", entropy, ROME, texts, _entropy, unit="bits"),
    ]  # fmt: skip
    for short, kind, what in (("E", "edit", "edit"), ("P", "paraphrase", "paraphrases"), ("N", "neighbour", "others")):
        order = "P(true) > P(new)" if short == "N" else "P(new) > P(true)"
        minus = "P(true) - P(new)" if short == "N" else "P(new) - P(true)"
        made += [
            Metric(f"{short}S", "teacher_forced", f"share with {order}: {what}", ROME, both, _of(kind, _success)),
            Metric(f"{short}M", "teacher_forced", f"mean of {minus}: {what}", ROME, both, _of(kind, _difference),
                   unit="difference"),
        ]  # fmt: skip
    for name, kind in (("efficacy", "edit"), ("paraphrase", "paraphrase"), ("neighbourhood", "neighbour")):
        what = f"token accuracy against the true answer, questions of kind {kind!r}"
        made.append(
            Metric(f"zsre_{name}", "teacher_forced", what, ZSRE, "probabilities, and answers", _of(kind, _accuracy),
                   datasets=("zsre",))
        )  # fmt: skip
    return tuple(made)


BY_CASE: tuple[Metric, ...] = _table()
"""Metrics of one case's questions."""

FURTHER: tuple[Metric, ...] = (
    Metric("RS", "free", "TF-IDF cosine of what is generated about the subject with texts about the new target", ROME,
           "reference texts, which only the nested form of CounterFact with its attribute snippets has"),
    Metric("S", "teacher_forced", "harmonic mean of ES, PS and NS", ROME, "ES, PS and NS"),
    Metric("reliability_immediate", "free", "reliability right after the edit itself was written", SURVEY,
           "protocol sequential"),
    Metric("retention", "free", "of the cases right after their own edit, the share right after all edits",
           "Hartvigsen et al. 2023, Aging with GRACE (edit retention)", "protocol sequential"),
    Metric("upstream_retention", "free", "of facts that are not edited and that the unedited model knows, the share "
           "that it still answers rightly after all edits",
           "Hartvigsen et al. 2023, Aging with GRACE (test retention)", "edits in one group, known cases beside them"),
    Metric("upstream_unchanged", "free", "the same questions, share of replies that are letter for letter the unedited "
           "model's", OWN, "edits in one group, known cases beside them"),
    Metric("piqa_accuracy", "teacher_forced", "share of PIQA questions whose right solution is the more probable",
           "Bisk et al. 2020, PIQA", "edits in one group, probabilities, piqa/ in the data folder"),
    Metric("piqa_agreement", "teacher_forced", "share of PIQA questions for which the choice is the unedited model's",
           OWN, "edits in one group, probabilities, piqa/ in the data folder"),
    Metric("piqa_drift", "teacher_forced", "mean absolute change of a solution's log-probability per token", OWN,
           "edits in one group, probabilities, piqa/ in the data folder", unit="nats", better="lower"),
    Metric("perplexity", "teacher_forced", "perplexity of held-out text, edits in place", OWN,
           "edits in one group, probabilities, text/ in the data folder", unit="perplexity", better="lower"),
    Metric("perplexity_before", "teacher_forced", "perplexity of the same text, unedited model", OWN,
           "edits in one group, probabilities, text/ in the data folder", unit="perplexity", better="lower"),
    Metric("seconds_per_edit", "free", "wall time to write an edit until it can be asked about", OWN, "edits",
           unit="seconds", better="lower"),
    Metric("passes_per_edit", "free", "of that time the forward and backward passes of a search or a descent", OWN,
           "a method that changes weights by gradients", unit="seconds", better="lower"),
    Metric("seconds_per_query", "free", "wall time of one free reply to the edit's question, asked alone", OWN, "cases",
           unit="seconds", better="lower"),
    Metric("peak_bytes", "free", "most memory of the whole process while the edits were written (on CUDA: of tensors)",
           OWN, "edits, on Linux", unit="bytes", better="lower"),
    Metric("bytes_per_edit", "free", "bytes that an edit takes where it is kept", OWN, "a system that says it",
           unit="bytes", better="lower"),
)  # fmt: skip
"""Metrics that need more than one case's questions: runs, side effects and efficiency work them out."""

JUDGED = "_judged"
"""What a judge's verdicts are called: the metric's name with this behind it. They are never mixed with matches."""


def judged() -> tuple[Metric, ...]:
    """The metrics that a judge's verdicts make: the share of verdicts that are yes, unparsable ones left out."""
    return tuple(
        Metric(f"{name}{JUDGED}", "free", f"share of replies that the judge calls right: {what}", source,
               "--judge MODEL", _of(kind, lambda asked: asked.verdict))
        for name, kind, what, source in _KINDS
    )  # fmt: skip


def table() -> dict[tuple[Scoring, str], Metric]:
    """Every metric by its scoring and name."""
    return {(metric.scoring, metric.name): metric for metric in (*BY_CASE, *judged(), *FURTHER)}


def of_case(case: Case, dataset: str = "") -> dict[Scoring, dict[str, float]]:
    """What the table makes of one case; a metric that it has nothing for is left out."""
    found: dict[Scoring, dict[str, float]] = {"free": {}, "teacher_forced": {}}
    for metric in (*BY_CASE, *judged()):
        if metric.of is None or (metric.datasets and not dataset.startswith(metric.datasets)):
            continue
        value = metric.of(case)
        if value is not None:
            found[metric.scoring][metric.name] = round(value, 6)
    return found


# ----------------------------------------------------------------------------------------- over cases

DRAWS = 1_000


def interval(
    rows: ArrayLike, *, seed: int = 0, name: str = "", of: Callable[[Any], Any] | None = None, draws: int = DRAWS
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a figure over cases (Efron 1979): cases are drawn with replacement.

    `rows` is (cases,) or (cases, columns); `of` takes the means of the columns, (draws, columns), to (draws,) figures,
    by default the only column. NaN entries of a column are not of its mean. The same seed and name draw the same.
    Raises ValueError without cases.
    """
    import numpy as np

    values = np.asarray(rows, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if not len(values):
        raise ValueError("an interval needs at least one case")
    there = ~np.isnan(values)
    filled = np.where(there, values, 0.0)
    random = np.random.default_rng([seed, crc32(name.encode())])
    means = np.empty((draws, values.shape[1]))
    block = max(1, 4_000_000 // len(values))  # the memory that one block of draws may take
    for start in range(0, draws, block):
        chosen = random.integers(len(values), size=(min(block, draws - start), len(values)))
        with np.errstate(invalid="ignore"):
            means[start : start + block] = filled[chosen].sum(axis=1) / there[chosen].sum(axis=1)
    figures = means[:, 0] if of is None else np.asarray(of(means))
    figures = figures[~np.isnan(figures)]
    if not len(figures):
        raise ValueError("an interval needs at least one case with a value")
    low, high = np.percentile(figures, [2.5, 97.5])
    return float(low), float(high)
