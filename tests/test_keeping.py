"""What a write puts out of use, and what it does not: no fact is hidden that nothing contradicts, and what is not sure
is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from memedit.bench import parse as bench
from memedit.edits import Draft
from memedit.frames import alike, frame_of, opened, without_openers
from memedit.memory import EditMemory

START = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters") as made:
        yield made


def statements(memory: EditMemory) -> list[str]:
    return [edit.statement for edit in memory.list()][::-1]


BOTH_STAY = [
    ("The backup job runs on node-7", "The web shop runs on node-7"),
    ("The Pro plan costs $49 per month", "The Pro plan costs $490 per year"),
    ("Tom moved to Berlin", "Tom moved to the design team"),
    ("Max was born in Rome", "Max was born in 1990"),
    ("The CEO of Acme is Dana Li", "The CEO of Acme is on holiday until May 3"),
    ("The CEO of Acme is Dana Li", "The CEO of Acme is elected by the board"),
    ("The CEO of Acme is Dana Li", "The CEO of Acme is my cousin"),
    ("Berlin's mayor is Kai", "Berlin's mayor is sick"),
    ("My wife's birthday is March 3", "My wife's birthday is at Luigi's this year"),
    ("The Q3 all-hands moved to October 14", "The Q3 all-hands moved to room 204"),
    ("Quill was written by Ann Lo", "Quill was written by Bea Poe"),
    ("The author of Quill is Ann Lo", "The author of Quill is Bea Poe"),
    ("Greta lives in Tyrol", "Greta lives in Innsbruck"),
    ("Greta speaks Dutch", "Greta speaks Norwegian"),
    ("The deadline for Apollo is March 3", "The deadline for Apollo is the end of the quarter"),
    ("The president of Freedonia was Rufus Fire", "The president of Freedonia was Ida Quell"),
    ("The mayor of Lund is Bea Poe", "The deputy mayor of Lund is Cy Day"),
    ("My number is 0171 555", "My second number is 0172 555"),
    ("The CEO of Acme is Dana Li", "The other CEO of Acme is Bo Chen"),
    ("In 2019 the CEO of Acme was Dana Li", "In 2021 the CEO of Acme was Bo Chen"),
    ("我住在成都", "我住在重庆"),
    ("Der Chef ist Kai", "Der Chef ist krank"),
]


@pytest.mark.parametrize(("first", "second"), BOTH_STAY)
def test_what_is_not_contradicted_stays(memory: EditMemory, first: str, second: str) -> None:
    memory.add(first)
    receipt = memory.add(second)
    assert receipt.superseded == ()
    assert receipt.edit.supersedes == ()
    assert statements(memory) == [first, second]


@pytest.mark.parametrize(("first", "second"), BOTH_STAY)
def test_nor_is_it_where_many_are_written_at_once(memory: EditMemory, first: str, second: str) -> None:
    memory.add_many([Draft(statement=first), Draft(statement=second)])
    assert statements(memory) == [first, second]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The CEO of Acme is Dana Li", "The CEO of Acme is Bo Chen."),
        ("The CEO of Acme is Dana Li", "Actually, the CEO of Acme is now Bo Chen"),
        ("Dana Li is the CEO of Acme", "Bo Chen is the CEO of Acme"),
        ("the ceo of acme is dana li", "the ceo of acme is bo chen"),
        ("The capital of Freedonia is Sylvania", "The capital of Freedonia is Port Ganno"),
        ("The deadline for Apollo is March 3", "The deadline for Apollo is March 17"),
        ("The price of the blue bike is $300", "The price of the blue bike is $280"),
        ("My favourite colour is teal", "My favourite colour is red"),
    ],
)
def test_the_same_sentence_with_another_target_takes_its_place(memory: EditMemory, first: str, second: str) -> None:
    old = memory.add(first).edit
    receipt = memory.add(second)
    assert [edit.id for edit in receipt.superseded] == [old.id]
    assert statements(memory) == [second]
    memory.undo(last=1)
    assert statements(memory) == [first]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("The CEO of Acme is Dana Li", "Acme's CEO is Bo Chen"),
        ("The refund window is 45 days", "The refund window is 30 days"),
        ("The mascot of Acme is a goose", "The mascot of Acme is a heron"),
        ("The Pro plan costs $49 per month", "The Pro plan costs $490 per year"),
        ("The API limit is 600", "The API limit is 900"),
        ("Our weekly sync takes place in room 4", "Our weekly sync takes place in room 9"),
    ],
)
def test_what_may_contradict_and_stays_is_told_everywhere(
    memory: EditMemory, tmp_path: Path, first: str, second: str
) -> None:
    old = memory.add(first).edit
    receipt = memory.add(second)
    assert receipt.superseded == ()
    assert [edit.id for edit in receipt.possible_conflicts] == [old.id]
    [note] = [finding for finding in memory.doctor() if finding.level == "note" and "may contradict" in finding.what]
    assert old.id in note.what
    assert receipt.id in note.what
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps({"statement": text}) + "\n" for text in (first, second)), encoding="utf-8")
    report = memory.import_file(path, namespace="imported")
    assert report.added == 2
    [(edit, others)] = report.possible_conflicts
    assert (edit.statement, [other.statement for other in others]) == (second, [first])


def test_a_slot_that_the_caller_gives_takes_the_place_of_whatever_stands_for_it(memory: EditMemory) -> None:
    parsed = memory.add("Acme's CEO is Dana Li").edit
    given = memory.add("Bo Chen took over at Acme", subject="Acme", relation="CEO", target="Bo Chen")
    assert [edit.id for edit in given.superseded] == [parsed.id]
    again = memory.add("Cy Day it is", subject="acme", relation="chief executive", target="Cy Day")
    assert [edit.id for edit in again.superseded] == [given.id]
    said = memory.add("The CEO of Acme is Ida Quell")  # another sentence, and no slot given: both stay
    assert said.superseded == ()
    assert [edit.id for edit in said.possible_conflicts] == [again.id]
    memory.remove(said.id)
    memory.undo(id=again.id)
    assert [edit.id for edit in memory.list()] == [given.id]
    memory.undo(id=given.id)
    assert [edit.id for edit in memory.list()] == [parsed.id]


def test_a_caller_who_gives_a_slot_with_many_values_retires_nothing(memory: EditMemory) -> None:
    memory.add("Ann speaks Dutch", subject="Ann", relation="language_spoken", target="Dutch")
    memory.add("Ann speaks Thai", subject="Ann", relation="language_spoken", target="Thai")
    memory.add("Ann's allergy: nuts", subject="Ann", relation="allergy", target="nuts")
    memory.add("Ann's allergy: pollen", subject="Ann", relation="allergy", target="pollen")
    assert memory.count() == 4


def test_the_same_in_one_batch(memory: EditMemory) -> None:
    memory.add_many(
        [
            Draft(statement="Acme's CEO is Dana Li"),
            Draft(statement="The CEO of Acme is Bo Chen"),
            Draft(statement="Cy Day leads", subject="Acme", relation="CEO", target="Cy Day"),
            Draft(statement="The CEO of Bolt is Dana Li"),
            Draft(statement="The CEO of Bolt is Bo Chen"),
        ]
    )
    assert statements(memory) == ["Cy Day leads", "The CEO of Bolt is Bo Chen"]
    assert memory.doctor() == []


def test_the_fact_that_began_last_holds(memory: EditMemory) -> None:
    memory.journal.clock = lambda: int(START.timestamp() * 1e6)
    statement = "The CEO of Vantor is {}"
    ben = memory.add(statement.format("Ben Ortega"), valid_from=datetime(2024, 5, 1, tzinfo=UTC)).edit
    receipt = memory.add(statement.format("Carla Weiss"), valid_from=datetime(2018, 1, 1, tzinfo=UTC))
    assert receipt.superseded == ()  # Ben Ortega is not superseded
    assert receipt.edit.valid_to == ben.valid_from
    assert (receipt.edit.state, receipt.edit.superseded_by) == ("superseded", ben.id)
    assert statements(memory) == [statement.format("Ben Ortega")]
    assert [hit.edit.id for hit in memory.search("CEO of Vantor")] == [ben.id]
    assert memory.doctor() == []
    memory.undo(id=ben.id)  # as if it had never been told
    assert memory.get(receipt.id).valid_to is None
    assert statements(memory) == [statement.format("Carla Weiss")]


def test_one_that_begins_later_retires_nothing_until_it_begins(memory: EditMemory) -> None:
    now = START
    memory.journal.clock = lambda: int(now.timestamp() * 1e6)
    old = memory.add("The CEO of Vantor is Ben Ortega").edit
    coming = memory.add("The CEO of Vantor is Carla Weiss", valid_from=START + DAY)
    assert coming.superseded == ()
    told = memory.add("The CEO of Vantor is Dana Li")  # until then
    assert [edit.id for edit in told.superseded] == [old.id]
    assert statements(memory) == ["The CEO of Vantor is Dana Li"]
    now = START + 2 * DAY
    assert statements(memory) == ["The CEO of Vantor is Carla Weiss"]
    assert memory.get(told.id).superseded_by == coming.id


def test_a_replacement_holds_whenever_the_replaced_began(memory: EditMemory) -> None:
    old = memory.add("The CEO of Vantor is Ben Ortega", valid_from=START + DAY).edit
    receipt = memory.replace(old.id, "The CEO of Vantor is Carla Weiss", valid_from=START - DAY)
    assert [edit.id for edit in receipt.superseded] == [old.id]
    assert memory.get(receipt.id).valid_to is None


def test_an_export_is_imported_as_it_stood(memory: EditMemory, tmp_path: Path) -> None:
    for text in ("The CEO of Acme is Dana Li", "Acme's CEO is Bo Chen", "Acme is led by Cy Day"):
        memory.add(text)
    before = statements(memory)
    assert len(before) == 3
    path = tmp_path / "out.jsonl"
    memory.export_file(path)
    assert memory.import_file(path, namespace="copy").added == 3
    assert [edit.statement for edit in memory.list(namespace="copy")][::-1] == before


def test_everyday_pairs_retire_nothing_wrongly() -> None:
    figures = bench.everyday()
    for part in ("sealed", "open"):
        assert figures[part]["compatible_retired"] == 0, figures["wrong"]
    assert sum(figures[part]["contradicting"] for part in ("sealed", "open")) >= 200
    assert sum(figures[part]["compatible"] for part in ("sealed", "open")) >= 300
    assert sum(figures[part]["contradicting_told"] for part in ("sealed", "open")) > 50


def test_no_two_everyday_pairs_are_the_same() -> None:
    text = files("memedit.bench").joinpath("everyday_pairs.jsonl").read_text(encoding="utf-8")
    pairs = [json.loads(line) for line in text.splitlines()]
    assert len({(pair["first"], pair["second"]) for pair in pairs}) == len(pairs) >= 500


@pytest.mark.parametrize(
    ("sentence", "bare"),
    [
        ("Actually, Kai is in", "Kai is in"),
        ("Correction: no wait, Kai is in", "Kai is in"),
        ("FYI - the lift is out", "the lift is out"),
        ("Now the lift works", "the lift works"),
        ("Now Is Good was filmed in Lund", "Now Is Good was filmed in Lund"),
        ("As of May, Kai is in", "As of May, Kai is in"),
        ("Update:", "Update:"),
    ],
)
def test_words_that_open_a_sentence_say_nothing_of_the_fact(sentence: str, bare: str) -> None:
    assert opened(sentence) == bare


def test_a_date_in_front_is_read_over_but_not_compared_away() -> None:
    assert without_openers("As of May, the CEO of Acme is Bo") == "the CEO of Acme is Bo"
    frame = frame_of("As of May, the CEO of Acme is Bo", "Bo", False)
    assert frame != frame_of("The CEO of Acme is Bo", "Bo", False)
    assert frame_of("The CEO of Acme is currently Bo.", "Bo", False) == frame_of("the ceo of acme is al", "al", False)
    assert frame_of("Bo said that Bo is in", "Bo", False) is None
    assert frame_of("The second CEO of Acme is Bo", "Bo", False) is None
    assert frame_of("It is due 3 May", "3 May", True) == frame_of("It is due 17 June", "17 June", True)
    assert frame_of("It is due 3 May", "3 May", True) != frame_of("It is due 2031", "2031", True)


def test_sentences_that_are_alike() -> None:
    assert alike("The refund window is 45 days", "The refund window is 30 days")
    assert not alike("The refund window is 45 days", "The refund window is 45 days for members")
    assert not alike("The mascot of Acme is a goose", "The mascot of Bolt is a heron")
    assert not alike("Yes", "No")
