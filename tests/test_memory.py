"""EditMemory: what users do with it, one memory and one process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memedit.edits import Draft
from memedit.errors import InputError, JournalError, NotFoundError
from memedit.memory import LONGEST_STATEMENT, EditMemory, about
from memedit.rules import naming_live
from memedit.schema import to_micros

START = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def opened(folder: Path, **given: object) -> EditMemory:
    memory = EditMemory.open(folder, encoder="letters", store="exact", **given)  # type: ignore[arg-type]
    memory.journal.clock = lambda: to_micros(START)
    return memory


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with opened(tmp_path / "facts") as made:
        yield made


def at(memory: EditMemory, moment: datetime) -> None:
    memory.journal.clock = lambda: to_micros(moment)


def statements(memory: EditMemory, **which: object) -> list[str]:
    return [edit.statement for edit in memory.list(**which)]  # type: ignore[arg-type]


# Adding


def test_a_sentence_becomes_an_edit(memory: EditMemory) -> None:
    receipt = memory.add("The CEO of Acme is Dana Li", aliases=["Acme Corp"], source="press release", author="ann")
    edit = receipt.edit
    assert (edit.subject, edit.target, edit.aliases) == ("Acme", "Dana Li", ("Acme Corp",))
    assert (edit.author, edit.source, edit.created_at, edit.state) == ("ann", "press release", START, "current")
    assert receipt.superseded == receipt.possible_conflicts == ()
    assert receipt.id.startswith("e-")
    assert len(receipt.id) == 12
    keys = memory.journal.keys([edit.seq])[edit.seq]
    assert keys[0] == edit.statement
    assert edit.question in keys
    assert "The CEO of Acme Corp is Dana Li" in keys
    assert len(keys) <= 16


def test_a_question_in_the_inverses_words_is_a_key(memory: EditMemory) -> None:
    edit = memory.add("The mother of Ann Lo is Bea Lo").edit
    assert "Who is the child of Bea Lo?" in memory.journal.keys([edit.seq])[edit.seq]


def test_what_is_said_outright_wins_over_parsing(memory: EditMemory) -> None:
    edit = memory.add(
        "Acme, Dana Li", subject="Acme", relation="boss", target="Dana Li", prompt="Acme is run by", question="Who?"
    ).edit
    assert (edit.subject, edit.relation, edit.target) == ("Acme", "boss", "Dana Li")
    assert (edit.prompt, edit.question) == ("Acme is run by", "Who?")


def test_a_single_valued_relation_supersedes(memory: EditMemory) -> None:
    old = memory.add("The CEO of Acme is Dana Li").edit
    receipt = memory.add("The CEO of Acme is Bo Chen")
    assert [edit.id for edit in receipt.superseded] == [old.id]
    assert receipt.edit.supersedes == (old.id,)
    assert receipt.superseded[0].state == "superseded"
    assert receipt.superseded[0].superseded_by == receipt.id
    assert statements(memory) == ["The CEO of Acme is Bo Chen"]
    assert [record.id for record in memory.history(id=old.id)] == [old.id, receipt.id]


def test_an_unknown_relation_supersedes_nothing_but_is_named(memory: EditMemory) -> None:
    old = memory.add("The mascot of Acme is a goose").edit
    receipt = memory.add("The mascot of Acme is a heron")
    assert receipt.superseded == ()
    assert [edit.id for edit in receipt.possible_conflicts] == [old.id]
    assert len(memory.list()) == 2
    found = memory.doctor()
    assert [finding.level for finding in found] == ["note"]
    assert old.id in found[0].what
    assert receipt.id in found[0].what


def test_many_valued_and_other_subjects_are_no_conflict(memory: EditMemory) -> None:
    memory.add("The mascot of Acme is a goose")
    assert memory.add("The mascot of Bolt is a heron").possible_conflicts == ()
    assert memory.add("The motto of Acme is forward").possible_conflicts == ()
    assert len(memory.list()) == 3


def test_the_same_fact_twice_is_one_edit(memory: EditMemory) -> None:
    first = memory.add("Acme sells bolts.")
    again = memory.add(" Acme  sells\nbolts. ")
    assert again.id == first.id
    assert memory.add("Acme sells bolts.", valid_to=START + DAY).id != first.id
    assert memory.add("Acme sells bolts.", namespace="other").id != first.id
    memory.remove(first.id)
    assert memory.add("Acme sells bolts.").id != first.id


def test_said_again_after_another_it_is_new(memory: EditMemory) -> None:
    first = memory.add("The CEO of Acme is Dana Li")
    memory.add("The CEO of Acme is Bo Chen")
    third = memory.add("The CEO of Acme is Dana Li")
    assert third.id != first.id
    assert statements(memory) == ["The CEO of Acme is Dana Li"]


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\x00\x07", "\u2028"])
def test_an_empty_statement_is_refused(memory: EditMemory, text: str) -> None:
    with pytest.raises(InputError, match="empty"):
        memory.add(text)
    assert memory.journal.head() == 0


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("艾克米公司的首席执行官是李丹", "艾克米公司的首席执行官是李丹"),
        ("{subject} pays $100 for {} and %s", "{subject} pays $100 for {} and %s"),
        ("a\x00b\x1b[31mc\r\nd\u2028e", "a b [31mc d e"),
        ('"; DROP TABLE record; --', '"; DROP TABLE record; --'),
        ("half a \ud83d character", "half a character"),
        ("fin\u0301 \U0001f980", "fin\u0301 \U0001f980"),
    ],
)
def test_any_text_is_kept_on_one_line(memory: EditMemory, text: str, kept: str) -> None:
    edit = memory.add(text, subject="it", relation="what", target="that").edit
    assert edit.statement == kept
    assert memory.get(edit.id).statement == kept
    assert memory.search(kept, k=1)[0].edit.id == edit.id


def test_limits(memory: EditMemory) -> None:
    with pytest.raises(InputError, match=r"1,000,000 characters; at most 10,000"):
        memory.add("x" * 1_000_000)
    memory.add("y" * LONGEST_STATEMENT)
    with pytest.raises(InputError, match="subject has"):
        memory.add("z", subject="s" * 1001)
    with pytest.raises(InputError, match="aliases"):
        memory.add("z", aliases=[str(number) for number in range(101)])
    with pytest.raises(InputError, match="list of names"):
        memory.add("z", aliases="Acme")
    with pytest.raises(InputError, match="namespace"):
        memory.add("z", namespace=" ")
    with pytest.raises(InputError, match="sentence"):
        memory.add(7)  # type: ignore[arg-type]
    aliases = [f"Acme {number}" for number in range(50)]
    edit = memory.add("The CEO of Acme is Dana Li", aliases=aliases).edit
    assert len(memory.journal.keys([edit.seq])[edit.seq]) == 16
    assert memory.journal.head() == 2


# Validity


def test_validity_begins_and_ends_without_anyone_writing(memory: EditMemory) -> None:
    usual = memory.add("The CEO of Acme is Dana Li").edit
    acting = memory.add("The CEO of Acme is Bo Chen", valid_from=START + DAY, valid_to=START + 3 * DAY)
    assert acting.edit.state == "not_yet"
    head = memory.journal.head()
    seen = {}
    for days in range(5):
        at(memory, START + days * DAY)
        seen[days] = [hit.edit.target for hit in memory.search("CEO of Acme", k=5)]
        assert [edit.target for edit in memory.list()] == seen[days]
        assert memory.count() == 1
    assert seen == {0: ["Dana Li"], 1: ["Bo Chen"], 2: ["Bo Chen"], 3: ["Dana Li"], 4: ["Dana Li"]}
    assert memory.get(acting.id).state == "expired"
    assert memory.get(usual.id, as_of=START + 2 * DAY).superseded_by == acting.id
    assert memory.journal.head() == head


def test_a_validity_must_make_sense(memory: EditMemory) -> None:
    with pytest.raises(InputError, match="must come after"):
        memory.add("a", valid_from=START, valid_to=START)
    with pytest.raises(InputError, match="time zone"):
        memory.add("a", valid_from=datetime(2030, 1, 1))
    with pytest.raises(InputError, match="valid_to is a datetime"):
        memory.add("a", valid_to="2030")  # type: ignore[arg-type]


# Replacing, removing, undoing


def test_replace_takes_the_place_of_any_edit(memory: EditMemory) -> None:
    old = memory.add("The mascot of Acme is a goose", aliases=["Acme Corp"]).edit
    receipt = memory.replace(old.id[:8], "The mascot of Acme is a heron", reason="repainted")
    assert [edit.id for edit in receipt.superseded] == [old.id]
    assert (receipt.edit.aliases, receipt.edit.reason) == (("Acme Corp",), "repainted")
    assert receipt.possible_conflicts == ()
    memory.undo(id=receipt.id)
    assert statements(memory) == ["The mascot of Acme is a goose"]
    memory.remove(old.id)
    with pytest.raises(InputError, match=r"is removed.*add"):
        memory.replace(old.id, "The mascot of Acme is a crane")


def test_remove_and_undo(memory: EditMemory) -> None:
    first = memory.add("The CEO of Acme is Dana Li").edit
    second = memory.add("The CEO of Acme is Bo Chen").edit
    removal = memory.remove(second.id, author="ann", reason="he left")
    assert (removal.op, removal.targets, removal.author) == ("remove", (second.id,), "ann")
    assert memory.list() == []
    with pytest.raises(InputError, match="removed already"):
        memory.remove(second.id)
    assert [record.id for record in memory.undo(last=1)] == [removal.id]
    assert [edit.id for edit in memory.list()] == [second.id]
    assert [record.id for record in memory.undo(last=1)] == [second.id]
    assert [edit.id for edit in memory.list()] == [first.id]
    with pytest.raises(InputError, match=r"undone already, by r-.*undo r-"):
        memory.undo(id=second.id)
    undo = next(record for record in memory.log() if record.op == "undo")
    memory.undo(id=undo.id)
    assert [edit.id for edit in memory.list()] == [second.id]


def test_undo_by_author_and_since(memory: EditMemory) -> None:
    memory.add("one", author="ann")
    at(memory, START + DAY)
    memory.add("two", author="bob")
    memory.add("three", author="ann")
    with pytest.raises(InputError, match=r"by 'eve'"):
        memory.undo(author="eve")
    with pytest.raises(InputError, match="say what to undo"):
        memory.undo()
    with pytest.raises(InputError, match="at least 1"):
        memory.undo(last=0)
    with pytest.raises(InputError, match="stands alone"):
        memory.undo(id="e-0123456789", last=1)
    assert [record.statement for record in memory.preview_undo(since=START + DAY)] == ["three", "two"]
    assert [record.statement for record in memory.undo(author="ann", since=START + DAY)] == ["three"]
    assert statements(memory) == ["two", "one"]
    assert [record.statement for record in memory.undo(author="ann")] == ["one"]


# Reading


def test_the_past(memory: EditMemory) -> None:
    first = memory.add("The CEO of Acme is Dana Li").edit
    at(memory, START + DAY)
    second = memory.add("The CEO of Acme is Bo Chen").edit
    at(memory, START + 2 * DAY)
    memory.undo(id=second.id)
    for moment, head in ((0, None), (1, first), (2, second), (3, first)):
        assert [edit.id for edit in memory.list(as_of=moment)] == ([head.id] if head else [])
        assert [hit.edit.id for hit in memory.search("CEO of Acme", as_of=moment)] == ([head.id] if head else [])
    assert [edit.id for edit in memory.list(as_of=START + 1.5 * DAY)] == [second.id]
    assert memory.get(second.id, as_of=2).state == "current"
    with pytest.raises(NotFoundError, match="written later"):
        memory.get(second.id, as_of=1)


def test_list_filters(memory: EditMemory) -> None:
    memory.add("The CEO of Acme is Dana Li", aliases=["Acme Corp"], author="ann")
    memory.add("École Nº 5 sells 100% _juice_", author="bob")
    assert statements(memory, subject="the ACME") == statements(memory, subject="acme corp")
    assert statements(memory, text="éCOLE") == ["École Nº 5 sells 100% _juice_"]
    assert statements(memory, text="100% _J") == ["École Nº 5 sells 100% _juice_"]
    assert statements(memory, text="1%_") == []
    assert statements(memory, author="ann") == ["The CEO of Acme is Dana Li"]
    assert len(memory.list(limit=1)) == 1
    assert statements(memory, limit=1, offset=1) == ["The CEO of Acme is Dana Li"]
    with pytest.raises(InputError, match="no state 'dead'"):
        memory.list(state="dead")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="negative"):
        memory.list(limit=-1)
    assert memory.list(namespace="elsewhere") == []


def test_edits_are_searched_among_those_that_a_text_names(memory: EditMemory) -> None:
    def found(text: str, **more: Any) -> list[str]:
        hits = memory.search_named(text, memory.encoder.encode([text])[0], **more)
        return [hit.edit.statement for hit in hits]

    old = memory.add("The capital of Nod is Lutz")
    memory.add("The currency of Nod is the shell")
    memory.add("The CEO of Acme Inc. is Dana Li", aliases=["Acme"])
    memory.add("The CEO of Acme is Bo", namespace="other")
    assert set(found("And what of Nod's capital?")) == {
        "The capital of Nod is Lutz",
        "The currency of Nod is the shell",
    }
    assert found("What is the capital of Nod?", k=1) == ["The capital of Nod is Lutz"]
    assert found("what is the capital of nod?", k=1) == ["The capital of Nod is Lutz"]
    assert found("And what of Nod's capital?", floor=0.99) == []
    assert found("Who runs Acme Inc.?") == found("Who runs “Acme”?") == ["The CEO of Acme Inc. is Dana Li"]
    assert found("Who runs Acme?", namespace="other") == ["The CEO of Acme is Bo"]
    assert found("Who is Nodward?") == found("") == found("Acm", namespace="nowhere") == []
    memory.add("The capital of Nod is New Hope")
    assert found("What is the capital of Nod?", k=1) == ["The capital of Nod is New Hope"]
    memory.undo(last=1)
    assert found("What is the capital of Nod?", k=1) == ["The capital of Nod is Lutz"]
    memory.remove(old.edit.id)
    assert found("What is the capital of Nod?") == ["The currency of Nod is the shell"]


def test_looking_names_up_is_as_much_work_in_a_large_memory_as_in_a_small_one(tmp_path: Path) -> None:
    steps = []
    for size in (200, 4000):
        with EditMemory.open(tmp_path / str(size), encoder="letters", store="exact") as memory:
            memory.add_many(
                Draft(statement=f"The CEO of Firm {at} is Ann {at}", subject=f"Firm {at}") for at in range(size)
            )
            names = [about("default", f"firm {at}") for at in range(0, 200, 20)]
            with memory.journal._reading() as connection:
                number = memory.journal._number(connection, "default")
                raw = connection.connection.driver_connection
                assert raw is not None
                count = 0

                def tick() -> int:
                    nonlocal count
                    count += 1
                    return 0

                raw.set_progress_handler(tick, 1)
                query = naming_live(len(names), "?")
                found = connection.exec_driver_sql(query, (*names, *names, number, 64)).fetchall()
                raw.set_progress_handler(None, 0)
            assert len(found) == len(names)
            steps.append(count)
    assert steps[1] < 2 * steps[0]


def test_a_name_of_many_edits_does_not_hide_another(memory: EditMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memedit.memory.MOST_NAMED", 2)
    memory.add("Ann Lo is fond of Nod", subject="Ann Lo", target="Nod")
    for number in range(5):
        memory.add(f"Nod has {number} gates", subject="Nod", target=f"{number} gates")
    text = "Does Ann Lo live in Nod?"
    found = memory.search_named(text, memory.encoder.encode([text])[0], k=9)
    said = {hit.edit.statement for hit in found}
    assert said == {"Ann Lo is fond of Nod", "Nod has 3 gates", "Nod has 4 gates"}


def test_what_a_search_has_found_is_named_as_if_it_had_not(memory: EditMemory) -> None:
    memory.add("The capital of Nod is Lutz")
    memory.add("The currency of Nod is the shell")
    memory.add("The capital of Marl is Odo")
    text = "What is the capital of Nod?"
    vector = memory.encoder.encode([text])[0]
    near = memory.search(text, k=2)
    assert {hit.edit.subject for hit in near} == {"Nod", "Marl"}
    for k in (1, 2, 5):
        plain, knowing = (memory.search_named(text, vector, k=k, known=known) for known in ((), near))
        assert [hit.edit for hit in plain] == [hit.edit for hit in knowing]
        assert [hit.score for hit in plain] == pytest.approx([hit.score for hit in knowing], abs=1e-3)


def test_searches_in_one_state_see_nothing_that_is_written_meanwhile(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path, encoder="letters") as memory, EditMemory.open(tmp_path, encoder="letters") as other:
        with memory.one_state():  # nothing is searched yet, so nothing is held
            assert not memory.search("the capital of Nod")
        first = memory.add("The capital of Nod is Lutz")
        assert memory.search("the capital of Nod")
        second = other.add("The currency of Nod is the shell")
        with memory.one_state():
            other.remove(first.edit.id)
            other.add("The anthem of Nod is Ho")
            assert {hit.edit.id for hit in memory.search("of Nod", k=9)} == {first.edit.id, second.edit.id}
            vector = memory.encoder.encode(["Nod"])[0]
            assert {hit.edit.id for hit in memory.search_named("Nod", vector)} == {first.edit.id, second.edit.id}
        assert {hit.edit.target for hit in memory.search("of Nod", k=9)} == {"the shell", "Ho"}


def test_search_finds_each_edit_once_by_its_best_key(memory: EditMemory) -> None:
    edit = memory.add("The CEO of Acme is Dana Li", aliases=["Acme Corp", "Acme Inc"]).edit
    memory.add("Bolts are made of steel")
    hits = memory.search("The CEO of Acme Inc is Dana Li", k=5)
    assert [hit.edit.id for hit in hits].count(edit.id) == 1
    assert hits[0].edit.id == edit.id
    assert hits[0].key == "The CEO of Acme Inc is Dana Li"
    assert hits[0].score == pytest.approx(1, abs=1e-2)
    vector = memory.encoder.encode(["steel bolts"])
    assert memory.search(vector[0], k=1)[0].edit.statement == "Bolts are made of steel"
    both = memory.search_many(["steel bolts", "CEO Acme"], k=1)
    assert [hits[0].edit.statement for hits in both] == ["Bolts are made of steel", "The CEO of Acme is Dana Li"]
    with pytest.raises(InputError, match="at least 1"):
        memory.search("x", k=0)


def test_an_empty_memory_needs_no_encoder(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path, encoder="none such") as memory:
        assert memory.search("anything") == []
        assert memory.search_many(["a", "b"]) == [[], []]
        memory.sync()
        memory.add("a fact")
        assert len(memory.list()) == 1
        with pytest.raises(NotFoundError, match="none such"):
            memory.search("anything")


def test_namespaces_do_not_see_each_other(memory: EditMemory) -> None:
    memory.add("The CEO of Acme is Dana Li", namespace="one")
    memory.add("The CEO of Acme is Bo Chen", namespace="two")
    assert memory.list() == []
    assert [hit.edit.target for hit in memory.search("CEO of Acme", namespace="one")] == ["Dana Li"]
    assert memory.namespaces() == ["one", "two"]
    assert memory.count("two") == 1
    assert memory.stats()["namespaces"] == {"one": {"edits": 1, "current": 1}, "two": {"edits": 1, "current": 1}}


def test_history_of_a_subject_and_of_a_removal(memory: EditMemory) -> None:
    ids = [memory.add(text).id for text in ("The CEO of Acme is Dana Li", "Acme is a maker of bolts")]
    removal = memory.remove(ids[0])
    assert [record.op for record in memory.history(id=removal.id)] == ["add", "remove"]
    assert {record.id for record in memory.history(subject="acme")} >= {ids[0], removal.id}
    assert [record.id for record in memory.log(limit=1)] == [removal.id]
    with pytest.raises(InputError, match="one of id and subject"):
        memory.history()
    with pytest.raises(InputError, match="not an edit"):
        memory.get(removal.id)


# Bulk


def test_add_many_is_as_adding_one_by_one(tmp_path: Path) -> None:
    texts = [f"The CEO of {name} is {who}" for name in ("Acme", "Bolt", "Acme") for who in ("Ann", "Bo", "Ann")]
    drafts = [Draft(statement=text, valid_to=START + DAY if place == 4 else None) for place, text in enumerate(texts)]
    with opened(tmp_path / "one") as one, opened(tmp_path / "many") as many:
        ids = [one.add(draft.statement, valid_to=draft.valid_to).id for draft in drafts]
        reports: list[tuple[int, int | None]] = []
        bulk = many.add_many(drafts, batch=4, progress=lambda *counts: reports.append(counts))
        assert reports == [(4, 9), (8, 9), (9, 9)]
        names = dict(zip(ids, bulk, strict=True))
        left, right = one.list(state="all"), many.list(state="all")
        assert [names[edit.id] for edit in left] == [edit.id for edit in right]
        for a, b in zip(left, right, strict=True):
            assert (a.statement, a.state, names.get(a.superseded_by or "")) == (b.statement, b.state, b.superseded_by)


def test_add_many_takes_statements_and_mappings(memory: EditMemory) -> None:
    drafts = [
        "The CEO of Acme is Dana Li",
        {"statement": "The CEO of Globex is Bo Ek", "aliases": ["GX"], "source": "a letter", "reason": None},
        Draft(statement="Acme sells rope", subject="Acme"),
    ]
    ids = memory.add_many(iter(drafts))
    edits = [memory.get(id_) for id_ in ids]
    assert [edit.statement for edit in edits] == [
        "The CEO of Acme is Dana Li",
        "The CEO of Globex is Bo Ek",
        "Acme sells rope",
    ]
    assert (edits[0].subject, edits[0].target, edits[1].aliases, edits[1].source) == (
        "Acme",
        "Dana Li",
        ("GX",),
        "a letter",
    )
    assert memory.add_many([]) == []


@pytest.mark.parametrize(
    ("drafts", "message"),
    [
        ("The CEO of Acme is Dana Li", "takes a list of drafts, not one str"),
        (b"The CEO of Acme is Dana Li", "not one bytes"),
        ({"statement": "The CEO of Acme is Dana Li"}, "not one dict"),
        (Draft(statement="The CEO of Acme is Dana Li"), "not one Draft"),
        (7, "not one int"),
        (["A is B", 7], "draft 2: int is no draft; a draft is a statement"),
        ([None], "draft 1: NoneType is no draft"),
        ([b"A is B"], "draft 1: bytes is no draft"),
        ([["A is B"]], "draft 1: list is no draft"),
        ([{"fact": "A is B"}], r"draft 1: unknown: fact; a draft is .*statement, subject, relation"),
        ([{"subject": "A"}], "draft 1: there is no statement in it"),
        ([{"statement": 3}], "draft 1: a statement is a sentence, not int"),
        ([{"statement": "A is B", "aliases": "AA"}], "draft 1: aliases is a list of names, not str"),
        ([""], "draft 1: the statement is empty"),
    ],
)
def test_add_many_says_what_a_draft_is(memory: EditMemory, drafts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        memory.add_many(drafts)
    assert memory.count() == 0


def test_add_many_with_vectors(memory: EditMemory) -> None:
    texts = [f"fact number {number}" for number in range(5)]
    drafts = [Draft(statement=text) for text in texts]
    vectors = memory.encoder.encode(texts)
    memory.add_many(drafts[:3], vectors=vectors[:3], batch=2)
    stored = memory.journal.vectors(memory.encoder.identity, [3])[3]
    assert np.frombuffer(stored, "<f2") == pytest.approx(vectors[2], abs=1e-3)
    memory.add_many(drafts[3:], vectors=[vectors[3:4], vectors[4:5]])
    assert memory.search(texts[4], k=1)[0].edit.statement == texts[4]
    with pytest.raises(InputError, match="numbers each"):
        memory.add_many([Draft(statement="x")], vectors=np.zeros((1, 3), np.float32))
    with pytest.raises(InputError, match="at least 2 drafts"):
        memory.add_many([Draft(statement="x"), Draft(statement="y")], vectors=vectors[:1])
    with pytest.raises(InputError, match="2 vectors were given, but it has 1 keys"):
        memory.add_many([Draft(statement="no sentence")], vectors=[vectors[:2]])
    with pytest.raises(InputError, match="draft 2: the statement is empty"):
        memory.add_many([Draft(statement="fine"), Draft(statement="")])
    assert memory.count() == 5


# A chat model that parses


class Said:
    """A chat model that answers what it is told to, as LangChain's do when asked for structured output."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    def with_structured_output(self, schema: object) -> Said:
        return self

    def invoke(self, text: str) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_model_parses_what_the_rules_cannot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = {"subject": "Acme", "relation": "CEO", "target": "Dana Li", "question": "Who runs Acme?"}
    odd = {**good, "target": "Eve"}
    model = Said(good, odd, "nonsense", RuntimeError("offline"))
    sentence = "Rumour has it Dana Li nowadays bosses everybody about over there, Acme that is"
    with opened(tmp_path, parser=model) as memory:
        old = memory.add("The CEO of Acme is Bo Chen").edit  # the rules can: the model is not asked
        receipt = memory.add(sentence)
        assert (receipt.edit.subject, receipt.edit.target) == ("Acme", "Dana Li")
        assert receipt.edit.question == "Who runs Acme?"
        assert receipt.superseded == ()  # no model retires an edit
        assert [edit.id for edit in receipt.possible_conflicts] == [old.id]
        for number in (1, 2, 3):
            assert memory.add("Well, " * number + sentence).edit.subject is None
        assert len(caplog.records) == 3


