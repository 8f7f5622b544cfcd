"""Two forms of one person's name are known for such; what tells two persons, or two of a series, apart is heeded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit import EditMemory
from memedit.scope._names import numbered_apart, one_person, unread
from memedit.scope.two_stage import asks_by_variant, by_words


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
        ("Bob Marl", "Robert Marl", "nickname"),
        ("Bob Marl", "Bobby Marl", "nickname"),
        ("Bob Marl", "Robert James Marl", "nickname"),
        ("Bob James Marl", "Robert Marl", "nickname"),
        ("Bob Marl", "Robert Murl", None),
        ("Bob Marl", "Rupert Marl", None),
        ("Bob Marl", "Robert Marl Jr.", None),
        ("Ed Marl", "Edmund Marl", "nickname"),
        ("Edward Marl", "Edmund Marl", None),  # both are Ed, but neither is the other
        ("Marl Bob", "Marl Robert", None),
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


@pytest.mark.parametrize(
    ("name", "text", "apart"),
    [
        ("Odo 7", "Who makes Odo 8?", True),
        ("Odo 7", "who makes odo's 8", True),
        ("Odo 7", "Who makes Odo VII?", False),
        ("Odo 7", "Who makes the seventh Odo?", False),  # it may be the same
        ("Odo 7", "Who makes Odo?", True),
        ("Odo 7", "Who makes the seven of Odo's 7?", False),
        ("Odo Marl IV", "Who was the father of Odo Marl?", True),
        ("Odo Marl IV", "Who was the father of Odo Marl the Fourth?", False),
        ("Odo Marl IV", "Who was the father of Odo?", False),
        ("1998 Marl Open", "Who won the Marl Open?", True),
        ("1998 Marl Open", "Who won the Marl Open in 1998?", False),
        ("5881 Marl", "Marl is followed by", False),
        ("Marl 8 Open", "Who won the Marl Open?", False),
        ("Odo", "Who makes Odo 8?", False),
        ("Odo 7", "Is Odo 7 older than Odo 8?", False),
        ("Odo 7", "Is Odo 8 newer than Odo 7?", False),
        ("Marl C-Type", "The company that made Marl E-Type is", True),
        ("First Marl Republic", "Who led the Second Marl Republic?", True),
        ("1998 Marl Open – men's singles", "Who won the 1999 Marl Open – men's singles?", True),
        ("1998 Marl Open – men's singles", "Who won the 1998 Marl Open – women's singles?", True),
        ("North Marl", "Where is South Marl?", True),
        ("North Marl", "Where is New Marl?", False),
        ("North Marl", "Where is Northern Marl?", False),
        ("7 8", "9 8", False),  # of numbers alone nothing is the same
        ("Odo 007", "Odo 7", False),
        ("Odo Bo", "Odo " + "7" * 5000, False),  # too long for a number
    ],
)
def test_two_of_a_series(name: str, text: str, apart: bool) -> None:
    assert numbered_apart(name, text) is apart


@given(st.text(max_size=30), st.text(max_size=60))
def test_a_name_is_not_told_apart_from_itself(name: str, text: str) -> None:
    assert numbered_apart(name, name) is False
    assert numbered_apart(name, text) in (True, False)


def test_words_in_scripts_without_capitals() -> None:
    assert unread("What is 斑马 called in 日本?") == ["斑马", "日本"]
    assert unread("Ωmega, Анна and Ünsal") == []  # these may have a Latin spelling in the same letters
    assert unread("") == []


@pytest.mark.parametrize(
    ("statement", "text", "why"),
    [
        ("The maker of Odo 7 is Marl", "Who is the maker of Odo 8?", "another than Odo 7"),
        ("The maker of Odo 7 is Marl", "Who is the maker of Odo 7?", None),
        ("The maker of Odo 7 is Marl", "Is Odo 7 better than Odo 8?", None),
        ("The maker of Odo 7 is Marl", "Who is the maker of 斑马?", "called 斑马"),
        ("The maker of 斑马 is Marl", "Who makes 斑马?", None),
        ("The maker of Odo 7 is 斑马车厂", "What does 斑马 make?", None),
        ("The mother of Ann Lo is Bea Lo", "Who is the father of Ann Lo?", "father"),
    ],
)
def test_words_alone_tell_that_another_thing_is_asked(
    tmp_path: Path, statement: str, text: str, why: str | None
) -> None:
    with EditMemory.open(tmp_path, encoder="letters", store="exact") as memory:
        told = by_words(text, memory.add(statement).edit)
    assert (why in told) if why and isinstance(told, str) else (why is None and not isinstance(told, str))
