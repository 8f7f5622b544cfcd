"""Conversations in the forms that callers have: the same answer by each, and nothing lost on the way to the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import Named
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from memedit import EditMemory, Editor, Message
from memedit.conversation import as_messages, text_of, with_text
from memedit.errors import InputError
from memedit.models.scripted import Scripted
from memedit.patches import substitution_draft

IMAGE = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TURNS = [Message("system", "Be brief."), Message("user", "Hello"), Message("assistant", "Hi"), Message("user", "{}")]


def forms(question: str) -> dict[str, Any]:
    """One conversation that ends with this question, in each form."""
    turns = [Message(turn.role, turn.content.replace("{}", question)) for turn in TURNS]
    kinds: Any = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return {
        "messages": turns,
        "tuple of messages": tuple(turns),
        "dicts": [{"role": turn.role, "content": turn.content} for turn in turns],
        "parts": [{"role": turn.role, "content": [{"type": "text", "text": turn.content}, IMAGE]} for turn in turns],
        "pairs": [(turn.role, turn.content) for turn in turns],
        "pairs in other words": [
            ({"user": "human", "assistant": "ai"}.get(turn.role, turn.role), turn.content) for turn in turns
        ],
        "pairs with parts": [(turn.role, [{"type": "text", "text": turn.content}]) for turn in turns],
        "langchain": [kinds[turn.role](turn.content) for turn in turns],
        "mixed": [turns[0], ("user", "Hello"), AIMessage("Hi"), {"role": "user", "content": question}],
    }


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as opened:
        opened.add("The CEO of Acme is Dana Li", subject="Acme", relation="ceo", target="Dana Li")
        yield opened


class Seeing(GenericFakeChatModel):
    """Keeps the messages that it was given."""

    seen: list[list[BaseMessage]] = []  # noqa: RUF012 - pydantic copies it

    def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        self.seen.append(messages)
        return super()._stream(messages, *args, **kwargs)


@pytest.mark.parametrize("form", forms(""))
async def test_every_call_takes_every_form(memory: EditMemory, form: str) -> None:
    def says(messages: Any, **parameters: Any) -> str:
        return "Dana Li" if "Dana Li" in messages[0].content else "no"

    model = Scripted(says)
    editor = Editor(memory, model, scope=Named())
    asked, other = forms("Who runs Acme?")[form], forms("How high is the moon?")[form]
    assert editor.ask(asked).text == (await editor.aask(asked)).text == "Dana Li"
    assert "".join(editor.stream(asked)) == "Dana Li"
    assert "".join([piece async for piece in await editor.astream(asked)]) == "Dana Li"
    decision = editor.decide(asked)
    assert decision.query == "Who runs Acme?"
    assert [choice.name for choice in editor.choices(asked, decision)] == ["ike"]
    answer = editor.ask(other)
    assert answer.base_untouched
    assert list(model.calls[-1].messages) == [*TURNS[:-1], Message("user", "How high is the moon?")]


@pytest.mark.parametrize("question", ["How high is the moon?", "Who runs Acme?"])
def test_what_is_no_text_reaches_a_model_that_takes_it(memory: EditMemory, question: str) -> None:
    parts: list[Any] = [{"type": "text", "text": question}, IMAGE]
    conversation: list[Any] = [
        {"role": "user", "content": "Look it up.", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "high"},
        {"role": "user", "content": parts},
    ]
    model = Seeing(messages=iter(["one", "two", "three"]))
    editor = Editor(memory, model, scope=Named())
    editor.ask(conversation)
    seen = model.seen[-1][-4:]
    assert [message.type for message in seen] == ["human", "ai", "tool", "human"]
    assert (seen[0].name, seen[0].content, seen[3].content) == ("ann", "Look it up.", parts)
    assert isinstance(seen[1], AIMessage)
    assert [call["name"] for call in seen[1].tool_calls] == ["look"]
    assert isinstance(seen[2], ToolMessage)
    assert seen[2].tool_call_id == "c1"
    own = [SystemMessage("Be brief."), HumanMessage(parts)]
    editor.ask(own)
    assert model.seen[-1][-1] is own[-1]
    editor.ask([("human", parts)])
    assert model.seen[-1][-1].content == parts


def test_a_pattern_changes_the_text_and_nothing_else(memory: EditMemory) -> None:
    memory.add_many([substitution_draft("moon", "sun", "input")])
    model = Seeing(messages=iter(["one", "two"]))
    editor = Editor(memory, model, scope=Named())
    editor.ask([{"role": "user", "content": [{"type": "text", "text": "How high is the moon?"}, IMAGE]}])
    assert model.seen[-1][-1].content == [{"type": "text", "text": "How high is the sun?"}, IMAGE]
    editor.ask([HumanMessage("How high is the moon?")])
    assert model.seen[-1][-1].content == "How high is the sun?"


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (None, "a question is no NoneType; a question is a text, or a list of messages"),
        (b"Who?", "no bytes"),
        ({"role": "user", "content": "Who?"}, "no dict"),
        (Message("user", "Who?"), "no Message"),
        (HumanMessage("Who?"), "no HumanMessage"),
        (iter([("user", "Who?")]), "is no "),
        (["Who?"], "message 1: str is no message"),
        ([("user", "Who?"), 7], "message 2: int is no message"),
        ([("user", "Who?", "when")], "message 1: tuple is no message"),
        ([{"content": "Who?"}], "message 1: it has no role"),
        ([{"role": "wizard", "content": "Who?"}], "message 1: there is no role 'wizard'; .*system, user"),
        ([("wizard", "Who?")], "message 1: there is no role 'wizard'"),
        ([{"role": 1, "content": "Who?"}], "message 1: there is no role 1"),
        ([Message("user", "Hi"), {"role": "user"}], "message 2: it has no content"),
        ([{"role": "user", "content": None}], "message 1: it has no content"),
        ([{"role": "assistant", "content": None}], "message 1: it has no content"),
        ([{"role": "user", "content": 3}], "message 1: its content is int, not a text or a list of parts"),
        ([{"role": "user", "content": {"type": "text", "text": "Who?"}}], "message 1: its content is dict"),
        ([{"role": "user", "content": [3]}], "message 1: part 1 of its content is none"),
        ([{"role": "user", "content": [{"type": "text"}]}], "message 1: part 1 of its content is none"),
        ([{"role": "user", "content": [IMAGE, {"text": "Who?"}]}], "message 1: part 2 of its content is none"),
    ],
)
def test_bad_forms_are_refused_by_their_number(memory: EditMemory, question: Any, message: str) -> None:
    model = Scripted()
    editor = Editor(memory, model, scope=Named())
    for call in (editor.ask, editor.decide, editor.stream):
        with pytest.raises(InputError, match=message):
            call(question)
    assert model.calls == []


def test_texts_of_several_parts_do_not_run_together() -> None:
    assert text_of([{"type": "text", "text": "Who?"}, IMAGE, "Be brief."]) == "Who?\nBe brief."
    assert text_of(["Who ", "is it?"]) == "Who is it?"
    assert text_of([IMAGE]) == ""
    turns = [Message("user", "a")]
    assert as_messages(turns) is turns
    assert with_text(turns[0], "b") == Message("user", "b")
