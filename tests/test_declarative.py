"""Questions with their answers as sentences."""

from __future__ import annotations

import pytest
from fakes import edit
from hypothesis import given
from hypothesis import strategies as st

from memedit.declarative import declarative, plainly


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("What is the capital of Alba?", "The capital of Alba is T"),
        ("Who was the discoverer of Alba?", "The discoverer of Alba was T"),
        ("What company made Alba?", "The company that made Alba is T"),
        ("Which sports team drafted Alba?", "The sports team that drafted Alba is T"),
        ("What company was Alba built by?", "The company that Alba was built by is T"),
        ("Which team does Alba play for?", "The team that Alba plays for is T"),
        ("What kind of voice does Alba have?", "The kind of voice that Alba has is T"),
        ("In what year did Alba dissolve?", "The year in which Alba did dissolve is T"),
        ("Of what series is Alba a part of?", "The series of which Alba is a part is T"),
        ("Who designed Alba?", "The person who designed Alba is T"),
        ("By whom was Alba founded?", "The person by whom Alba was founded is T"),
        ("Where did Alba die?", "The place where Alba did die is T"),
        ("When was Alba born?", "The time when Alba was born is T"),
        ("The architect of Alba was who?", "The architect of Alba was T"),
        ("The date of birth of Alba is?", "The date of birth of Alba is T"),
        ("Alba is seen in what work?", "The work that Alba is seen in is T"),
        ("Player Alba played for which team?", "The team that Player Alba played for is T"),
        ("Whose voice is Alba?", None),
        ("How tall is Alba?", None),
        ("What is it made of?", None),
        ("Alba?", None),
    ],
)
def test_a_question_and_its_answer_in_one_sentence(question: str, sentence: str | None) -> None:
    assert declarative(question, "Alba", "T") == sentence


def test_only_a_question_with_its_own_answer_is_turned() -> None:
    asked = edit(1, "Who designed Quill? Ann Lo", subject="Quill", target="Ann Lo")
    assert plainly(asked) == "The person who designed Quill is Ann Lo"
    for statement, subject, target in (
        ("The designer of Quill is Ann Lo", "Quill", "Ann Lo"),
        ("Who designed Quill? Ann Lo", None, "Ann Lo"),
        ("Who designed Quill? Bea", "Quill", "Ann Lo"),
        ("Whose is Quill? Ann Lo", "Quill", "Ann Lo"),
        ("Quill? Yes", "Quill", None),
    ):
        assert plainly(edit(1, statement, subject=subject, target=target)) == statement


@given(st.text(max_size=60), st.text(min_size=1, max_size=10), st.text(min_size=1, max_size=10))
def test_any_text_gives_a_sentence_with_the_target_or_none(question: str, subject: str, target: str) -> None:
    made = declarative(question, subject, target)
    assert made is None or made.endswith(" ".join(target.split()))
