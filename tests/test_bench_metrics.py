"""The figures of the benches, on examples worked by hand and against slow definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.bench import _metrics as metrics
from memedit.bench._questions import Prepared, names
from memedit.bench.counterfact import says

SCORES = st.lists(st.integers(0, 9), min_size=1, max_size=30)


def test_a_threshold_lets_through_what_it_may_and_no_more() -> None:
    negatives = list(range(100))
    assert metrics.threshold(negatives, 0.01) == 98  # 99 alone exceeds it
    assert metrics.threshold(negatives, 0.1) == 89
    assert math.isnan(metrics.threshold(negatives, 0.001))  # a rate that 100 negatives cannot show
    assert math.isnan(metrics.threshold([], 0.01))


@given(SCORES, st.sampled_from([0.05, 0.1, 0.5]))
def test_no_more_than_the_rate_exceeds_a_threshold(negatives: list[int], rate: float) -> None:
    cut = metrics.threshold(negatives, rate)
    if not math.isnan(cut):
        assert np.mean(np.array(negatives) > cut) <= rate


def test_recall_wants_the_right_edit_above_the_threshold() -> None:
    assert metrics.recall([5, 6, 7, 8], [True, True, False, True], 5) == 0.5
    assert math.isnan(metrics.recall([5], [True], float("nan")))


@given(SCORES, SCORES)
def test_auroc_is_the_share_of_pairs_in_order(positives: list[int], negatives: list[int]) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    assert metrics.auroc(positives, negatives) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize(
    ("positives", "negatives", "rate"),
    [([2, 3], [0, 1], 0.0), ([0, 1], [2, 3], 1.0), ([1, 3], [0, 2], 0.5), ([1, 1], [1, 1], 0.5)],
)
def test_equal_error_rate_by_hand(positives: list[int], negatives: list[int], rate: float) -> None:
    assert metrics.equal_error_rate(positives, negatives) == pytest.approx(rate)


@given(SCORES, SCORES)
def test_equal_error_rate_mirrors(positives: list[int], negatives: list[int]) -> None:
    rate = metrics.equal_error_rate(positives, negatives)
    mirrored = metrics.equal_error_rate([-n for n in negatives], [-p for p in positives])
    assert 0 <= rate <= 1
    assert rate == pytest.approx(mirrored)


def test_calibration_error_by_hand() -> None:
    assert metrics.calibration_error([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1]) == 0
    assert metrics.calibration_error([0.9, 0.9], [1, 0], bins=10) == pytest.approx(0.4)
    assert metrics.calibration_error([0.05, 0.95], [1, 0], bins=2) == pytest.approx(0.95)


def test_ranks_order_by_probability_then_score() -> None:
    assert metrics.ranks([(1.0, 0.7), (0.2, 0.9), (1.0, 0.8), (0.2, 0.9)]).tolist() == [1, 0, 2, 0]
    assert metrics.ranks([]).tolist() == []


@pytest.mark.parametrize(
    ("reply", "target", "right"),
    [
        ("English", "English", True),
        ("english.", "English", True),
        ("English, since 1920", "English", True),
        ("The Beatles", "Beatles", True),
        ("Beatles", "The Beatles", True),
        ("New York City", "New York", True),
        ("Englishman", "English", False),
        ("not English", "English", False),
        ("", "English", False),
        ("anything", "", False),
    ],
)
def test_a_reply_says_the_target_if_it_begins_with_it(reply: str, target: str, right: bool) -> None:
    assert says(reply, target) is right


def test_a_subject_is_named_as_whole_words() -> None:
    named = names(["Fort A", "Zenda's Keep", "", "!"])
    assert named("where is FORT A, please?")
    assert named("the gate of Zenda's keep")
    assert not named("where is Fort Ab?")
    assert not named("a fort")
    assert not named("")


class Counting:
    identity, dimension = "counting", 1

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: list[str]) -> np.ndarray:
        self.texts += texts
        return np.array([[len(text)] for text in texts], dtype=np.float32)


def test_prepared_texts_are_encoded_once_and_the_same() -> None:
    encoder = Counting()
    prepared = Prepared(encoder)
    prepared.prepare(["a", "bb", "a"], batch=1)
    assert encoder.texts == ["bb", "a"]
    assert prepared.encode(["a", "bb"]).tolist() == [[1], [2]]
    assert encoder.texts == ["bb", "a"]
    assert prepared.encode(["a", "ccc"]).tolist() == [[1], [3]]
    with prepared.forgetting():
        prepared.encode(["a"])
    assert encoder.texts[-1] == "a"
    assert len(prepared.encode([])) == 0
    assert prepared.texts is encoder.texts  # what an encoder has beyond the seam is there too
    assert not hasattr(prepared, "readable")
