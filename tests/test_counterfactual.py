"""The counterfactual model: what it is given, when it hands back, and SERAC's own rule beside ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import Named, edit

from memedit import Answer, EditMemory, Editor, Message
from memedit.answerers._named import by_subject
from memedit.answerers.counterfactual import (
    Counterfactual,
    as_question,
    asks_yes_or_no,
    by_wording,
    mixed,
    settled,
)
from memedit.answerers.verbatim import Verbatim
from memedit.edits import Edit
from memedit.models import load_model
from memedit.models.scripted import Scripted

ACME = edit(
    1,
    "The CEO of Acme is Dana Li",
    subject="Acme",
    relation="chief_executive",
    target="Dana Li",
    prompt="The CEO of Acme is",
    question="Who is the CEO of Acme?",
    aliases=("Acme Corp", "the rope maker"),
)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as opened:
        opened.add("The CEO of Acme is Dana Li", aliases=["Acme Corp"])
        yield opened


def asked(memory: EditMemory, question: str, reply: str, **settings: Any) -> tuple[Answer, Scripted, Scripted]:
    """The answer, the small model and the base model."""
    small, base = Scripted({"*": reply}, name="small", style="completion"), Scripted({"*": "the base"})
    answerer = Counterfactual(model=small, **settings)
    return Editor(memory, base, scope=Named(), answerer=answerer).ask(question), small, base


def test_the_small_model_is_given_the_fact_alone_and_the_base_nothing(memory: EditMemory) -> None:
    answer, small, base = asked(memory, "Who runs Acme?", " dana li")
    assert answer.text == "Dana Li"  # as the edit writes it
    assert [list(call.messages) for call in small.calls] == [
        [Message("system", "Given only: The CEO of Acme is Dana Li."), Message("user", "Who runs Acme?")]
    ]
    assert base.calls == []
    assert not answer.base_untouched
    assert [hit.edit.target for hit in answer.edits] == ["Dana Li"]
    assert answer.trace[-1]["model"] == "small"


def test_unknown_is_handed_back_and_the_base_is_untouched(memory: EditMemory) -> None:
    answer, _, base = asked(memory, "When did Acme begin?", " unknown")
    assert answer.text == "the base"
    assert answer.in_scope  # the scope found an edit
    assert answer.edits == ()  # and it was of no use
    assert answer.base_untouched
    assert len(base.calls) == 1
    assert "finds no answer in the fact" in str(answer.trace[-2]["reason"])


def test_a_yes_that_does_not_name_what_the_fact_says_is_not_believed(memory: EditMemory) -> None:
    answer, small, base = asked(memory, "Is Acme in Norway?", "yes")
    assert len(small.calls) == len(base.calls) == 1
    assert answer.text == "the base"
    assert asked(memory, "Is Acme in Norway?", "no")[0].text == "No"


async def test_asynchronously(memory: EditMemory) -> None:
    small = Scripted({"*": "Dana Li"}, style="completion")
    editor = Editor(memory, Scripted({"*": "the base"}), scope=Named(), answerer=Counterfactual(model=small))
    assert (await editor.aask("Who runs Acme?")).text == "Dana Li"
    small.replies = {"*": "unknown"}
    answer = await editor.aask("Who runs Acme?")
    assert (answer.text, answer.base_untouched) == ("the base", True)


def test_an_alias_is_asked_about_by_the_name_in_the_fact(memory: EditMemory) -> None:
    _, small, _ = asked(memory, "Who is at the helm of ACME corp?", "Dana Li")
    assert small.calls[0].messages[-1].content == "Who is at the helm of Acme?"
    assert by_subject("Who runs the Rope Maker now?", ACME) == "Who runs Acme now?"
    assert by_subject("Who runs Globex?", ACME) == "Who runs Globex?"
    for named in ("Who runs ACME?", "Who runs Acme Inc.?", "Who runs acme corporation?", "Who runs Acme, Ltd?"):
        assert by_subject(named, ACME) == "Who runs Acme?"
    for other in ("Who runs Acmeland?", "Who runs Acme Companyville?"):
        assert "Acme?" not in by_subject(other, ACME)


def test_a_prompt_to_complete_becomes_the_question_it_stands_for(memory: EditMemory) -> None:
    answer, small, _ = asked(memory, "The CEO of Acme is", "Dana Li")
    assert answer.text == "Dana Li."
    assert small.calls[0].messages[-1].content.endswith("?")
    assert as_question("Acme's CEO is", ACME) is not None
    assert as_question("Acme is led, I hear, by", ACME) is None
    answer, small, _ = asked(memory, "Acme is led, I hear, by", "Dana Li.")
    assert answer.text == "Dana Li."
    assert small.calls[0].messages[0].content == "New fact: The CEO of Acme is Dana Li."


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("Is Dana Li the CEO of Acme?", "yes"),
        ("Is it true that Dana Li runs the rope maker?", "yes"),
        ("Is Bob Ray the CEO of Acme?", "no"),
        ("Is the CEO of Acme Bob Ray?", "no"),
        ("Is it true that the CEO of Acme Corp is Bob Ray?", "no"),
        ("Is Acme in Norway?", None),
        ("Is the CEO of Globex Bob Ray?", None),
        ("Isn't Dana Li the CEO of Acme?", None),
        ("Did anybody other than Dana Li run Acme?", None),
        ("Which company is Dana Li the CEO of?", "Acme"),
        ("Dana Li is the CEO of what?", "Acme"),
        ("Who was CEO before Dana Li?", None),
        ("Who is the CEO of Acme?", None),
        ("Dana Li is the CEO of", "Acme"),
        ("Dana Li was born in", None),
        ("Who is Dana Lindt?", None),
    ],
)
def test_what_the_form_of_a_question_settles(query: str, answer: str | None) -> None:
    assert settled(query, ACME) == answer


ANN = edit(
    2, "The mother of Ann Lo is Bea Lo", subject="Ann Lo", relation="mother", target="Bea Lo",
    prompt="The mother of Ann Lo is", question="Who is the mother of Ann Lo?", aliases=("Annie L.",),
)  # fmt: skip
NEXT = edit(3, "Song One follows Song Two", subject="Song One", relation="predecessor", target="Song Two")
ODD = edit(
    4, "Ann Lo hums at Pier 9", subject="Ann Lo", target="Pier 9", prompt="Ann Lo hums at", aliases=("Annie L.",)
)


@pytest.mark.parametrize(
    ("query", "of", "answer"),
    [
        ("Who is the child of Bea Lo?", ANN, "Ann Lo"),  # the inverse relation
        ("The names of the children of Bea Lo are", ANN, "Ann Lo"),
        ("Whose mother is Bea Lo?", ANN, "Ann Lo"),  # the relation backwards
        ("Who is the mother of Bea Lo?", ANN, None),  # forwards: another fact
        ("The mother of Bea Lo is", ANN, None),
        ("Song Two is followed by", NEXT, "Song One"),
        ("What is the successor of Song Two?", NEXT, "Song One"),
        ("Song Two follows", NEXT, None),
        ("Song One is followed by", NEXT, None),
        ("Who is Annie L.'s mother?", ANN, "Bea Lo"),  # a known wording, of an alias
        ("The mother of annie l. is", ANN, "Bea Lo"),
        ("Annie L. hums at", ODD, "Pier 9"),  # the edit's own words: its relation has no name
        ("Annie L. sings at", ODD, None),
        ("Who is the mother of Ann Lo?", ANN, None),  # the subject itself: the model's to answer
        ("Who is the mother of the friend of Annie L.?", ANN, None),
        ("Who is the child of the sister of Bea Lo?", ANN, None),
    ],
)
def test_what_the_very_wording_settles(query: str, of: Edit, answer: str | None) -> None:
    assert by_wording(query, of) == answer
    if query not in ("Who is the child of the sister of Bea Lo?",):
        assert settled(query, of) == answer  # neither does the looser rule say anything else


def test_by_an_alias_in_a_known_wording_no_model_is_asked(memory: EditMemory) -> None:
    for query, text in (("Who is the CEO of Acme Corp?", "Dana Li"), ("The CEO of Acme Corp is", "Dana Li.")):
        answer, small, base = asked(memory, query, "nonsense")
        assert answer.text == text
        assert small.calls == base.calls == []
        assert answer.trace[-1]["model"] is None


@pytest.mark.parametrize(
    ("query", "is_one"),
    [
        ("Is it raining?", True),
        ("and did she go?", True),
        ("Who is it?", False),
        ("Can you tell me who runs Acme?", False),
        ("Is it so", False),
        ("Is it red or blue?", False),
        ("Is it red or not?", True),
        ("Or is it red?", True),
    ],
)
def test_yes_or_no_questions(query: str, is_one: bool) -> None:
    assert asks_yes_or_no(query) is is_one


def test_an_or_in_a_name_is_no_choice(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path, encoder="letters", store="exact") as memory:
        edit = memory.add("The author of Salt or Stars is Tove Rask").edit
    assert asks_yes_or_no("Is salt or stars by Tove Rask?", edit)
    assert not asks_yes_or_no("Is Salt or Stars by Tove Rask or by Odo Marl?", edit)
    assert settled("Is Salt or Stars by Tove Rask or by Odo Marl?", edit) is None


def test_the_pocket_model_in_its_format(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as memory:
        memory.add("The capital of France is Lyon")
        base = Scripted({"*": "the base"})
        editor = Editor(memory, base, scope=Named(), answerer="counterfactual")
        replies = {
            question: editor.ask(question).text
            for question in (
                "What is the capital of France?",
                "The capital of France is",
                "Is Lyon the capital of France?",
                "Is Madrid the capital of France?",
                "Who wrote the anthem of France?",
            )
        }
    assert list(replies.values()) == ["Lyon", "Lyon.", "Yes", "No", "the base"]
    assert len(base.calls) == 1


# As published


class Table:
    """A model over five tokens: the next token's probabilities by what was drawn so far."""

    vocabulary = {"<end>": 0, "a": 1, "b": 2, "c": 3, "\n": 4}  # noqa: RUF012
    ends = frozenset({0})

    def __init__(self, rows: dict[str, list[float]]) -> None:
        self.rows = rows

    def probabilities(self, messages: Sequence[Message], drawn: Sequence[int] = ()) -> Any:
        return np.array(self.rows[self.text_of(drawn)])

    def text_of(self, tokens: Sequence[int]) -> str:
        names = {number: name for name, number in self.vocabulary.items()}
        return "".join(names[token] for token in tokens if token)


