"""Calibrating a two-stage gate: what the figures promise, how they are kept, and `memedit calibrate`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeVerifier
from hypothesis import given
from hypothesis import strategies as st

from memedit import EditMemory, Message
from memedit.cli import cli
from memedit.edits import Draft
from memedit.errors import InputError, NotFoundError
from memedit.scope._calibration import Calibration, load_two_stage
from memedit.scope.two_stage import TwoStage
from memedit.training.calibration import (
    Pair,
    Scored,
    calibrate,
    calibrate_pairs,
    combine,
    conformal,
    false_fires,
    floor_for,
    logistic,
    measure,
    multi_hop_threshold,
    needed,
    read_pairs,
    recall,
    scores_of,
    thresholds_for,
)

SIZES = st.lists(st.floats(-20, 20), min_size=1, max_size=60)


def simulated(seed: int, count: int, mean: float, candidates: int = 3) -> Scored:
    random = np.random.default_rng(seed)
    cosine = np.clip(random.normal(0.3 + 0.05 * mean, 0.1, (count, candidates)), -1, 1)
    return Scored(cosine, random.normal(mean, 2.0, (count, candidates)))


# --- the conformal promise


@pytest.mark.parametrize("rate", [0.2, 0.05, 0.01])
def test_the_promised_rate_is_kept_on_average(rate: float) -> None:
    """Over many draws of held-out questions, whatever the distribution; within what chance allows."""
    random = np.random.default_rng(5)
    draws, fresh = 200, 500
    fired = 0
    for _ in range(draws):
        held, new = (random.standard_t(2, size) for size in (needed(rate) + 40, fresh))
        bound = conformal(held, rate)
        assert bound is not None
        fired += int((new > bound).sum())
    share = fired / (draws * fresh)
    # The rate that comes about in one draw scatters like a Beta variable with n held-out questions.
    spread = math.sqrt(rate * (1 - rate) * (1 / (draws * fresh) + 1 / (draws * (needed(rate) + 40))))
    assert share <= rate + 4 * spread
    assert share >= rate / 2 - 4 * spread  # and not for being far too strict


@given(SIZES, st.sampled_from([0.5, 0.2, 0.1, 0.05, 0.02]))
def test_no_more_than_the_share_of_the_held_out_exceeds(scores: list[float], rate: float) -> None:
    bound = conformal(scores, rate)
    if len(scores) < needed(rate):
        assert bound is None
        return
    assert bound is not None
    assert sum(score > bound for score in scores) <= rate * (len(scores) + 1)


@given(SIZES)
def test_a_stricter_rate_never_has_a_lower_bound(scores: list[float]) -> None:
    bounds = [conformal(scores, rate) for rate in (0.5, 0.2, 0.1, 0.05)]
    known = [bound for bound in bounds if bound is not None]
    assert known == sorted(known)
    assert bounds[: len(known)] == known


def test_how_many_a_rate_needs() -> None:
    assert [needed(rate) for rate in (0.5, 0.1, 0.01, 0.005, 0.001)] == [1, 9, 99, 199, 999]
    assert conformal(range(198), 0.005) is None
    assert conformal(range(199), 0.005) == 198
    assert conformal([1.0, math.nan, -math.inf], 0.25) == 1.0
    assert conformal([1.0, math.nan, -math.inf], 0.5) == -math.inf


# --- the figures


def test_the_floor_loses_few() -> None:
    cosines = np.random.default_rng(1).uniform(0.3, 0.9, 4000)
    floor = floor_for(cosines)
    assert (cosines < floor).mean() <= 0.005
    assert (cosines < floor + 0.01).mean() > 0.005
    assert floor_for([0.5, 0.7, math.nan]) == pytest.approx(0.5)
    assert floor_for([]) == -1.0


def test_the_worst_kind_of_negative_sets_the_threshold() -> None:
    easy, hard = np.linspace(-10, 0, 999), np.linspace(-5, 5, 999)
    both = thresholds_for({"general": {1: easy}, "neighbour": {1: hard}})
    alone = thresholds_for({"neighbour": {1: hard}})
    assert both == alone
    for rate, threshold in both[1].items():
        assert (hard >= threshold).mean() <= rate
        assert (easy >= threshold).mean() <= rate
    assert min(both[1]) == 0.001
    few = thresholds_for({"general": {1: easy}, "rare": {1: np.array([7.0, 8.0])}})
    assert few[1][0.001] > 8  # too few to promise anything of: none of those seen may fire
    assert few[1][0.2] > 8


@given(st.dictionaries(st.sampled_from([1, 10, 100, 1000]), SIZES, min_size=1))
def test_thresholds_rise_with_strictness_and_with_the_memory(scores: dict[int, list[float]]) -> None:
    table = thresholds_for({"any": {size: np.array(values) for size, values in scores.items()}})
    figures = Calibration("x", 1.0, 0.0, table, math.inf, "union")
    sizes = (1, 5, 10, 60, 100, 700, 1000, 5000, 10**5, 10**6)
    for rate in (0.2, 0.05, 0.01, 0.001, 0.00001):
        bounds = [figures.score(rate, size) for size in sizes]
        assert all(later >= earlier - 1e-9 for earlier, later in pairwise(bounds))
    for size in sizes:
        bounds = [figures.score(rate, size) for rate in (0.5, 0.2, 0.05, 0.01, 0.001, 0.00001)]
        assert all(later >= earlier - 1e-9 for earlier, later in pairwise(bounds))


def test_growth_beyond_what_was_measured_is_the_union_bound() -> None:
    table = {1: {0.1: 0.0, 0.01: 1.0, 0.001: 2.0}, 100: {0.1: 1.0, 0.01: 2.0, 0.001: 3.0}}
    figures = Calibration("x", 1.0, 0.0, table, math.inf, "union")
    assert figures.score(0.01, 1000) == pytest.approx(figures.score(0.001, 100))
    assert figures.score(0.01, 10) == pytest.approx(1.5)
    assert figures.score(0.01, 0) == figures.score(0.01, 1) == pytest.approx(1.0)
    # It holds: the best of ten memories' independent scores
    random = np.random.default_rng(3)
    one = random.gumbel(0, 1, 20_000)
    measured = thresholds_for({"any": {100: one}})
    grown = Calibration("x", 1.0, 0.0, measured, math.inf, "union").score(0.05, 1000)
    ten = random.gumbel(0, 1, (20_000, 10)).max(axis=1)
    assert 0.03 < (ten >= grown).mean() <= 0.055


def test_nothing_that_passes_leaves_finite_figures() -> None:
    nothing = np.full(300, -np.inf)
    table = thresholds_for({"general": {1: nothing}})
    assert all(math.isfinite(value) for value in table[1].values())
    assert thresholds_for({"general": {1: np.array([2.0])}}) == {1: {0.2: 2.0001}}


def test_weights_are_never_negative_and_finite() -> None:
    right, wrong = simulated(1, 300, 4.0, 1), [simulated(2, 300, -4.0), simulated(3, 50, -2.0)]
    a, b, c = combine(right, wrong)
    assert a > 0
    assert b >= 0
    assert a * 4.0 + b * 0.5 + c > 0 > a * -4.0 + b * 0.1 + c
    (against, plain), _ = logistic(np.array([[0.0, 1.0], [0.1, 2.0]]), np.array([[5.0, 0.0], [6.0, -1.0]]))
    assert against == 0.0
    assert 0 < plain < 1e3
    with pytest.raises(InputError, match="pairs out of scope"):
        combine(right, [])


def test_what_lies_below_the_floor_cannot_fire() -> None:
    pairs = Scored([[0.9, 0.2], [0.1, np.nan]], [[-3.0, 9.0], [9.0, np.nan]])
    assert scores_of(pairs, "both", (1.0, 0.0, 0.0), 0.5).tolist() == [-3.0, -math.inf]
    assert scores_of(pairs, "verifier", (1.0, 0.0, 0.0), 0.5).tolist() == [9.0, 9.0]
    assert scores_of(pairs, "proposer", (1.0, 0.0, 0.0), 0.5).tolist() == [0.9, 0.1]
    with pytest.raises(InputError, match="shape"):
        Scored([[1.0]], [[1.0, 2.0]])


def test_a_calibration_made_and_measured(tmp_path: Path) -> None:
    sizes = {1: -6.0, 100: -4.0}
    negatives = {"general": {size: simulated(7 + size, 2000, mean - 2) for size, mean in sizes.items()}}
    negatives["neighbour"] = {size: simulated(8 + size, 2000, mean) for size, mean in sizes.items()}
    made = calibrate(
        {"paraphrase": simulated(5, 2000, 9.0, 1)}, negatives, encoder="e", verifier="v", facts={"by": "me"}
    )
    path = tmp_path / "c.json"
    made.write(path)
    figures = load_two_stage(path)
    assert figures == made
    assert figures.negatives == {kind: {1: 2000, 100: 2000} for kind in ("general", "neighbour")}
    assert figures.facts["by"] == "me"
    for kind, mean in (("general", -2.0), ("neighbour", 0.0)):
        for size, of_size in sizes.items():
            fresh = simulated(100 + size, 4000, of_size + mean)
            assert false_fires(fresh, figures, 0.005, size) <= 0.005 + 4 * math.sqrt(0.005 / 2000), kind
    assert recall(simulated(50, 1000, 9.0, 1), figures, 0.005, 100) > 0.95
    assert figures.stages["both"].probability(figures.score(9.0, 0.7)) > 0.9
    with pytest.raises(InputError, match="out of scope"):
        calibrate({"x": simulated(5, 20, 9.0, 1)}, {"general": {}}, encoder="e", verifier="v")


def some_named(seed: int, count: int, mean: float, of_named: float, share: float = 0.3) -> Scored:
    """Questions of which a share names the subject of its nearest edit."""
    random = np.random.default_rng(seed)
    plain = simulated(seed + 1000, count, mean)
    named = np.zeros(plain.logit.shape, bool)
    named[:, 0] = random.random(count) < share
    return Scored(plain.cosine, np.where(named, random.normal(of_named, 2.0, plain.logit.shape), plain.logit), named)


def test_edits_that_are_named_have_thresholds_of_their_own(tmp_path: Path) -> None:
    """More edits bring more false matches among those that are not named; both together keep the rate."""
    sizes = {1: -6.0, 100: -4.0, 1000: -1.0}
    negatives = {
        "neighbour": {size: some_named(size, 6000, mean, -4.0, 0.0) for size, mean in sizes.items()},
        "same_subject": {size: some_named(size, 6000, mean, -4.0, 1.0) for size, mean in sizes.items()},
    }
    right = simulated(5, 2000, 5.0, 1)
    right = Scored(right.cosine, right.logit, np.ones(right.logit.shape, bool))
    made = calibrate({"paraphrase": right}, negatives, encoder="e", verifier="v", by_name=True)
    made.write(tmp_path / "c.json")
    figures = load_two_stage(tmp_path / "c.json")
    assert figures == made
    for size, mean in sizes.items():
        for rate in (0.02, 0.005):
            for share in (0.0, 1.0):
                fresh = [some_named(70 + seed, 6000, mean, -4.0, share) for seed in range(10)]
                fires = [false_fires(one, figures, rate, size) for one in fresh]
                assert np.mean(fires) <= rate + 3 * math.sqrt(rate / 6000), (size, rate, share)
    both = figures.stages["both"]
    (small, taken), (large, more) = both.bounds(0.005, 1000), both.bounds(0.005, 100_000)
    assert large == small
    assert more > taken > 0
    lax = Calibration("e", 1.0, 0.0, {1: {0.01: -3.0}}, math.inf, "union", {1: {0.01: 1.0}})
    assert lax.bounds(0.01, 1) == (1.0, 0.0)  # what is not named is never easier than what is
    assert recall(right, figures, 0.005, 100_000) == recall(right, figures, 0.005, 1000) > 0.9
    plain = calibrate({"paraphrase": right}, negatives, encoder="e", verifier="v")
    assert plain.stages["both"].named is None
    assert recall(right, plain, 0.005, 1000) < recall(right, figures, 0.005, 1000)


def test_the_multi_hop_threshold() -> None:
    probabilities = np.random.default_rng(0).uniform(0, 1, 1000)
    assert (probabilities >= multi_hop_threshold(probabilities)).mean() <= 0.02
    with pytest.raises(InputError, match="49"):
        multi_hop_threshold(probabilities[:30])


# --- through a real memory


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "memory", encoder="letters", store="exact") as memory:
        memory.add_many([Draft(statement=statement(number)) for number in range(40)])
        yield memory


def statement(number: int) -> str:
    return f"The harbour of Isle{number} is called Port{number}"


def own_pairs(right: int = 40, wrong: int = 60) -> list[Pair]:
    found = [
        Pair((Message("user", f"How is the harbour of Isle{number} called"),), statement(number), number)
        for number in range(right)
    ]
    found += [Pair((Message("user", f"How high is hill {number} of Upper Bay"),), None) for number in range(wrong)]
    return found


def test_measuring_sees_what_the_gate_sees(memory: EditMemory, tmp_path: Path) -> None:
    pairs = own_pairs(5, 2)
    head = memory.journal.head()
    found = measure(memory, [pair.messages for pair in pairs], FakeVerifier())
    ids = {edit.statement: edit.id for edit in memory.list()}
    right = found.right([ids[pair.edit] if pair.edit else None for pair in pairs])
    assert len(right) == 5
    assert memory.journal.head() == head
    report = calibrate_pairs(own_pairs(), memory, FakeVerifier(), false_fire=0.05)
    report.figures.write(tmp_path / "c.json")
    scope = TwoStage(calibration=tmp_path / "c.json", verifier=FakeVerifier(), false_fire=0.05)
    decision = scope.decide(pairs[0].messages, memory)
    assert decision.hits[0].edit.statement == pairs[0].edit
    assert decision.hits[0].score == pytest.approx(right.cosine[0, 0])
    assert not np.isnan(right.logit).any()
    missing = found.right(["e-none", *[None] * 6])
    assert np.isnan(missing.cosine).all()


def test_calibrating_on_ones_own_pairs(memory: EditMemory) -> None:
    report = calibrate_pairs(own_pairs(), memory, FakeVerifier(), false_fire=0.05)
    assert (report.edits, report.positives, report.negatives) == (40, 40, 60)
    assert report.recall is not None
    assert report.recall > 0.8  # of twenty, and the floor is the lowest of twenty others
    assert report.false_fires is not None
    assert report.false_fires <= 0.1
    assert report.promised
    assert report.notes == ()
    assert report == calibrate_pairs(own_pairs(), memory, FakeVerifier(), false_fire=0.05)
    strict = calibrate_pairs(own_pairs(), memory, FakeVerifier(), false_fire=0.001)
    assert not strict.promised
    assert "needs 999" in strict.notes[0]
    with pytest.raises(InputError, match="there must be 249"):
        calibrate_pairs(own_pairs(wrong=10), memory, FakeVerifier())
    with pytest.raises(InputError, match="only 5 of the questions fall under an edit"):
        calibrate_pairs(own_pairs(right=5), memory, FakeVerifier())
    again = calibrate_pairs(own_pairs(right=5), memory, FakeVerifier(), false_fire=0.05, known=report.figures)
    assert again.figures.weights == report.figures.weights
    assert "stay as they were" in again.notes[0]
    with pytest.raises(NotFoundError, match="line 7"):
        calibrate_pairs([*own_pairs(), Pair((Message("user", "Who?"),), "The sea is wet", 7)], memory, FakeVerifier())
    with pytest.raises(InputError, match="false_fire"):
        calibrate_pairs(own_pairs(), memory, FakeVerifier(), false_fire=2)


def test_pairs_are_read_with_their_faults_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    turns = [{"role": "user", "content": "Acme?"}, {"role": "user", "content": "who leads it?"}]
    lines = [{"question": "Who?", "edit": " x "}, {"question": turns}, {"question": "y", "edit": None}]
    path.write_text("\n\n".join(map(json.dumps, lines)))
    assert [(len(pair.messages), pair.edit, pair.line) for pair in read_pairs(path)] == [
        (1, "x", 1),
        (2, None, 3),
        (1, None, 5),
    ]
    for line in (
        "{",
        "[]",
        "{}",
        '{"question": ""}',
        '{"question": 3}',
        '{"question": "x", "edit": ""}',
        '{"question": [1]}',
    ):
        path.write_text('{"question": "fine"}\n' + line)
        with pytest.raises(InputError, match=r"pairs.jsonl:2"):
            read_pairs(path)
    with pytest.raises(NotFoundError, match="there is no file"):
        read_pairs(tmp_path / "none")


# --- the command


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("MEMEDIT_ENCODER", "letters")
    monkeypatch.setattr("memedit.training.calibration.verifier_for", lambda encoder: FakeVerifier())
    lines = [{"question": pair.messages[0].content, "edit": pair.edit} for pair in own_pairs()]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == code, result.output
        return result

    return call


def test_the_command_writes_a_file_that_the_gate_reads(run: Callable[..., Result], monkeypatch: Any) -> None:
    result = run("calibrate", "--data", "q.jsonl", "--alone", "--false-fire", "0.05", "--out", "own.json", "--json")
    found = json.loads(result.stdout)
    assert (found["edits"], found["in_scope"], found["out_of_scope"], found["promised"]) == (40, 40, 60, True)
    assert found["recall"] > 0.8
    assert 0 < found["threshold"] < 1
    assert "MEMEDIT_CALIBRATION" in result.stderr
    assert load_two_stage(Path("own.json")).encoder == "letters-1-256"
    run("calibrate", "--data", "q.jsonl", "--alone", "--out", "own.json", code=2)  # it exists, and nobody confirms
    run("calibrate", "--data", "q.jsonl", "--alone", "--out", "own.json", "--yes")
    run("calibrate", "--data", "none.jsonl", code=2)
    run("calibrate", "--data", "q.jsonl", code=2)  # no memory
    run("add", statement(3))
    assert "line 1" in run("calibrate", "--data", "q.jsonl", "--out", "new.json", code=2).stderr
    monkeypatch.setenv("MEMEDIT_CALIBRATION", "own.json")
    monkeypatch.setattr("memedit.scope.two_stage._shipped_verifier", lambda folder: FakeVerifier())
    explained = json.loads(
        run("explain", "How is the harbour of Isle3 called", "--scope", "two_stage", "--json").stdout
    )
    assert explained["in_scope"]
    assert explained["scope"] == "two_stage"
