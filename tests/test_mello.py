"""MeLLo: the loop step by step, what is retrieved on the way, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import Named

from memedit import Answer, EditMemory, Editor, Message
from memedit.answerers.mello import Mello, _labelled
from memedit.models.scripted import Scripted

QUESTION = "Who is the spouse of the chief executive of Acme?"


class Hops(Named):
    """As `Named`, but the whole question takes several hops."""

    def decide(self, messages: Any, memory: Any, **given: Any) -> Any:
        from dataclasses import replace

        decision = super().decide(messages, memory, **given)
        if decision.query in (QUESTION, "Which river flows through the capital of Nowhere?"):
            return replace(decision, hits=(), label="multi_hop")
        return decision


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as opened:
        opened.add("The CEO of Acme is Dana Li", subject="Acme", relation="chief_executive", target="Dana Li")
        opened.add("The spouse of Dana Li is Sam Poe", subject="Dana Li", relation="spouse", target="Sam Poe")
        opened.add("The capital of Freedonia is Marxville", subject="Freedonia", target="Marxville")
        yield opened


GOOD = [
    "Subquestion: Who is the chief executive of Acme?\nTentative answer: Bob Ray",
    "Contradicts: yes\nIntermediate answer: Dana Li",
    "Subquestion: Who is the spouse of Dana Li?\nTentative answer: nobody",
    "Contradicts: yes\nIntermediate answer: Sam Poe",
    "Final answer: Sam Poe",
]


def asked(memory: EditMemory, replies: Any, question: str = QUESTION, **settings: Any) -> tuple[Answer, Scripted]:
    model = replies if isinstance(replies, Scripted) else Scripted(replies)
    return Editor(memory, model, scope=Hops(), answerer=Mello(**settings)).ask(question), model


def hops(answer: Answer) -> list[dict[str, Any]]:
    return [step for step in answer.trace if step["step"] == "hop"]


def test_the_loop_ends_in_the_final_answer_by_way_of_both_edits(memory: EditMemory) -> None:
    answer, model = asked(memory, GOOD)
    assert answer.text == "Sam Poe"
    assert answer.in_scope
    assert not answer.base_untouched
    assert [hit.edit.statement for hit in answer.edits] == [
        "The CEO of Acme is Dana Li",
        "The spouse of Dana Li is Sam Poe",
    ]
    assert [hit.probability for hit in answer.edits] == [0.9, 0.9]
    assert [(step["question"], step["tentative"], step["contradicts"], step["answer"]) for step in hops(answer)] == [
        ("Who is the chief executive of Acme?", "Bob Ray", True, "Dana Li"),
        ("Who is the spouse of Dana Li?", "nobody", True, "Sam Poe"),
    ]
    assert answer.trace[-1] == {"step": "final", "answerer": "mello", "answer": "Sam Poe"}
    assert len(model.calls) == 5
    shown = model.calls[-1].messages[-1].content.splitlines()
    assert shown[0] == f"Question: {QUESTION}"
    assert shown.count("Retrieved fact: The CEO of Acme is Dana Li.") == 1
    assert "Dana Li" not in model.calls[0].messages[-1].content


async def test_asynchronously_the_same(memory: EditMemory) -> None:
    editor = Editor(memory, Scripted(GOOD), scope=Hops(), answerer="mello")
    answer = await editor.aask(QUESTION)
    assert answer == asked(memory, GOOD)[0]


def test_all_in_one_reply_is_cut_where_facts_are_made_up(memory: EditMemory) -> None:
    whole = "\n".join(
        [
            "Subquestion: Who is the chief executive of Acme?",
            "Tentative answer: Bob Ray",
            "Retrieved fact: The CEO of Acme is Mallory.",
            "Contradicts: yes",
            "Intermediate answer: Mallory",
            "Final answer: Mallory",
        ]
    )
    answer, model = asked(memory, [whole, *GOOD[1:]])
    assert answer.text == "Sam Poe"
    assert "Mallory" not in "".join(call.messages[-1].content for call in model.calls)


def test_an_unedited_hop_goes_by_the_models_own_answer(memory: EditMemory) -> None:
    replies = [
        "Subquestion: Who is the chief executive of Acme?\nTentative answer: Bob Ray",
        "Contradicts: yes\nIntermediate answer: Dana Li",
        "Subquestion: Where was she born?\nTentative answer: Rome",
        "Final answer: Rome",
    ]
    answer, model = asked(memory, replies)
    assert answer.text == "Rome"
    assert [step["fact"] for step in hops(answer)] == ["The CEO of Acme is Dana Li", None]
    assert "Retrieved fact: none\nContradicts: no\nIntermediate answer: Rome" in model.calls[-1].messages[-1].content
    assert len(answer.edits) == 1


def test_published_shows_the_nearest_edit_whatever_it_is(memory: EditMemory) -> None:
    replies = ["Subquestion: Who painted the sky?\nTentative answer: nobody", "Contradicts: no", "Final answer: nobody"]
    answer, model = asked(memory, replies, published=True)
    assert answer.text == "nobody"
    assert "Retrieved fact: none" not in model.calls[1].messages[-1].content
    assert "Retrieved fact: " in model.calls[1].messages[-1].content
    assert asked(memory, [*replies[::2], "the base"])[0].text == "the base"


def test_without_an_edit_on_the_way_the_question_is_handed_back(memory: EditMemory) -> None:
    question = "Which river flows through the capital of Nowhere?"
    replies = ["Subquestion: What is the capital of Nowhere?\nTentative answer: Nil", "Final answer: Nihil", "The Null"]
    messages = [Message("user", question)]
    model = Scripted(replies)
    answer = Editor(memory, model, scope=Hops(), answerer="mello").ask(messages, temperature=0.5)
    assert answer.text == "The Null"
    assert answer.base_untouched
    assert not answer.in_scope
    assert answer.edits == ()
    assert model.calls[-1].messages is messages
    assert model.calls[-1].parameters == {"temperature": 0.5}
    back = next(step for step in answer.trace if step["step"] == "handed back")
    assert back["reason"] == "no edit bears on any step of it"


def test_a_question_of_another_label_is_not_asked(memory: EditMemory) -> None:
    answer, model = asked(memory, ["The base"], "How high is the moon?")
    assert answer.base_untouched
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    ("replies", "reason", "calls"),
    [
        ([*GOOD[:2], "Subquestion: who is the CHIEF executive of Acme?"], "it asks the same again", 4),
        ([*GOOD[:2], GOOD[0], GOOD[0]], "the model repeats itself", 5),
        ([*GOOD[:2], "", ""], "the model's reply is empty", 5),
        ([*GOOD[:2], "I'm sorry, I can't do that.", "Sorry, no."], "the model refuses", 5),
        ([*GOOD[:2], "Sure! Let me think…", "Well…"], "the model does not keep to the form", 5),
    ],
)
def test_a_loop_that_breaks_off_is_answered_with_the_edits_found(
    memory: EditMemory, replies: list[str], reason: str, calls: int
) -> None:
    answer, model = asked(memory, [*replies, "as well as I can"])
    assert answer.text == "as well as I can"
    stopped = next(step for step in answer.trace if step["step"] == "stopped")
    assert str(stopped["reason"]).startswith(reason)
    assert [hit.edit.statement for hit in answer.edits] == ["The CEO of Acme is Dana Li"]
    assert "The CEO of Acme is Dana Li." in model.calls[-1].messages[0].content
    assert model.calls[-1].messages[-1].content == QUESTION
    assert len(model.calls) == calls


def test_the_limits_of_hops_and_calls(memory: EditMemory) -> None:
    def endless(messages: Any, **_: Any) -> str:
        steps = messages[-1].content.count("Subquestion:")
        asks_hops = messages[-1].content.startswith("Question:")
        return f"Subquestion: What is number {steps} of Acme?\nTentative answer: {steps}" if asks_hops else "enough"

    def reason(**settings: int) -> tuple[str, int]:
        answer, model = asked(memory, Scripted(endless), **settings)
        assert answer.text == "enough"
        return next(str(step["reason"]) for step in answer.trace if step["step"] == "stopped"), len(model.calls)

    # Every subquestion names Acme, so that each is followed by a check that the model never makes.
    assert reason(hops=2, calls=50)[0] == "the limit of 2 subquestions is reached"
    said, calls = reason(hops=50, calls=6)
    assert said == "the limit of 6 calls is reached"
    assert calls == 7  # and the answer with what was found


def test_a_very_long_reply_is_not_waited_for(memory: EditMemory) -> None:
    drawn = 0

    class Babbling(Scripted):
        def stream(self, messages: Any, **parameters: Any) -> Iterator[str]:
            nonlocal drawn
            for _ in range(100_000):
                drawn += 1
                yield "and so on "

    answer, _ = asked(memory, Babbling(), "Who is married to Acme?", longest=300)
    assert len(answer.text) <= 300
    assert drawn < 200


def test_a_missing_check_is_filled_in_from_the_fact(memory: EditMemory) -> None:
    answer, _ = asked(memory, [GOOD[0], *GOOD[2:]])
    assert answer.text == "Sam Poe"
    assert hops(answer)[0]["answer"] == "Dana Li"
    assert hops(answer)[0]["contradicts"] is True
    agreeing = "Subquestion: Who is the chief executive of Acme?\nTentative answer: Dana Li"
    assert hops(asked(memory, [agreeing, *GOOD[2:]])[0])[0]["contradicts"] is False


def test_a_line_too_few_is_asked_for_again_with_the_form(memory: EditMemory) -> None:
    replies = ["Hmm.", "Subquestion: Who is the chief executive of Acme?", "Tentative answer: Bob", *GOOD[1:]]
    answer, model = asked(memory, replies)
    assert answer.text == "Sam Poe"
    assert "keep to the form" in model.calls[1].messages[-1].content
    assert "keep to the form" not in model.calls[2].messages[-1].content


def test_a_question_in_scope_by_itself_keeps_its_fact(memory: EditMemory) -> None:
    replies = ["Subquestion: Who leads it?\nTentative answer: Bob Ray", "Final answer: Bob Ray", "Dana Li"]
    answer, model = asked(memory, replies, "Who runs Acme?")
    assert answer.text == "Dana Li"
    assert "The CEO of Acme is Dana Li." in model.calls[-1].messages[0].content
    assert [hit.edit.target for hit in answer.edits] == ["Dana Li"]


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_the_prompt_of_either_kind_of_model(memory: EditMemory, style: Any) -> None:
    answer, model = asked(memory, Scripted(GOOD, style=style))
    assert answer.text == "Sam Poe"
    messages = model.calls[0].messages
    assert [message.role for message in messages] == (["system", "user"] if style == "chat" else ["system"])
    text = "\n".join(message.content for message in messages)
    assert text.count("\nQuestion: ") == 3  # two examples and the question
    assert text.endswith(f"Question: {QUESTION}")


def test_examples_are_left_out_where_the_context_is_short(memory: EditMemory) -> None:
    _, model = asked(memory, Scripted(GOOD, context_tokens=500))
    assert "Quillfeather" not in model.calls[0].messages[0].content
    answer, model = asked(memory, Scripted(["the base"], context_tokens=100))
    assert answer.text == "the base"
    assert answer.base_untouched


def test_parameters_of_the_call_reach_each_step_but_those_that_cut_a_reply(memory: EditMemory) -> None:
    model = Scripted(GOOD)
    Editor(memory, model, scope=Hops(), answerer="mello").ask(QUESTION, temperature=0.2, max_tokens=3, stop=["a"])
    assert [call.parameters for call in model.calls] == [{"temperature": 0.2}] * 5


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ("**Subquestion 1:** Who?\n**Tentative answer:** He", [("Subquestion", "Who?"), ("Tentative answer", "He")]),
        ("1. Sub-question: Who?\n   - Generated answer: He", [("Subquestion", "Who?"), ("Tentative answer", "He")]),
        ("Final Answer:\nHe himself", [("Final answer", "He himself")]),
        ("> Contradicts: Yes.", [("Contradicts", "Yes.")]),
        ("Subquestion：谁？", [("Subquestion", "谁？")]),
        ("Subquestion: A?\nTentative answer: B\nFinal answer: C", [("Final answer", "C")]),
        ("The final answer is C", []),
        ("", []),
    ],
)
def test_lines_as_models_write_them(reply: str, read: list[tuple[str, str]]) -> None:
    assert _labelled(reply, ["Subquestion: A?", "Tentative answer: B"]) == read
