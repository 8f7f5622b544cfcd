"""The share of the measured datasets that trains the gate: a stable split, never asked of where `untrained` is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memedit.bench._records import load
from memedit.training import scope_wordings
from memedit.training.scope_asked import TRAINED, declared, frame, read, share_of, trained_on, untrained

NAMES = [f"Place number {number}" for number in range(60)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {
            "topic": "places_city",
            "subject": name,
            "relation": "twin town",
            "object": f"Town {number}",
            "question": f"What is the twin town of {name}?",
            "paraphrased_question": f"Which town is twinned with {name}?",
            "yes_question": f"Is Town {number} the twin town of {name}?",
            "no_question": f"Is Ulm the twin town of {name}?",
            "locality_question": f"How many bridges does {name} have?",
            "reversed_relation_question": f"Which place has Town {number} as its twin town?",
            "question_2hop": f"Who is the mayor of the twin town of {name}?",
            "answer_2hop": "Ann Li",
        }
        for number, name in enumerate(NAMES)
    ]
    folder = tmp_path / "hallueditbench"
    folder.mkdir()
    (folder / "questions.json").write_text(json.dumps(rows))
    return tmp_path


def test_the_split_is_by_subject_and_leaves_a_part_unseen(data: Path) -> None:
    trained = {fact.record.subject for fact in read(data)}
    calibrated = {fact.record.subject for fact in read(data, held_out=True)}
    assert trained
    assert calibrated
    assert not trained & calibrated
    assert trained == {name for name in NAMES if share_of(name) < TRAINED}
    assert trained | calibrated == {name for name in NAMES if trained_on(name)} < set(NAMES)
    assert not {fact.record.subject for fact in read(data, never=["place number 1", "place number 2"])} & set(
        NAMES[1:3]
    )


def test_a_name_lies_where_it_lies_however_it_is_written() -> None:
    assert share_of("The  Acme") == share_of("acme")
    assert 0 <= share_of("Acme") < 1


def test_every_kind_of_question_is_taken_along(data: Path) -> None:
    fact = read(data)[0]
    assert fact.kind == "place"
    assert {kind for kind, texts in fact.record.asked.items() if texts} == {
        "prompt", "paraphrase", "yes", "no", "reversed",
    }  # fmt: skip
    assert "bridges" in fact.same_subject[0]
    assert "mayor" in fact.several[0]


def test_untrained_asks_nothing_of_what_was_trained_on(data: Path) -> None:
    whole = next(load(data, ["hallueditbench"]))
    left = untrained(whole, data)
    assert len(left.records) == len(whole.records)  # the memory is as full as ever
    asked = {record.subject for record in left.records if record.asked}
    assert asked == {name for name in NAMES if not trained_on(name)}
    assert all(bool(record.beside) == bool(record.asked) for record in left.records)
    assert {left.records[at].subject for _, needed in left.hops for at in needed} == asked


def test_frame_and_declared() -> None:
    assert frame("Is Ulm the twin town of Acme?", "Acme") == "Is Ulm the twin town of {subject}?"
    assert frame("Acme and Acme", "Acme") is None
    assert frame("Where is Acmeville?", "Acme") is None
    assert declared("What is the twin town of Acme?", "Acme", "Ulm") == "The twin town of Acme is Ulm"
    assert declared("Where is Acme?", "Acme", "Ulm") is None
    assert declared("What is the Ulm of Acme?", "Acme", "Ulm") is None


def test_what_the_words_tell_is_counted_over_subjects_that_trained_the_gate(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "hallueditbench" / "questions.json"
    rows = [
        {
            **row,
            "relation": "capital",
            "question": f"What is the capital of {row['subject']}?",
            "paraphrased_question": f"Which trees grow around {row['subject']}?",
            "locality_question": f"What is the currency of {row['subject']}?",
        }
        for row in json.loads(path.read_text())
    ]
    path.write_text(json.dumps(rows))
    scope_wordings.main(["--data", str(data)])
    number = sum(map(trained_on, NAMES))
    assert 0 < number < len(NAMES)
    assert json.loads(capsys.readouterr().out) == {
        "hallueditbench": {
            "prompt": {"same": number, "other": 0, "untold": 0},
            "paraphrase": {"same": 0, "other": 0, "untold": number},
            "same-subject": {"same": 0, "other": number, "untold": 0},
        }
    }
