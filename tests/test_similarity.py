"""The similarity gate: what it decides, at which threshold, and how a calibration is made and read."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import ListMemory, edit
from hypothesis import given, settings
from hypothesis import strategies as st

from memedit.edits import Draft, Message
from memedit.encoders import load_encoder
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.scope import scopes
from memedit.scope._calibration import Calibration, Sizes, load_calibration
from memedit.scope.similarity import Similarity

FIGURES = Calibration("letters-1-256", 20.0, -12.0, {1: {0.1: 0.4, 0.01: 0.6}, 100: {0.1: 0.5, 0.01: 0.8}})


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "calibration.json"
    figures = {"encoder": FIGURES.encoder, "slope": 20.0, "intercept": -12.0, "thresholds": FIGURES.thresholds}
    path.write_text(json.dumps(figures))
    return path


def ask(scope: Similarity, memory: ListMemory, *texts: str) -> Any:
    return scope.decide([Message("user", text) for text in texts], memory)  # type: ignore[arg-type]


def test_the_decision_carries_all_that_was_looked_at(calibration: Path) -> None:
    memory = ListMemory(edit(1, "The CEO of Acme is Dana Li"), edit(2, "Bread is baked at dawn"))
    scope = Similarity(calibration=calibration)
    near = ask(scope, memory, "something else", "Is the CEO of Acme Dana Li?")
    assert memory.searches == ["Is the CEO of Acme Dana Li?"]  # one search, so one encode
    assert near.in_scope
    assert near.label == "single"
    assert [hit.edit.seq for hit in near.hits] == [1]
    assert {hit.edit.seq for hit in near.candidates} == {1, 2}
    assert all(hit.probability == FIGURES.probability(hit.score) for hit in near.candidates)
    assert near.threshold == pytest.approx(FIGURES.probability(FIGURES.score(0.01, 2)))
    assert near.scope == "similarity"
    assert near.notes == ()
    far = ask(scope, memory, "How tall are giraffes?")
    assert not far.in_scope
    assert far.label == "none"
    assert len(far.candidates) == 2


def test_a_laxer_rate_lets_more_in(calibration: Path) -> None:
    memory = ListMemory(edit(1, "The CEO of Acme is Dana Li"))
    question = "Who is the CEO of Acme?"
    assert not ask(Similarity(calibration=calibration, false_fire=0.0001), memory, question).in_scope
    assert ask(Similarity(calibration=calibration, false_fire=0.2), memory, question).in_scope


def test_nothing_to_judge_and_nothing_remembered(calibration: Path) -> None:
    scope = Similarity(calibration=calibration)
    assert ask(scope, ListMemory(), "Who?").notes == ("nothing is remembered in namespace 'default'",)
    memory = ListMemory(edit(1, "x"))
    assert ask(scope, memory).notes == ("there is no question to judge",)
    assert ask(scope, memory, " ").candidates == ()
    assert memory.searches == []


def test_a_foreign_encoder_is_named(calibration: Path) -> None:
    memory = ListMemory(edit(1, "x y z"))
    memory.encoder.identity = "another"
    assert (
        "calibrated for the encoder letters-1-256, not for another"
        in ask(Similarity(calibration=calibration), memory, "x").notes[0]
    )


def test_the_size_of_the_memory_is_counted_only_when_it_changed(calibration: Path, monkeypatch: Any) -> None:
    memory = ListMemory(edit(1, "x y z"))
    counted: list[str] = []
    monkeypatch.setattr(ListMemory, "count", lambda self, namespace: counted.append(namespace) or 500)
    scope = Similarity(calibration=calibration)
    for _ in range(3):
        ask(scope, memory, "x")
    assert counted == ["default"]
    memory.edits.append(edit(4, "still near enough"))
    ask(scope, memory, "x")
    assert counted == ["default"]
    memory.edits.append(edit(20, "more than a hundredth"))
    ask(scope, memory, "x")
    assert counted == ["default"] * 2


def test_a_large_memory_s_size_is_that_of_the_last_search(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("memedit.scope._calibration.MANY", 3)
    sizes = Sizes()
    with EditMemory.open(tmp_path, encoder="letters", store="exact") as memory:
        counted, count = [], memory.count
        monkeypatch.setattr(memory, "count", lambda namespace: counted.append(namespace) or count(namespace))
        memory.add_many(Draft(statement=f"The CEO of Firm {at} is Ann") for at in range(4))
        assert [sizes(memory, "default") for _ in range(3)] == [4, 4, 4]
        assert len(counted) == 1
        memory.add("The CEO of Acme is Dana Li")
        memory.search("Who leads Acme?")
        monkeypatch.setattr(memory.journal, "head", lambda: pytest.fail("asked anew"))
        assert [sizes(memory, "default") for _ in range(3)] == [5, 5, 5]
        assert len(counted) == 2


def test_interpolation() -> None:
    assert FIGURES.score(0.01, 1) == pytest.approx(0.6)
    assert FIGURES.score(0.01, 0) == pytest.approx(0.6)
    assert FIGURES.score(0.01, 100) == pytest.approx(0.8)
    assert FIGURES.score(0.01, 10) == pytest.approx(0.7)
    assert FIGURES.score(10**-1.5, 1) == pytest.approx(0.5)
    assert FIGURES.score(0.01, 10**4) == 1.0
    for wrong in (0.0, 1.0, -1.0, 2.0):
        with pytest.raises(InputError, match="false_fire"):
            FIGURES.score(wrong, 1)


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_probability_rises_with_the_score(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 < FIGURES.probability(low) <= FIGURES.probability(high) < 1


def test_the_shipped_calibration_is_sound() -> None:
    scope = scopes.get("similarity")()
    figures = scope._figures
    assert figures.encoder == load_encoder("onnx").identity, "the default encoder's, or every decision has a note"
    for table in figures.thresholds.values():
        assert all(strict >= lax for (_, lax), (_, strict) in pairwise(sorted(table.items(), reverse=True)))
    sizes = [figures.score(0.01, size) for size in (1, 10, 100, 1000, 10_000, 1_000_000)]
    assert sizes == sorted(sizes)


def test_calibrations_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for text in (None, "{", "[]", '{"encoder": "x"}'):
        if text is not None:
            path.write_text(text)
        with pytest.raises(InputError, match="is no calibration"):
            load_calibration(path)


def test_calibrating(tmp_path: Path) -> None:
    from memedit.training.similarity import _logistic, main

    rows = [
        {
            "prompt": f"The harbour of Isle{n} is called",
            "subject": f"Isle{n}",
            "target_new": f"Port{n}",
            "rephrase_prompt": f"Isle{n}'s harbour is called",
            "locality_prompt": f"The harbour of Bay{n} is called",
        }
        for n in range(12)
    ]
    (tmp_path / "counterfact").mkdir()
    (tmp_path / "counterfact" / "train.json").write_text(json.dumps(rows))
    (tmp_path / "questions").mkdir()
    lines = [json.dumps({"question": f"how high is hill {n}"}) for n in range(20)]
    (tmp_path / "questions" / "nq_open_dev.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out.json"
    main(["--data", str(tmp_path), "--encoder", "letters", "--out", str(out)])
    made = load_calibration(out)
    assert made.encoder == "letters-1-256"
    assert set(made.thresholds) == {1, 10, 12}
    assert made.slope > 0
    assert made.thresholds[12][0.001] >= made.thresholds[12][0.2] > 0
    right, wrong = np.array([0.6, 0.8, 0.9], np.float32), np.array([0.1, 0.2, 0.7], np.float32)
    slope, intercept = _logistic(right, wrong)
    assert slope > 0 > intercept
