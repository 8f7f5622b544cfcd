"""A fact that a model's context does not hold: it is said whole, in its own words, and the trace says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import Named

from memedit import Answer, EditMemory, Editor, Message
from memedit.answerers.counterfactual import Counterfactual
from memedit.integrations.langchain import with_edits
from memedit.memory import LONGEST_STATEMENT
from memedit.models.scripted import Scripted
from memedit.patches import feedback_draft

STEPS = "open valve then close valve, "
RUNBOOK = f"The runbook of Orion is: {STEPS * 400}"[: LONGEST_STATEMENT - 10].rstrip(", ") + " and stop"
QUESTION = "What is the runbook of Orion?"
ONE_HOP = ["auto", "ike", "counterfactual", "planned", "mello", "auto:one_hop=ike"]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as opened:
        edit = opened.add(RUNBOOK, subject="Orion").edit
        assert len(edit.statement) > 9_900
        assert edit.statement == RUNBOOK
        yield opened


def beatles(**values: Any) -> Scripted:
    return Scripted({"*": "The Beatles"}, **values)


def is_whole(text: str) -> bool:
    return text.count("valve") == RUNBOOK.count("valve") and "and stop" in text and "Beatles" not in text


def says_so(answer: Answer) -> bool:
    reasons = [str(step.get("reason")) for step in answer.trace]
    return any("does not fit the context" in reason or "has no room" in reason for reason in reasons)


@pytest.mark.parametrize("style", ["chat", "completion"])
@pytest.mark.parametrize("name", ONE_HOP)
async def test_it_is_said_in_its_own_words(memory: EditMemory, name: str, style: Any) -> None:
    model = beatles(style=style, context_tokens=1024)
    editor = Editor(memory, model, scope=Named(), answerer=name)
    streams = editor.stream(QUESTION), await editor.astream(QUESTION)
    assert is_whole("".join(streams[0]))
    assert is_whole("".join([piece async for piece in streams[1]]))
    for answer in (editor.ask(QUESTION), await editor.aask(QUESTION), streams[0].answer, streams[1].answer):
        assert is_whole(answer.text)
        assert answer.in_scope
        assert [hit.edit.statement for hit in answer.edits] == [RUNBOOK]
        assert not answer.base_untouched
        assert says_so(answer)
    assert not any("valve" in message.content for call in model.calls for message in call.messages)
    chain = with_edits(model, memory, scope=Named(), answerer=name)
    assert is_whole(getattr(chain.invoke(QUESTION), "content", ""))
    assert is_whole("".join([piece.content async for piece in chain.astream(QUESTION)]))


@pytest.mark.parametrize("style", ["chat", "completion"])
@pytest.mark.parametrize("context", [None, 32_000])
@pytest.mark.parametrize("name", ["auto", "ike", "planned"])
def test_a_model_that_holds_it_or_does_not_say_is_asked_with_all_of_it(
    memory: EditMemory, name: str, context: int | None, style: Any
) -> None:
    model = beatles(style=style, context_tokens=context)
    answer = Editor(memory, model, scope=Named(), answerer=name).ask(QUESTION)
    assert answer.text == "The Beatles"
    assert any(RUNBOOK in message.content for message in model.calls[-1].messages)
    assert not says_so(answer)


def test_the_pocket_model_and_its_context(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path / "facts") as memory:
        memory.add("The CEO of Acme is Dana Li")
        memory.add(RUNBOOK)
        for name in ("auto", "ike"):
            editor = Editor(memory, "pocket", answerer=name)
            if name == "auto":  # said beforehand, without loading the model
                assert [choice.name for choice in editor.choices(QUESTION, editor.decide(QUESTION))] == ["verbatim"]
            assert is_whole(editor.ask(QUESTION).text)
            assert editor.ask("Who is the CEO of Acme?").text == "Dana Li"


def test_what_the_model_can_read_but_not_write_out(memory: EditMemory) -> None:
    target = (STEPS * 30).rstrip(", ")
    memory.add(f"The drill of Vega is: {target}", subject="Vega", target=target)
    for context, longest, asked in ((400, None, False), (900, None, True), (900, 64, False), (900, 256, True)):
        model = beatles(style="completion", context_tokens=context, demonstrations=0)
        if longest is not None:
            model.reply_tokens = longest  # type: ignore[attr-defined]
        answer = Editor(memory, model, scope=Named()).ask("What is the drill of Vega?")
        assert (answer.text == "The Beatles") is bool(model.calls) is asked
        assert asked or answer.text.count("valve") == 60


def test_other_facts_are_left_out_by_name_before_the_surest_is(memory: EditMemory) -> None:
    short = memory.add("Orion sells rope", subject="Orion").edit
    long = memory.list(text="runbook")[0]

    class Sure(Named):
        """Of both facts the short one is the surer."""

        def decide(self, messages: Any, memory: Any, **given: Any) -> Any:
            decision = super().decide(messages, memory, **given)
            object.__setattr__(decision, "hits", tuple(sorted(decision.hits, key=lambda hit: hit.edit.id != short.id)))
            return decision

    for style in ("chat", "completion"):
        model = beatles(style=style, context_tokens=700)
        answer = Editor(memory, model, scope=Sure(), answerer="ike").ask("What does Orion sell?")
        assert answer.text == "The Beatles"
        facts = next(step for step in answer.trace if step["step"] == "facts")
        assert (facts["edits"], facts["left_out"]) == ([short.id], [long.id])


def test_a_small_model_of_its_own_that_does_not_hold_it(memory: EditMemory) -> None:
    small = beatles(style="completion", context_tokens=256)
    base = beatles()
    # As published the nearest edit is taken, whatever it is: of a question in its own words, this one.
    for question, published in ((QUESTION, False), (RUNBOOK, True)):
        answerer = Counterfactual(model=small, published=published)
        assert is_whole(Editor(memory, base, scope=Named(), answerer=answerer).ask(question).text)
    assert small.calls == base.calls == []


def test_mello_that_found_it_on_its_way_says_all_of_it(memory: EditMemory) -> None:
    model = Scripted({"*": f"Subquestion: {QUESTION}\nTentative answer: none"}, context_tokens=2000)
    answer = Editor(memory, model, scope=Named(), answerer="mello").ask(QUESTION)
    assert is_whole(answer.text)
    assert says_so(answer)


def test_patches_and_feedback_that_do_not_fit_leave_the_reply_to_the_model(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as memory:
        memory.add(f"if the message mentions 'zebra', then describe how to {STEPS * 33}", kind="patch")
        memory.add_many([feedback_draft(f"when I ask for a word like X, I mean {STEPS * 33}")])
        for question in ("Describe a zebra", "a word like big"):
            model = beatles(context_tokens=256)
            messages = [Message("user", question)]
            answer = Editor(memory, model, scope=Named()).ask(messages)
            assert answer.text == "The Beatles"
            assert model.calls[0].messages is messages
            assert says_so(answer)
            model = beatles(context_tokens=8000)
            Editor(memory, model, scope=Named()).ask(messages)
            assert model.calls[0].messages[0].content.count("valve") == 66