def test_mixing_by_hand() -> None:
    end = [1.0, 0, 0, 0, 0]
    base = Table({"": [0, 0.6, 0.4, 0, 0], "a": end, "b": [0, 0, 0, 0.7, 0.3], "bc": end})
    small = Table({"": [0, 0.1, 0.9, 0, 0], "a": end, "b": [0.45, 0, 0, 0.1, 0.45], "bc": end})

    def reply(share: float) -> str:
        return "".join(mixed(base, [], small, [], share))

    assert reply(0.0) == "a"
    assert reply(0.25) == "bc"  # 0.475 a against 0.525 b; then 0.1125 end, 0.55 c, 0.3375 newline
    assert reply(1.0) == "b"  # then the end and a newline are equally likely, and both end it
    assert reply(0.1) == "a"  # 0.55 a against 0.45 b


def test_mixing_at_either_end_is_one_model_alone() -> None:
    pocket: Any = load_model("pocket")
    question = [Message("user", "What is the capital of France?")]
    given = [Message("system", "Given only: The capital of France is Lyon."), *question]
    for share, messages in ((0.0, question), (1.0, given)):
        assert "".join(mixed(pocket, question, pocket, given, share)) == "".join(pocket.stream(messages))
    assert pocket.probabilities(question).sum() == pytest.approx(1.0)


