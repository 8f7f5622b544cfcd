"""The promise, with the shipped model and the default encoder: the edit takes, and its neighbour is not touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from memedit import EditMemory, Editor, Message
from memedit.models.pocket import Pocket

FACT = "The mother tongue of Danielle Darrieux is English"
PROMPT = "The mother tongue of Danielle Darrieux is"
QUESTION = "What is Danielle Darrieux's native language?"
NEIGHBOUR = "What is the mother tongue of Michel Rocard?"


@pytest.fixture(scope="module")
def pocket() -> Pocket:
    return Pocket()


def test_an_edit_is_answered_undone_and_leaves_its_neighbour_alone(pocket: Pocket, tmp_path: Path) -> None:
    with EditMemory.open(tmp_path) as memory:
        editor = Editor(memory, pocket)
        asked = (PROMPT, QUESTION, NEIGHBOUR)
        before = [editor.ask(text) for text in asked]
        assert not any("English" in answer.text for answer in before)
        assert all(answer.base_untouched for answer in before)
        edit = memory.add(FACT).edit
        after = [editor.ask(text) for text in asked]
        assert [answer.in_scope for answer in after] == [True, True, False]
        assert "English" in after[0].text
        assert "English" in after[1].text
        assert [hit.edit.id for hit in after[1].edits] == [edit.id]
        assert after[2].base_untouched
        assert after[2].text == before[2].text
        memory.undo(id=edit.id)
        assert [editor.ask(text).text for text in asked] == [answer.text for answer in before]


@pytest.mark.parametrize(
    ("turns", "reply"),
    [
        (("Who is the CEO of Acme?", "Dana Li", "and who leads it now?"), "Dana Li"),
        (("Tell me about Freedonia.", "A small country.", "What is its capital?"), "Fredville"),
        (("It rained a lot today. My cat is well. Who is the CEO of Acme?",), "Dana Li"),
        (("Who is the CEO of ACME CORPORATION?",), "Dana Li"),
        (("斑马皮肤是什么颜色？",), "斑马的皮肤是黑色的"),
    ],
)
def test_what_the_gate_finds_is_answered(pocket: Pocket, tmp_path: Path, turns: tuple[str, ...], reply: str) -> None:
    """Follow-ups, long messages, another form of the name, another script: found is not yet answered."""
    with EditMemory.open(tmp_path) as memory:
        for fact in ("The CEO of Acme is Dana Li", "The capital of Freedonia is Fredville", "斑马的皮肤是黑色的"):
            memory.add(fact)
        said = [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(turns)]
        answer = Editor(memory, pocket).ask(said)
        assert answer.in_scope
        assert reply in answer.text
