"""Plans that an edit suggests: which questions get a hop more, and which are left alone; with the real planner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Named

from memedit import EditMemory, Editor
from memedit.answerers import Retriever
from memedit.answerers._suggested import relations_of
from memedit.answerers.planned import Planned
from memedit.edits import Answer, Message
from memedit.models.scripted import Scripted


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "memory", encoder="letters", store="exact") as opened:
        yield opened


class OutOfScope(Named):
    """Nothing is in scope, and no hops are seen."""

    def decide(self, messages: Any, memory: Any, **given: Any) -> Any:
        return replace(super().decide(messages, memory, **given), hits=(), label="none")


def asked(memory: EditMemory, question: str, **replies: str) -> tuple[Answer, Scripted]:
    model = Scripted({"*": "in its own words", **replies}, style="completion")
    return Editor(memory, model, scope=OutOfScope(), answerer="auto").ask(question), model


def relations(answer: Answer) -> list[object]:
    return [step["relation"] for step in answer.trace if step["step"] == "hop"]


@pytest.mark.parametrize(
    ("fact", "question", "behind", "place"),
    [
        ("Orla Finch went to Balnibarbi University", "In which city did Orla Finch study?",
         "In which city is Balnibarbi University located?", "Lagado"),
        ("Orla Finch went to Balnibarbi University", "Which country did Orla Finch study in?",
         "In which country is Balnibarbi University located?", "Laputa"),
        ("Orla Finch went to Balnibarbi University", "Where is the university that Orla Finch attended?",
         "Where is Balnibarbi University located?", "Lagado"),
        ("What is the university where Orla Finch went? Balnibarbi University", "In which city did Orla Finch study?",
         "In which city is Balnibarbi University located?", "Lagado"),
        ("What is the name of the city Orla Finch was born in? Lagado", "In which country was Orla Finch born?",
         "In which country is Lagado located?", "Laputa"),
    ],
)  # fmt: skip
def test_where_what_an_edit_names_lies_is_a_hop(
    memory: EditMemory, fact: str, question: str, behind: str, place: str
) -> None:
    edit = memory.add(fact, subject="Orla Finch").edit
    answer, _ = asked(memory, question, **{behind: place})
    assert answer.text == place
    assert [hit.edit.id for hit in answer.edits] == [edit.id]
    assert not answer.base_untouched


@pytest.mark.parametrize(
    ("fact", "question"),
    [
        ("Orla Finch was born in Laputa", "In which country was Orla Finch born?"),  # Laputa may be the country
        ("The employer of Orla Finch is Vellum Works", "In which city was Orla Finch born?"),
        ("The mother of Orla Finch is Ida Quell", "In which city did Orla Finch study?"),
        ("Orla Finch went to Balnibarbi University", "In which city did Ida Quell study?"),
        ("Orla Finch went to Balnibarbi University", "What did Orla Finch study?"),
        ("The mother of Orla Finch is Ida Quell", "Where is the university that Orla Finch attended?"),
    ],
)
def test_no_hop_is_put_behind_what_is_not_asked(memory: EditMemory, fact: str, question: str) -> None:
    memory.add(fact)
    answer, model = asked(memory, question)
    assert answer.base_untouched
    assert answer.text == "in its own words"
    assert model.calls[-1].messages[-1].content == question


def test_a_follow_up_is_read_in_full_words(tmp_path: Path) -> None:
    replies = {"In which city is Balnibarbi University located?": "Lagado", "*": "in its own words"}
    turns = [
        Message("user", "Where did Orla Finch go to university?"),
        Message("assistant", "Balnibarbi University."),
        Message("user", "In which city did she study?"),
    ]
    with EditMemory.open(tmp_path / "memory") as memory:
        memory.add("Orla Finch went to Balnibarbi University")
        assert Editor(memory, Scripted(replies, style="completion")).ask(turns).text == "Lagado"


def test_the_relation_that_a_question_names_is_the_first_hop(memory: EditMemory) -> None:
    memory.add("The record label of Quill Sunday is Vellum Records")
    # The planner takes the label for a performer; the edit knows better.
    question = "Who founded the record label that signed Quill Sunday?"
    answer, _ = asked(memory, question, **{"Who is the founder of Vellum Records?": "Ida Quell"})
    assert answer.text == "Ida Quell"
    assert relations(answer)[0] == "record_label"


def test_what_is_asked_last_is_not_taken_for_the_first_hop(memory: EditMemory) -> None:
    memory.add("The founder of Quill Sunday is Pat Roe")
    answer, _ = asked(memory, "Who is the founder of the record label that signed Quill Sunday?")
    assert answer.base_untouched


def test_an_edit_without_a_relation_has_that_of_its_question(memory: EditMemory) -> None:
    own = memory.add("The record label of Quill Sunday is Vellum Records").edit
    read = memory.add("What is the university where Orla Finch went? Balnibarbi University", subject="Orla Finch").edit
    none = memory.add("Hugo Lund likes the sound of rain").edit
    assert (own.relation, read.relation) == ("record_label", None)
    assert relations_of(own) == {"record_label"}
    assert relations_of(read) == {"education"}
    assert relations_of(none) == frozenset()


def test_it_foresees_what_an_edit_puts_behind_a_question(memory: EditMemory) -> None:
    memory.add("Orla Finch went to Balnibarbi University")
    planned = Planned().with_retriever(Retriever(scope=OutOfScope(), memory=memory, namespace="default"))
    assert planned.foresees("In which city did Orla Finch study?")
    assert not planned.foresees("In which city did Ida Quell study?")
