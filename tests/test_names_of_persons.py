"""Two forms of one person's name are known for such, and what tells two persons apart is heeded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit import EditMemory
from memedit.scope._names import one_person
from memedit.scope.two_stage import asks_by_variant


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ("H. W. Vint", "Hugo Walter Vint", "initials"),
        ("H.W. Vint", "Hugo W. Vint", "initials"),
        ("Hugo Walter Vint", "Hugo W. Vint", "initials"),
        ("Hugo Walter Vint", "Hugo K. Vint", None),
        ("H. Vint", "Hugo Vint", "shorter"),  # one initial alone may be another's
        ("Vint HW", "Hugo Walter Vint", "initials"),
        ("Vint H W", "Hugo Walter Vint", "initials"),
        ("Vint WH", "Hugo Walter Vint", None),
        ("Vint H", "Hugo Vint", "shorter"),
        ("Vint Hw", "Hugo Walter Vint", None),  # that is a name, such as Li
        ("Vint V", "Vera Vint", None),  # and that a number
        ("Vint IV", "Ivo Victor Vint", None),
        ("Block 7", "7 Block", None),
        ("H. W. Vint", "Hugo Karl Vint", None),
        ("Ann Lo", "Ann Maria Lo", "shorter"),
        ("Ann Lo", "Ann Lo Quist", "shorter"),
        ("Captain Ann Lo", "Ann Lo", "shorter"),
        ("Añn Lo (botanist)", "Ann Lo", "shorter"),
        ("Odo Marl", "Odo Marl Jr.", None),
        ("Odo Marl", "Odo Marl III", None),
        ("Odo I Marl", "Odo Marl", "shorter"),
        ("Odo Marl", "Bea Odo Marl", None),
        ("Odo", "Odo Marl", None),
        ("Unit 7", "Unit 7 North", None),
        ("Odo Marl", "Odo Murl", None),
        ("", "Odo", None),
    ],
)
def test_forms_of_a_name(one: str, other: str, how: str | None) -> None:
    assert one_person(one, other) == one_person(other, one) == how


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_names_compare_the_same_either_way(one: str, other: str) -> None:
    assert one_person(one, other) == one_person(other, one)


@pytest.mark.parametrize(
    ("statement", "text", "how"),
    [
        ("The occupation of Hugo Walter Vint is baker", "What is the occupation of H. W. Vint?", "initials"),
        ("The occupation of Ann Maria Lo is baker", "The occupation of Ann Lo is", "shorter"),
        ("The occupation of Ann Maria Lo is baker", "Who is the mother of Ann Lo?", None),
        ("The occupation of Ann Maria Lo is baker", "Ann Lo likes bread", None),
        ("The capital of New Marl Island is Odo", "What is the capital of New Marl?", None),  # no person
    ],
)
def test_what_is_asked_under_another_form(tmp_path: Path, statement: str, text: str, how: str | None) -> None:
    with EditMemory.open(tmp_path, encoder="letters", store="exact") as memory:
        assert asks_by_variant(text, memory.add(statement).edit) == how