# Trouble


def test_reading_only(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no memory"):
        opened(tmp_path / "facts", read_only=True)
    with opened(tmp_path / "facts") as memory:
        edit = memory.add("The CEO of Acme is Dana Li").edit
    with opened(tmp_path / "facts", read_only=True) as memory:
        assert memory.list() == [edit]
        assert memory.search("CEO of Acme")[0].edit == edit
        with pytest.raises(JournalError, match="opened for reading only"):
            memory.add("another")


READ_ONLY_FOLDER = """
    import os, sys
    from memedit.errors import JournalError
    from memedit.memory import EditMemory
    from memedit.parsing import parse
    parse("The CEO of Acme is Dana Li")  # nobody may not be allowed to read the package
    if os.geteuid() == 0:
        os.setuid(65534)
    with EditMemory.open(sys.argv[1]) as memory:
        print([edit.target for edit in memory.list()])
        for write in (lambda: memory.add("The CEO of Acme is Bo Chen"), lambda: memory.undo(last=1)):
            try:
                write()
            except JournalError as error:
                print(error)
    try:
        EditMemory.open(sys.argv[1] + "/new")
    except JournalError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_folder_that_cannot_be_written() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        with opened(folder) as memory:
            memory.add("The CEO of Acme is Dana Li")
        (folder / "journal.db").chmod(0o444)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(READ_ONLY_FOLDER), str(folder)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == "['Dana Li']"
        assert len(lines) == 4
        assert all("may only be read" in line for line in lines[1:3])
        assert "cannot be" in lines[3]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "damage", [b"this is no database, and never was" * 200, b"SQLite format 3\x00" + b"\xff" * 9000]
)
def test_a_damaged_database_is_named_and_left_alone(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "journal.db").write_bytes(damage)
    with pytest.raises(JournalError, match=r"(damaged|backup)"):
        opened(tmp_path)
    assert (tmp_path / "journal.db").read_bytes() == damage


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    import signal

    with opened(tmp_path) as memory:
        kept = [memory.add(f"fact number {number}").id for number in range(3)]
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, old[1]))
        try:
            with pytest.raises(JournalError, match=r"(disk|space)"):  # noqa: PT012 - which one fails is not known
                for number in range(1000):
                    kept.append(memory.add(f"{number} " + "long " * 1000).id)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            signal.signal(signal.SIGXFSZ, handler)
        assert {edit.id for edit in memory.list()} == set(kept)
        kept.append(memory.add("there is space again").id)
    with opened(tmp_path) as memory:
        assert {edit.id for edit in memory.list()} == set(kept)
        assert memory.doctor() == []


def test_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memedit.databases.LOCK_SECONDS", 0.05)
    with opened(tmp_path) as memory:
        memory.add("a fact")
        with (
            memory.journal._writing(),
            pytest.raises(JournalError, match="another process"),
            memory.journal._writing(),
        ):
            pass
        assert memory.count() == 1
        memory.add("another")


def test_listing_needs_neither_numpy_nor_models() -> None:
    code = """
    import sys, tempfile
    from memedit.memory import EditMemory
    with EditMemory.open(tempfile.mkdtemp()) as memory:
        memory.add("The CEO of Acme is Dana Li")
        memory.list(); memory.count(); memory.log()
    heavy = {"torch", "transformers", "faiss", "langchain", "langchain_core", "numpy", "pydantic", "psycopg"}
    print(sorted(heavy & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_backup_is_a_memory_of_its_own(memory: EditMemory, tmp_path: Path) -> None:
    edit = memory.add("The CEO of Acme is Dana Li").edit
    memory.backup(tmp_path / "copy" / "journal.db")
    memory.backup(tmp_path / "copy" / "journal.db")  # written over
    memory.add("later")
    with opened(tmp_path / "copy") as copy:
        assert copy.list() == [edit]
        copy.add("in the copy only")
    assert memory.count() == 2
    assert memory.stats()["backups"] == [str(tmp_path / "copy" / "journal.db")]
    with pytest.raises(InputError, match="is a folder"):
        memory.backup(tmp_path)
    assert memory.journal.path is not None
    with pytest.raises(InputError, match="database itself"):
        memory.backup(memory.journal.path)


def test_doctor_finds_and_repairs(memory: EditMemory) -> None:
    first = memory.add("The CEO of Acme is Dana Li").edit
    memory.add("The CEO of Acme is Bo Chen")
    assert memory.doctor() == []
    with memory.journal._writing() as writer:
        writer.connection.exec_driver_sql("UPDATE state SET live = 1")
    assert first.id in {edit.id for edit in memory.list()}
    assert [finding.level for finding in memory.doctor()] == ["error"]
    assert [finding.level for finding in memory.doctor(repair=True)] == ["warning"]
    assert memory.doctor() == []
    assert first.id not in {edit.id for edit in memory.list()}
