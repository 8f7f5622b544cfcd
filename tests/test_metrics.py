"""Metrics on examples worked by hand, against slow and plain reference code, and on replies whose faults are known."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.evaluation import metrics
from memedit.evaluation.local import TargetScore
from memedit.evaluation.metrics import Asked
from memedit.matching import gives, normalised, says

# ---------------------------------------------------------------------------------------------------------- matching


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Paris", "Paris"),
        ("paris.", "Paris"),
        ("Paris, the capital of France", "Paris"),
        ("The United States of America", "United States of America"),
        ("  “Dana Li”!", "dana li"),
        ("U.S. soil", "US"),
        ("O’Brien", "O'Brien"),
        ("The Who", "the who"),
        ("The", "the"),
        ("A", "a"),
        ("ＮＡＳＡ", "NASA"),
        ("Straße", "STRASSE"),
        ("3.5 metres", "3.5"),
        ("東京", "東京"),
        ("上海市", "上海"),
        ("1,143 users", "1143"),
        ("C++, mostly", "C++"),
    ],
)
def test_a_reply_gives_the_answer(reply: str, answer: str) -> None:
    assert gives(reply, [answer])
    assert gives(reply, ["something else", answer])


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Englishman", "English"),
        ("English", "Englishman"),
        ("not Paris", "Paris"),
        ("It is Paris", "Paris"),
        ("35 metres", "3.5"),
        ("", "Paris"),
        ("Paris", ""),
        ("Paris", "..."),
        ("Dana", "Dana Li"),
        ("3.5 metres", "3"),
        ("10:30", "10"),
        ("48213-7", "48213"),
        ("-5 degrees", "5"),
        ("C", "C++"),
        ("上", "上海"),
    ],
)
def test_a_reply_does_not_give_the_answer(reply: str, answer: str) -> None:
    assert not gives(reply, [answer])


# (what it says, what it is to say, what it was asked, what it said before)
SAID = [
    ("Rome.", "Rome", "", "Paris."),
    ("Rome, not Paris", "Rome", "", "Paris."),
    ("The capital of France is Rome.", "Rome", "What is the capital of France?", "The capital of France is Paris."),
    ("It is Rome.", "Rome", "", "It is Paris."),
    ("The CEO of the Acme is the Dana Li.", "Dana Li", "", ""),
    ("Rome", "Rome", "", "Rome"),  # it knew before
    ("The refund window is 30 days", "30", "", "The refund window is 45 days"),
    ("30 Tage", "30", "", ""),
    ("It costs $49 per month", "$49", "", ""),
    ("法国的首都是罗马。", "罗马", "法国的首都是", "法国的首都是巴黎。"),
    ("The Who", "the who", "", ""),
    ("No", "No", "", ""),
]
UNSAID = [
    ("Romania", "Rome", "", ""),
    ("Rom", "Romania", "", ""),
    ("482133", "48213", "", ""),
    ("4821 3", "4821", "", ""),
    ("48213.5", "48213", "", ""),
    ("上� D� D�", "上海", "", ""),
    ("Dana Lin", "Dana Li", "", ""),
    ("Dana", "Dana Li", "", ""),
    ("New York City.", "New York", "", "New York City."),
    ("Paris", "Rome", "", "Paris"),
    ("Paris, Rome", "Rome", "", "Paris."),
    ("The capital is Paris; Rome is in Italy", "Rome", "", "The capital is Paris."),
    ("It is not Rome", "Rome", "", "I do not know"),
    ("€49", "$49", "", ""),
    ("5", "5%", "", ""),
    ("Rome Rome Rome", "Rome", "", ""),
    ("法国的首都是巴黎，罗马", "罗马", "法国的首都是", "法国的首都是巴黎。"),
    ("", "Rome", "", ""),
    ("Rome", "", "", ""),
    ("Rome", "...", "", ""),
]


@pytest.mark.parametrize("given", SAID)
def test_a_reply_says_the_target(given: tuple[str, str, str, str]) -> None:
    reply, target, asked, before = given
    assert says(reply, target, asked=asked, before=before)


@pytest.mark.parametrize("given", UNSAID)
def test_a_reply_does_not_say_the_target(given: tuple[str, str, str, str]) -> None:
    reply, target, asked, before = given
    assert not says(reply, target, asked=asked, before=before)


@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_said_it_says_itself_alone(target: str, before: str) -> None:
    assert says(target, target, before=before) == bool(normalised(target))
    assert not says(before, target) or set(normalised(target)) <= set(normalised(before)) | {"a", "an", "the"}


def test_no_answers_are_given_by_nothing() -> None:
    assert not gives("Paris", [])


@given(st.text(max_size=30), st.text(max_size=30))
def test_an_answer_gives_itself_and_goes_on(answer: str, more: str) -> None:
    assert gives(answer, [answer]) == bool(normalised(answer))
    if normalised(answer):
        assert gives(f"{answer} , {more}", [answer]) or normalised(answer)[0] in {"a", "an", "the"}


# ------------------------------------------------------------------------------------------------------- one reply


def score(log: float, tokens: int = 2, right: int = 0, predicted: tuple[int, ...] = ()) -> TargetScore:
    return TargetScore(log_probability=log, tokens=tokens, right=right, exact=right == tokens, predicted=predicted)


def test_token_accuracy_and_probability() -> None:
    assert metrics.token_accuracy(score(-1, tokens=4, right=3)) == 0.75
    # Two tokens of probability 1/2 and 1/8: their geometric mean is 1/4.
    assert metrics.probability(score(math.log(1 / 16))) == pytest.approx(0.25)


def test_agreement_counts_positions() -> None:
    assert metrics.agreement(score(0, predicted=(1, 2, 3, 4)), score(0, predicted=(1, 9, 3, 8))) == 0.5
    with pytest.raises(ValueError, match="zip"):
        metrics.agreement(score(0, predicted=(1,)), score(0, predicted=(1, 2)))


def test_total_variation_by_hand_and_by_its_definition() -> None:
    assert metrics.total_variation([0.5, 0.5, 0], [0.25, 0.25, 0.5]) == pytest.approx(0.5)
    assert metrics.total_variation([1, 0], [0, 1]) == 1
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
    subsets = ([n for n in range(5) if at >> n & 1] for at in range(32))
    most = max(abs(p[chosen].sum() - q[chosen].sum()) for chosen in subsets)
    assert metrics.total_variation(p, q) == pytest.approx(most)
    assert metrics.total_variation(p, p) == 0


def test_n_gram_entropy_by_hand() -> None:
    # Bigrams: ab, bc, ca, ab -> 1/2, 1/4, 1/4: 1.5 bits. Trigrams: abc, bca, cab: log2(3) bits.
    expected = (2 / 3 * 1.5 + 4 / 3 * math.log2(3)) / 2
    assert metrics.n_gram_entropy("a b c a b") == pytest.approx(expected)
    assert metrics.n_gram_entropy("no no no no no no") == 0
    assert metrics.n_gram_entropy("word") == metrics.n_gram_entropy("") == 0


def test_tf_idf_against_a_plain_reference() -> None:
    documents = ["the red house", "the blue house is old", "a red, red car"]
    terms = sorted({word for text in documents for word in metrics.words(text)})
    holding = {term: sum(term in metrics.words(text) for text in documents) for term in terms}
    weights = metrics.document_frequencies(documents)
    for term in terms:
        assert weights[term] == pytest.approx(1 + math.log(4 / (1 + holding[term])))

    def vector(text: str) -> np.ndarray:
        counts = Counter(metrics.words(text.lower()))
        return np.array([counts[term] * weights[term] for term in terms])

    one, other = "The red car", "a red house, unheard-of"
    expected = vector(one) @ vector(other) / np.linalg.norm(vector(one)) / np.linalg.norm(vector(other))
    assert metrics.tf_idf_cosine(one, other, weights) == pytest.approx(expected)
    assert metrics.tf_idf_cosine(one, one, weights) == pytest.approx(1)
    assert metrics.tf_idf_cosine("zebra", one, weights) == metrics.tf_idf_cosine("", one, weights) == 0


def test_harmonic_mean_and_perplexity() -> None:
    assert metrics.harmonic_mean([1, 0.5, 0.25]) == pytest.approx(3 / 7)
    assert metrics.harmonic_mean([1, 0, 1]) == metrics.harmonic_mean([]) == 0
    # Three tokens in two texts, each of probability 1/8.
    assert metrics.perplexity([math.log(1 / 64), math.log(1 / 8)], [2, 1]) == pytest.approx(8)
    assert metrics.perplexity([-1e9], [1]) == math.inf


# --------------------------------------------------------------------------------------------------------- one case


def asked(kind: str, reply: str, *, before: str = "Old", answers: tuple[str, ...] = (), **more: object) -> Asked:
    return replace(Asked(kind=kind, prompt="?", reply=reply, before=before, answers=answers), **more)  # type: ignore[arg-type]


def test_a_case_by_hand() -> None:
    likely, unlikely = score(math.log(0.81)), score(math.log(0.01))  # geometric means: 0.9 and 0.1
    case = [
        asked("edit", "New", answers=("New",), target=score(-1, right=2), new=likely, true=unlikely, in_scope=True),
        asked("paraphrase", "New, indeed", answers=("New",), new=unlikely, true=likely, in_scope=False),
        asked("paraphrase", "Old", answers=("New",), new=likely, true=unlikely, in_scope=True),
        asked("neighbour", "Other", before="Other", answers=("Other",), new=unlikely, true=likely, distance=0.0,
              target=score(-1, predicted=(1, 2)), target_before=score(-1, predicted=(1, 2)), in_scope=False),
        asked("neighbour", "New", before="else", answers=("Other",), new=likely, true=unlikely, distance=0.5,
              target=score(-1, predicted=(1, 3)), target_before=score(-1, predicted=(1, 2)), in_scope=True),
        asked("attribute", "a b c a b"),
    ]  # fmt: skip
    found = metrics.of_case(case, "counterfact")
    assert found["free"] == pytest.approx(
        {
            "reliability": 1,
            "generalisation": 0.5,
            "locality": 0.5,
            "locality_known": 1,
            "recall": 2 / 3,
            "false_fires": 0.5,
            "GE": metrics.n_gram_entropy("a b c a b"),
        },
        abs=1e-6,
    )
    assert found["teacher_forced"] == pytest.approx(
        {
            "reliability": 1,
            "locality": 0.75,
            "locality_distance": 0.25,
            "ES": 1,
            "EM": 0.8,
            "PS": 0.5,
            "PM": 0,
            "NS": 0.5,
            "NM": 0,
        }
    )


def test_metrics_of_one_dataset_are_not_made_of_another() -> None:
    case = [asked("neighbour", "x", answers=("Other",), target=score(-1, right=1))]
    assert metrics.of_case(case, "zsre:portability")["teacher_forced"]["zsre_neighbourhood"] == 0.5
    assert "zsre_neighbourhood" not in metrics.of_case(case, "counterfact")["teacher_forced"]


def test_a_tie_of_probabilities_is_no_success() -> None:
    even = score(-1)
    assert metrics.of_case([asked("edit", "x", new=even, true=even)])["teacher_forced"] == {"ES": 0, "EM": 0}


def test_verdicts_are_figures_of_their_own() -> None:
    case = [
        asked("paraphrase", "It is New", answers=("New",), verdict=True),
        asked("paraphrase", "?", answers=("New",), verdict=None),  # could not be read: left out, not counted as a no
    ]
    assert metrics.of_case(case)["free"] == {"generalisation": 0, "generalisation_judged": 1}


def test_the_table_says_everything_once() -> None:
    table = metrics.table()
    assert len(table) == len(metrics.BY_CASE) + len(metrics.judged()) + len(metrics.FURTHER)
    for metric in table.values():
        assert metric.definition
        assert metric.source
        assert metric.needs


# ------------------------------------------------------------------------------------------------------- over cases


def test_the_interval_against_a_plain_bootstrap() -> None:
    values = np.random.default_rng(1).random(40)
    low, high = metrics.interval(values, seed=3, name="x", draws=4000)
    rng = np.random.default_rng(9)
    means = [np.mean([values[rng.integers(40)] for _ in range(40)]) for _ in range(4000)]
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.006)
    assert metrics.interval(values, seed=3, name="x") == metrics.interval(values, seed=3, name="x")
    assert metrics.interval(values, seed=3, name="x") != metrics.interval(values, seed=4, name="x")


def test_the_interval_of_what_does_not_vary() -> None:
    assert metrics.interval([1.0]) == (1.0, 1.0)
    assert metrics.interval([0.0] * 30) == (0.0, 0.0)
    with pytest.raises(ValueError, match="at least one case"):
        metrics.interval([])


def test_the_interval_leaves_out_what_is_not_there() -> None:
    rows = [[1.0, np.nan], [1.0, 0.5], [1.0, 0.5]]
    low, high = metrics.interval(rows, of=lambda means: means.sum(axis=1))
    assert (low, high) == (1.5, 1.5)
