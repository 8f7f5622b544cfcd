"""Every answerer keeps the contract of the seam; then the rules of `auto`, and what the editor makes of them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from fakes import Named
from langchain_core.messages import HumanMessage
from openai_server import serving as serving_openai

from memedit import EditMemory, Editor, Message
from memedit.answerers import (
    Choice,
    HandBack,
    Retriever,
    answerers,
    begun,
    bound,
    for_answerer,
    serving,
    wanted,
)
from memedit.answerers.auto import Auto
from memedit.answerers.ike import Ike
from memedit.cli import cli
from memedit.edits import Decision, Hit
from memedit.errors import ModelError
from memedit.integrations.langchain import with_edits
from memedit.models.scripted import Scripted

NAMES = answerers.names()
INSIDE = "Who is the CEO of Acme?"
OUTSIDE = "How high is the moon?"
SEVERAL = "Who is the spouse of the CEO of Acme?"


class Labels(Named):
    """As `Named`, but some questions take several hops."""

    def decide(self, messages: Any, memory: Any, **given: Any) -> Any:
        decision = super().decide(messages, memory, **given)
        if decision.query.startswith(SEVERAL[:-1]):
            return dataclasses.replace(decision, hits=(), label="multi_hop")
        return decision


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as opened:
        opened.add("The CEO of Acme is Dana Li")
        opened.add("The capital of Freedonia is Marxville", namespace="tenant")
        yield opened


def told(messages: Sequence[Message], **parameters: Any) -> str:
    """Says what a system message tells it."""
    text = "".join(message.content for message in messages)
    return "Dana Li, I am told" if "Dana Li" in text else "I do not know"


def editor(memory: EditMemory, name: str, model: Any = None) -> Editor:
    return Editor(memory, model or Scripted(told), scope=Labels(), answerer=name)


# -------------------------------------------------------------------------------------------- settings in the name


def test_settings_in_the_name_reach_python_the_command_line_and_langchain(memory: EditMemory, tmp_path: Path) -> None:
    name = "mello:published=true"
    answer = editor(memory, name, Scripted(["Final answer: nobody"])).ask(SEVERAL)
    assert answer.text == "nobody"  # as published: without an edit found it answers all the same
    assert answer.trace[-1]["answerer"] == name
    assert editor(memory, "mello", Scripted(["Final answer: nobody", "own"])).ask(SEVERAL).text == "own"
    chain = with_edits(Scripted(told), memory, scope=Labels(), answerer="verbatim:form=statement;source=false")
    assert chain.invoke(INSIDE).content == "The CEO of Acme is Dana Li"
    (tmp_path / "script.json").write_text('{"*": "own"}')
    asked = ["--memory", str(tmp_path / "facts"), "ask", INSIDE, "--json", "--scope", "lexical:threshold=0.4"]
    asked += ["--model", f"scripted:{tmp_path / 'script.json'}"]
    env = {"MEMEDIT_ENCODER": "letters", "MEMEDIT_STORE": "exact"}
    printed = CliRunner().invoke(cli, [*asked, "--answerer", "verbatim:form=statement;source=no"], env=env)
    found = json.loads(printed.stdout)
    assert found["text"] == "The CEO of Acme is Dana Li"
    assert found["trace"][0]["scope"] == "lexical:threshold=0.4"
    printed = CliRunner().invoke(cli, [*asked, "--answerer", "verbatim:facts=none"], env=env)
    assert printed.exit_code == 2
    assert "facts of the answerer 'verbatim' takes a whole number, not 'none'" in printed.output


# ---------------------------------------------------------------------------------------------- the contract, for each


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_frozen_value_named_as_its_file(name: str) -> None:
    made = answerers.get(name)()
    assert made.name == name
    assert dataclasses.is_dataclass(made)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "another"
    assert "single" in wanted(made)
    assert wanted(made) <= {"single", "multi_hop", "none"}
    assert made == answerers.get(name)()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("question", [INSIDE, SEVERAL, "The CEO of Acme is", "Is Dana Li the CEO of Acme?"])
async def test_streamed_whole_and_asynchronously_the_answer_is_the_same(
    memory: EditMemory, name: str, question: str
) -> None:
    answer = editor(memory, name).ask(question, seed=3)
    stream = editor(memory, name).stream(question, seed=3)
    assert "".join(stream) == answer.text
    assert stream.answer == answer
    assert await editor(memory, name).aask(question, seed=3) == answer
    astream = editor(memory, name).astream(question, seed=3)
    assert "".join([piece async for piece in astream]) == answer.text
    assert answer.text


@pytest.mark.parametrize("name", NAMES)
def test_the_trace_is_json_and_names_the_edits_used(memory: EditMemory, name: str) -> None:
    for question in (INSIDE, SEVERAL, OUTSIDE):
        answer = editor(memory, name).ask(question)
        assert json.loads(json.dumps(list(answer.trace))) == list(answer.trace)
        assert answer.trace[0]["step"] == "scope"
        assert all(isinstance(step["step"], str) for step in answer.trace)
        listed = {id_ for step in answer.trace for id_ in step.get("edits", [])}  # type: ignore[attr-defined]
        assert {hit.edit.id for hit in answer.edits} == listed
        assert listed <= {edit.id for edit in memory.list()}
        if "Dana Li" in answer.text:
            assert answer.edits


@pytest.mark.parametrize("name", NAMES)
def test_out_of_scope_the_base_gets_the_very_same_objects(memory: EditMemory, name: str) -> None:
    for question, namespace in ((OUTSIDE, "default"), (INSIDE, "empty"), (SEVERAL, "empty")):
        model, messages = Scripted(told), [Message("system", "Be brief."), Message("user", question)]
        parameters = {"temperature": 0.5, "stop": ["x"]}
        answer = editor(memory, name, model).ask(messages, namespace=namespace, **parameters)
        assert answer.text == "I do not know"
        assert answer.base_untouched
        assert not answer.in_scope
        assert answer.edits == ()
        assert model.calls[-1].messages is messages
        assert model.calls[-1].parameters == parameters
        if question == OUTSIDE:
            assert len(model.calls) == 1


@pytest.mark.parametrize("name", NAMES)
def test_in_scope_it_answers_by_the_edit_or_hands_back_untouched(memory: EditMemory, name: str) -> None:
    model = Scripted(told)
    answer = editor(memory, name, model).ask(INSIDE)
    if "handed back" in [step["step"] for step in answer.trace]:
        assert answer.base_untouched
        assert answer.edits == ()
    else:
        assert "Dana Li" in answer.text
        assert [hit.edit.target for hit in answer.edits] == ["Dana Li"]
        assert not answer.base_untouched


@pytest.mark.parametrize("name", NAMES)
async def test_langchain_uses_the_same_answerer(memory: EditMemory, name: str) -> None:
    for question in (INSIDE, OUTSIDE):
        expected = editor(memory, name).ask(question).text
        wrapped = with_edits(Scripted(told), memory, scope=Labels(), answerer=name)
        assert wrapped.invoke(question).content == expected
        assert (await wrapped.ainvoke([HumanMessage(question)])).content == expected
        assert "".join(str(chunk.content) for chunk in wrapped.stream(question)) == expected
        assert "".join([str(chunk.content) async for chunk in wrapped.astream(question)]) == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"*": "I could not say."}', encoding="utf-8")
    monkeypatch.setenv("MEMEDIT_ENCODER", "letters")
    monkeypatch.setenv("MEMEDIT_MODEL", f"scripted:{script}")
    monkeypatch.setenv("MEMEDIT_MEMORY", str(tmp_path / "facts"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    assert run(cli, ["add", "The CEO of Acme is Dana Li"]).exit_code == 0
    asked = run(cli, ["ask", INSIDE, "--answerer", name, "--json"])
    assert asked.exit_code == 0, asked.output
    assert json.loads(asked.stdout)["text"]
    explained = run(cli, ["explain", INSIDE, "--answerer", name, "--json"])
    assert explained.exit_code == 0, explained.output
    assert all(set(each) == {"name", "reason"} for each in json.loads(explained.stdout)["answerers"])


# -------------------------------------------------------------------------------------------------------------- routing


class Sly:
    """An answerer for tests: looks further, hands back on request, keeps what it was given."""

    name = "sly"
    wants: ClassVar[frozenset[str]] = frozenset({"multi_hop"})

    def __init__(self, back: str = "", retrieve: Retriever | None = None) -> None:
        self.back, self.retrieve = back, retrieve

    def with_retriever(self, retrieve: Retriever) -> Sly:
        return Sly(self.back, retrieve)

    def stream(
        self, messages: Any, decision: Any, model: Any, memory: Any, trace: Any, **parameters: Any
    ) -> Iterator[str]:
        assert self.retrieve is not None
        found = self.retrieve(INSIDE).hits
        list(model.stream([Message("user", "something of its own")]))
        trace.append({"step": "looked", "edits": [hit.edit.id for hit in found]})
        if self.back:
            raise HandBack(self.back)
        yield "by "
        yield found[0].edit.target or ""

    async def astream(self, *arguments: Any, **parameters: Any) -> Any:
        for piece in self.stream(*arguments, **parameters):
            yield piece


def test_an_answerer_is_asked_for_the_labels_that_it_wants(memory: EditMemory) -> None:
    made = Editor(memory, Scripted(told), scope=Labels(), answerer=Sly())
    answer = made.ask(SEVERAL)
    assert answer.text == "by Dana Li"
    assert answer.in_scope
    assert [(hit.edit.target, hit.probability) for hit in answer.edits] == [("Dana Li", 0.9)]
    assert answer.decision is not None
    assert not answer.decision.in_scope
    assert made.ask(OUTSIDE).base_untouched


async def test_what_is_handed_back_is_the_base_models_own(memory: EditMemory) -> None:
    for whole in (False, True):
        model, messages = Scripted(told), [Message("user", INSIDE)]
        made = Editor(memory, model, scope=Labels(), answerer=Sly("it is not about that"))
        answer = await made.aask(messages, seed=1) if whole else made.ask(messages, seed=1)
        assert answer.text == "I do not know"
        assert answer.base_untouched  # though it asked the model something before
        assert answer.edits == ()
        assert len(model.calls) == 2
        assert model.calls[-1].messages is messages
        looked, back = [step for step in answer.trace if step["step"] in ("looked", "handed back")]
        assert "edits" not in looked
        assert looked["considered"]
        assert back == {"step": "handed back", "answerer": "sly", "reason": "it is not about that", "edits": []}


def test_the_retriever_sees_one_namespace_at_one_moment(memory: EditMemory) -> None:
    then = memory.journal.head()
    made = editor(memory, "ike")
    here, tenant = made.retriever(), made.retriever(namespace="tenant")
    assert here(INSIDE).in_scope
    assert not tenant(INSIDE).in_scope
    assert tenant("What is the capital of Freedonia?").in_scope
    assert [hit.edit.target for hit in here.nearest("anything at all")] == ["Dana Li"]
    assert set(here.found) == {memory.list()[0].id}
    memory.remove(memory.list()[0].id)
    assert not made.retriever()(INSIDE).in_scope
    assert made.retriever(then)(INSIDE).in_scope


def test_edits_of_other_kinds_are_found_by_kind_and_never_handed_out_as_facts(memory: EditMemory) -> None:
    made = editor(memory, "ike")
    assert made.retriever().of_kind("patch") == []
    patch = memory.add("If the user asks about Acme, then say that Dana Li is busy", kind="patch")
    assert [edit.id for edit in made.retriever().of_kind("patch", "regex")] == [patch.id]
    assert made.retriever(namespace="tenant").of_kind("patch") == []
    then = memory.journal.head()
    memory.undo(last=1)
    assert made.retriever().of_kind("patch") == []
    assert [edit.id for edit in made.retriever(then).of_kind("patch")] == [patch.id]
    hits = (Hit(edit=memory.list()[0], score=1.0), Hit(edit=patch.edit, score=1.0))
    decision = Decision(query=INSIDE, hits=hits, label="single")
    assert [hit.edit.kind for hit in for_answerer(decision, Ike()).hits] == ["fact"]
    assert for_answerer(dataclasses.replace(decision, hits=hits[1:]), Ike()).label == "none"
    assert for_answerer(dataclasses.replace(decision, hits=hits[:1]), Ike()).hits == hits[:1]
    served = answerers.get(serving()["patch"])()
    assert for_answerer(decision, served) is decision


def test_begun_raises_at_once_and_loses_no_piece() -> None:
    def pieces(back: bool) -> Iterator[str]:
        if back:
            raise HandBack("no")
        yield from "abc"

    assert list(begun(pieces(False))) == ["a", "b", "c"]
    assert list(begun(iter(()))) == []
    with pytest.raises(HandBack):
        begun(pieces(True))
    plain = answerers.get("verbatim")()
    assert bound(plain, Retriever) is plain  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------------- auto


def chosen(memory: EditMemory, question: str, model: Any) -> list[str]:
    made = Editor(memory, model, scope=Labels())
    assert made.answerer == Auto()
    return [choice.name for choice in made.choices(question, made.decide(question))]


@pytest.mark.parametrize(
    ("question", "style", "names"),
    [
        (INSIDE, "chat", ["ike"]),
        (INSIDE, "completion", ["ike"]),
        ("Is Bob Ray the CEO of Acme?", "chat", ["ike"]),
        ("Is Bob Ray the CEO of Acme?", "completion", ["counterfactual"]),
        (SEVERAL, "chat", ["planned", "mello"]),
        (SEVERAL, "completion", ["planned"]),
    ],
)
def test_auto_chooses_by_hops_and_model(memory: EditMemory, question: str, style: Any, names: list[str]) -> None:
    model = Scripted(told, style=style, demonstrations=0)
    assert chosen(memory, question, model) == names
    assert chosen(memory, question, model) == names
    assert model.calls == []
    traced = [
        step["answerer"]
        for step in Editor(memory, model, scope=Labels()).ask(question).trace
        if step["step"] == "chosen"
    ]
    assert traced == names[: len(traced)]
    assert traced


def test_auto_says_the_fact_in_its_own_words_where_it_does_not_fit(memory: EditMemory) -> None:
    assert chosen(memory, INSIDE, Scripted(told, context_tokens=60)) == ["verbatim"]
    assert chosen(memory, INSIDE, Scripted(told, context_tokens=400)) == ["ike"]
    small = Scripted(told, style="completion", context_tokens=20)
    assert chosen(memory, "Is Dana Li the CEO of Acme?", small) == ["counterfactual"]  # told without reading the fact


def test_auto_knows_a_model_by_its_name_and_loads_none(memory: EditMemory) -> None:
    assert chosen(memory, "Is Bob Ray the CEO of Acme?", "pocket") == ["counterfactual"]
    assert chosen(memory, "Is Bob Ray the CEO of Acme?", "openai:no-such-model") == ["ike"]
    assert chosen(memory, SEVERAL, "hf:/no/such/folder") == ["planned", "mello"]
    made = Editor(memory, "hf:/no/such/folder", scope=Labels())
    reasons = [choice.reason for choice in made.choices(SEVERAL, made.decide(SEVERAL))]
    assert reasons[1].endswith("if the model chats")


def test_auto_as_set(memory: EditMemory) -> None:
    made = Editor(memory, Scripted(told), scope=Labels(), answerer=Auto(one_hop="verbatim", several_hops=("absent",)))
    answer = made.ask(INSIDE)
    assert answer.text.startswith("Dana Li (source: ")
    assert made.ask(SEVERAL).base_untouched
    assert made.choices(SEVERAL, made.decide(SEVERAL)) == []
    assert [step["step"] for step in made.ask(SEVERAL).trace] == ["scope", "model"]


def test_auto_goes_on_where_one_hands_back(memory: EditMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    from memedit.answerers import auto

    known = {"first": Sly("not me"), "second": Sly()}
    monkeypatch.setattr(auto, "_default", lambda name: known[name])
    monkeypatch.setattr(answerers, "names", lambda: sorted(known))
    made = Editor(memory, Scripted(told), scope=Labels(), answerer=Auto(several_hops=("first", "second")))
    answer = made.ask(SEVERAL)
    assert answer.text == "by Dana Li"
    assert [hit.edit.target for hit in answer.edits] == ["Dana Li"]
    assert [(s["step"], s["answerer"]) for s in answer.trace if "answerer" in s] == [
        ("chosen", "first"),
        ("handed back", "first"),
        ("chosen", "second"),
    ]


def test_a_patch_is_asked_first_and_asks_the_rest_of_the_way(
    memory: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shouts:
        """Serves edits of kind "shout": what they stand before is said in capitals."""

        name = "shouts"
        kinds: ClassVar[frozenset[str]] = frozenset({"shout"})

        def stream(
            self, messages: Any, decision: Any, model: Any, memory: Any, trace: Any, **parameters: Any
        ) -> Iterator[str]:
            if "quietly" in messages[-1].content:
                raise HandBack("it is to be said quietly")
            trace.append({"step": "shouts", "edits": [memory.list(text="aloud")[0].id]})
            for piece in model.stream(messages, **parameters):
                yield piece.upper()

        async def astream(self, messages: Any, *rest: Any, **parameters: Any) -> Any:
            for piece in self.stream(messages, *rest, **parameters):
                yield piece

    from memedit.answerers import auto

    own = auto._default
    monkeypatch.setattr(auto, "serving", lambda: {"shout": "shouts"})
    monkeypatch.setattr(auto, "_default", lambda name: Shouts() if name == "shouts" else own(name))
    monkeypatch.setattr(answerers, "get", lambda name, get=answerers.get: Shouts if name == "shouts" else get(name))
    made, model = Editor(memory, Scripted(told), scope=Labels()), Scripted(told)
    assert made.ask(INSIDE).text == "Dana Li, I am told"
    memory.add("Say it aloud", kind="shout")
    answer = made.ask(INSIDE)
    assert answer.text == "DANA LI, I AM TOLD"
    assert {hit.edit.kind for hit in answer.edits} == {"fact", "shout"}
    assert made.ask(OUTSIDE).text == "I DO NOT KNOW"
    assert made.ask(f"{INSIDE} Say it quietly.").text == "Dana Li, I am told"
    messages = [Message("user", f"{OUTSIDE} Say it quietly.")]
    answer = Editor(memory, model, scope=Labels()).ask(messages)
    assert answer.base_untouched
    assert model.calls[0].messages is messages
    assert [choice.name for choice in made.choices(INSIDE, made.decide(INSIDE))] == ["shouts", "ike"]
    memory.undo(last=1)
    assert made.ask(OUTSIDE).text == "I do not know"


def test_auto_asks_who_foresees_several_hops_where_the_scope_saw_none(
    memory: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Foresees(Sly):
        wants: ClassVar[frozenset[str]] = frozenset({"multi_hop", "none"})

        def with_retriever(self, retrieve: Retriever) -> Foresees:
            return Foresees(self.back, retrieve)

        def foresees(self, question: str, in_scope: bool) -> bool:
            return question.endswith("moon?")

    from memedit.answerers import auto

    own = auto._default
    monkeypatch.setattr(auto, "_default", lambda name: Foresees() if name == "planned" else own(name))
    made = Editor(memory, Scripted(told), scope=Labels())
    assert made.ask(OUTSIDE).text == "by Dana Li"
    assert made.ask("How low is the sun?").trace[1]["step"] == "model"  # nobody else is asked
    assert made.ask(OUTSIDE, namespace="empty").trace[1]["step"] == "model"
    both = "What does the CEO of Acme say about the moon?"
    assert [choice.name for choice in made.choices(both, made.decide(both))] == ["planned", "ike"]


def test_auto_asks_no_planner_where_the_wording_says_it_all(
    memory: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memedit.answerers.planned import Planned

    monkeypatch.setattr(Planned, "foresees", lambda self, question, in_scope: True)
    memory.add("The mother of Ann Lo is Bea Lo", aliases=["Ann Lo Quist"], namespace="kin")
    asked = ("The mother of Ann Lo Quist is", "Of Ann Lo or Bea Lo: who is older?")
    for style, first in (("completion", "counterfactual"), ("chat", "ike")):
        made = Editor(memory, Scripted({"*": "?"}, style=style), scope=Labels(), namespace="kin")
        names = [[choice.name for choice in made.choices(question, made.decide(question))] for question in asked]
        assert names[0] == [first]
        assert names[1][0] == "planned"
    answer = Editor(memory, Scripted({"*": "?"}, style="completion"), scope=Labels(), namespace="kin").ask(asked[0])
    assert (answer.text, [hit.edit.target for hit in answer.edits]) == ("Bea Lo.", ["Bea Lo"])


def test_auto_leaves_what_is_in_scope_to_one_hop_though_several_are_likely(memory: EditMemory) -> None:
    made = Editor(memory, Scripted(told), scope=Named())
    asked = [Message("user", "Is Acme led by Dana Li?")]
    decision = dataclasses.replace(made.decide(asked), label="multi_hop")
    assert decision.in_scope
    assert [choice.name for choice in made.choices(asked, decision)] == ["ike"]
    without = dataclasses.replace(decision, hits=())
    assert [choice.name for choice in made.choices(asked, without)] == ["planned", "mello"]


def test_auto_without_a_retriever_knows_facts_alone() -> None:
    decision = Decision(query=OUTSIDE)
    assert Auto().choose([Message("user", OUTSIDE)], decision, None) == []


def test_the_real_planner_foresees_hops_and_no_others(memory: EditMemory) -> None:
    made = Editor(memory, Scripted(told), scope=Named())
    assert made.choices(INSIDE, made.decide(INSIDE)) == [Choice("ike", "a fact is in scope")]
    assert made.choices(OUTSIDE, made.decide(OUTSIDE)) == []
    several = made.choices(SEVERAL, made.decide(SEVERAL))
    assert several[0] == Choice("planned", "it foresees the hops")


# ------------------------------------------------------------------------------- an edit against what was said before


def turns(*texts: str) -> list[Message]:
    return [Message("assistant" if at % 2 else "user", text) for at, text in enumerate(texts)]


def prepared(memory: EditMemory, messages: list[Message], style: Any = "chat") -> list[Message]:
    model = Scripted(told, style=style, demonstrations=0)
    Editor(memory, model, scope=Labels(), answerer="ike").ask(messages)
    return list(model.calls[0].messages)


CHANGED = "Earlier in this conversation something else was said"


@pytest.mark.parametrize(
    ("earlier", "contradicts"),
    [
        ((INSIDE, "It is Bob Ray."), True),
        (("Bob Ray runs Acme.", "I see."), True),
        (("Is Dana Li the CEO of Acme?", "No, Bob Ray is."), True),
        (("Is Dana Li the CEO of Acme?", "Yes."), False),
        ((INSIDE, "It is Dana Li."), False),
        ((INSIDE, "It is Bob Ray.", INSIDE, "I am sorry: it is Dana Li."), False),
        (("Who runs Globex?", "Bob Ray."), False),
        ((), False),
    ],
)
def test_a_chat_model_is_told_that_a_fact_has_changed(
    memory: EditMemory, earlier: tuple[str, ...], contradicts: bool
) -> None:
    messages = [*turns(*earlier), Message("user", INSIDE)]
    out = prepared(memory, messages)
    assert (CHANGED in out[0].content) is contradicts
    assert out[0].content.count("The CEO of Acme is Dana Li.") == 1 + contradicts
    assert out[1:] == messages


def test_a_model_that_completes_reads_the_change_behind_the_turns_it_contradicts(memory: EditMemory) -> None:
    earlier = turns(INSIDE, "Bob Ray")
    out = prepared(memory, [*earlier, Message("user", INSIDE)], "completion")
    fact = Message("system", "New fact: The CEO of Acme is Dana Li.")
    assert out == [*earlier, fact, Message("user", INSIDE)]
    agreeing = turns(INSIDE, "Dana Li")
    assert prepared(memory, [*agreeing, Message("user", INSIDE)], "completion")[0] == fact


def test_the_pocket_model_follows_a_change_in_a_conversation(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path / "facts", encoder="letters", store="exact") as memory:
        memory.add("Canada's official language is Welsh", subject="Canada", target="Welsh")
        question = "What is the official language of Canada?"
        answer = Editor(memory, "pocket", scope=Named()).ask([*turns(question, "English"), Message("user", question)])
    assert answer.text == "Welsh"
    facts: Any = next(step for step in answer.trace if step["step"] == "facts")
    assert facts["changed"] == facts["edits"]


# ------------------------------------------------------------------------------------------------------- documentation


def test_every_line_of_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    text = (Path(__file__).parent.parent / "docs" / "answerers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 8
    monkeypatch.chdir(tmp_path)
    raw = Tokenizer(
        models.BPE({letter: at for at, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    size = raw.get_vocab_size()
    config = GPT2Config(
        vocab_size=size, n_positions=2048, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained("model")
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="!", bos_token="!").save_pretrained("model")
    names: dict[str, Any] = {}
    with serving_openai(lambda messages, number: "Dana Li") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        for block in blocks:
            exec(compile(block, "docs/answerers.md", "exec"), names)
        assert names["answer"].text == "Dana Li"
        assert [request["model"] for request in server.requests] == ["gpt-4o-mini"]
        if find_spec("langchain_ollama") is None:
            with pytest.raises(ModelError, match="pip install langchain-ollama"):
                names["served"].ask(INSIDE)
    names["memory"].close()
    table = set(re.findall(r"^\| `(\w+)` ", text, re.MULTILINE))
    assert table == set(NAMES)
