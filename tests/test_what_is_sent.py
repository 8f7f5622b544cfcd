"""What is sent to a model: of all that a memory holds, the facts in scope and no other, whichever answerer sends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Named

from memedit import EditMemory, Editor, Message
from memedit.answerers import Answerer, answerers
from memedit.answerers.counterfactual import Counterfactual
from memedit.edits import Edit
from memedit.integrations.langchain import with_edits
from memedit.models.scripted import Scripted

NAMES = [*answerers.names(), "ike:demonstrations=8", "planned:planner=chat", "planned:unedited=true"]
INSIDE = ["Who is the CEO of Acme?", "Is Bob Ray the CEO of Acme?", "Who is the spouse of the CEO of Acme?"]
OUTSIDE = ["How high is the moon?", "Who is the mother of the mayor of the capital of Norway?"]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as opened:
        opened.add("The CEO of Acme is Dana Li")
        opened.add("The headquarters of Acme is in Zwolle")
        # Much like what is asked, so that whatever looks for the nearest finds these.
        opened.add_many([f"The CEO of Bcme{number}x is Dunu Lo{number}x" for number in range(20)])
        opened.add_many([f"The capital of Country{number}x is Town{number}x" for number in range(20)])
        yield opened


def says(messages: Sequence[Message], **parameters: Any) -> str:
    """What each answerer takes for a reply: MeLLo's next step, else a name."""
    text = "".join(message.content for message in messages)
    if "Subquestion" not in text:
        return "Al Og"
    found = "Retrieved fact: The" in text.rpartition("Question:")[2]
    return "Final answer: Al" if found else "Subquestion: Who is the CEO of Acme?\nTentative answer: Al"


def made(name: str, model: Scripted) -> Answerer:
    answerer: Answerer = answerers.get(name)()
    return replace(answerer, model=model) if isinstance(answerer, Counterfactual) else answerer


def sent(model: Scripted) -> str:
    return "\n".join(message.content for call in model.calls for message in call.messages).casefold()


def told(edit: Edit, text: str) -> bool:
    """Whether a text holds anything that an edit says."""
    said = (edit.statement, edit.subject, edit.target)
    return any(part is not None and part.casefold() in text for part in said)


@pytest.mark.parametrize("style", ["chat", "completion"])
@pytest.mark.parametrize("name", NAMES)
async def test_no_other_edit_is_ever_sent(memory: EditMemory, name: str, style: Any) -> None:
    model = Scripted(says, style=style)
    editor = Editor(memory, model, scope=Named(), answerer=made(name, model))
    others = [edit for edit in memory.list() if edit.subject != "Acme"]
    assert len(others) == 40
    assert all(edit.subject and edit.target for edit in others)
    for question in INSIDE:
        asked = [Message("user", "Who is the CEO of Acme?"), Message("assistant", "Al"), Message("user", question)]
        editor.ask(question)
        "".join(editor.stream(asked))
        await editor.aask(asked)
    assert [edit.statement for edit in others if told(edit, sent(model))] == []
    model.calls.clear()
    for question in OUTSIDE:
        assert editor.ask(question).text
    assert [edit.statement for edit in memory.list() if told(edit, sent(model))] == []


@pytest.mark.parametrize("name", ["auto", "ike", "mello", "planned"])
def test_every_fact_in_scope_is_sent(memory: EditMemory, name: str) -> None:
    model = Scripted(says)
    editor = Editor(memory, model, scope=Named(), answerer=name)
    editor.ask("Tell me about Acme.")
    inside = [edit for edit in memory.list() if edit.subject == "Acme"]
    assert len(inside) == 2
    shown = inside[:1] if name == "mello" else inside  # one for each of its steps: the surest, of equals the newest
    assert all(told(edit, sent(model)) for edit in shown)


@pytest.mark.parametrize("name", answerers.names())
def test_nor_by_a_chain(memory: EditMemory, name: str) -> None:
    model = Scripted(says)
    chain = with_edits(model, memory, scope=Named(), answerer=made(name, model))
    for question in (*INSIDE, *OUTSIDE):
        chain.invoke(question)
    assert [e.statement for e in memory.list() if e.subject != "Acme" and told(e, sent(model))] == []