def test_the_published_gate_is_a_fixed_radius_around_the_nearest_edit(memory: EditMemory) -> None:
    near, small, base = asked(memory, "The CEO of Acme is who?", "Dana Li", published=True)
    assert near.text == "Dana Li"
    assert near.trace[1]["published"] is True
    assert float(str(near.trace[1]["similarity"])) > 0.5
    assert base.calls == []
    far, small, base = asked(memory, "zzz qqq xxx 42?", "Dana Li", published=True)
    assert far.text == "the base"
    assert far.base_untouched
    assert "not above 0.5" in str(far.trace[-2]["reason"])
    assert small.calls == []


def test_published_mixes_where_both_models_are_local_and_switches_where_not(memory: EditMemory) -> None:
    question = "The CEO of Acme is who?"
    answer = Editor(memory, "pocket", scope=Named(), answerer=Counterfactual(published=True)).ask(question)
    assert answer.trace[1]["mixed"] is True
    assert answer.text
    switched = Editor(memory, "pocket", scope=Named(), answerer=Counterfactual(published=True, mixing=False))
    assert switched.ask(question).trace[1]["mixed"] is False
    assert asked(memory, question, "Dana Li", published=True)[0].trace[1]["mixed"] is False


# Verbatim


def said(memory: EditMemory, question: str, **settings: Any) -> Answer:
    base = Scripted({"*": "the base"})
    answer = Editor(memory, base, scope=Named(), answerer=Verbatim(**settings)).ask(question)
    assert (base.calls == []) is answer.in_scope
    return answer


def test_verbatim_gives_the_target_for_the_edits_own_question_else_the_statement(memory: EditMemory) -> None:
    id_ = memory.list()[0].id
    assert said(memory, "Who is the CEO of Acme?").text == f"Dana Li (source: {id_})"
    assert said(memory, "The CEO of Acme is").text == f"Dana Li (source: {id_})"
    assert said(memory, "Is Bob Ray the CEO of Acme?").text == f"The CEO of Acme is Dana Li (source: {id_})"
    assert said(memory, "Who is the CEO of Acme?", source=False).text == "Dana Li"
    assert said(memory, "Acme?", form="target", source=False).text == "Dana Li"
    assert said(memory, "How high is the moon?").text == "the base"


def test_verbatim_in_any_script_with_its_source(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as memory:
        memory.add("阿克梅的首席执行官是李黛娜", subject="阿克梅", source="年报")
        answer = said(memory, "阿克梅怎么样？")
    assert answer.text == "阿克梅的首席执行官是李黛娜 (source: 年报)"
    assert len(answer.edits) == 1
