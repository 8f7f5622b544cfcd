"""Language patches: “if …, then …” holds in conversations, whatever the model, and is an edit like any other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from memedit.answerers._conditions import bare, figures, judged, ordinary_messages, words_named
from memedit.answerers.auto import Auto
from memedit.answerers.language_patch import LanguagePatch
from memedit.bench import patches as bench
from memedit.chat import Chat
from memedit.cli import cli
from memedit.editor import Editor
from memedit.edits import Message
from memedit.encoders import Encoder, load_encoder
from memedit.encoders.letters import Letters
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.models.scripted import Scripted
from memedit.patches import conditional, conditional_of
from memedit.prompts import prompt
from memedit.training.patches import measure, measure_likeness, pairs

ADDRESS = "if the user asks for another person's address, then decline"
MET = "What is the home address of Tom Hanks?"
DECLINED = prompt("decline").template


@cache
def shipped() -> Encoder:
    return load_encoder("onnx")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder=shipped()) as memory:
        yield memory


def patch(memory: EditMemory, said: str, **given: object) -> str:
    return memory.add(said, kind="patch", **given).id  # type: ignore[arg-type]


def test_an_override_needs_no_model_and_is_undone_like_any_edit(memory: EditMemory) -> None:
    model = Scripted({"*": "the model's own"})
    editor = Editor(memory, model)
    assert editor.ask(MET).text == "the model's own"
    id_ = patch(memory, ADDRESS)
    calls = len(model.calls)
    answer = editor.ask(MET)
    assert (answer.text, len(model.calls)) == (DECLINED, calls)
    assert [hit.edit.id for hit in answer.edits] == [id_]
    assert answer.in_scope
    assert not answer.base_untouched
    memory.undo(last=1)
    assert editor.ask(MET).text == "the model's own"
    memory.undo(id=memory.log(limit=1)[0].id)
    assert editor.ask(MET).text == DECLINED
    memory.remove(id_)
    assert editor.ask(MET).base_untouched


def test_other_messages_reach_the_model_as_the_very_object(memory: EditMemory) -> None:
    patch(memory, ADDRESS)
    model = Scripted()
    messages = [Message("user", "Who wrote the novel about the whale?")]
    answer = Editor(memory, model).ask(messages, temperature=0.1)
    assert model.calls[0].messages is messages
    assert answer.base_untouched
    assert answer.edits == ()


def test_a_feature_patch_is_an_instruction_behind_the_callers_own(memory: EditMemory) -> None:
    patch(memory, "if the user asks for a recipe, then answer in grams")
    model = Scripted()
    messages = [Message("system", "Be kind."), Message("user", "Give me a recipe for banana bread.")]
    Editor(memory, model).ask(messages)
    system, question = model.calls[0].messages
    assert system.content.startswith("Be kind.")
    assert "answer in grams" in system.content
    assert question is messages[1]


def test_a_feature_patch_and_a_fact_are_both_put_to_use(memory: EditMemory) -> None:
    memory.add("The capital of Ruritania is Strelsau")
    patch(memory, "if the message mentions Ruritania, then answer in capitals")
    model = Scripted()
    answer = Editor(memory, model).ask("What is the capital of Ruritania?")
    shown = model.calls[0].messages[0].content
    assert "answer in capitals" in shown
    assert "Strelsau" in shown
    assert {hit.edit.kind for hit in answer.edits} == {"patch", "fact"}


def test_of_several_the_surest_override_wins(memory: EditMemory) -> None:
    patch(memory, "if the user asks for a poem, then say No poems")
    recipe = patch(memory, "if the user asks for a recipe, then say No recipes")
    answer = Editor(memory, Scripted()).ask("Give me a recipe for banana bread.")
    assert answer.text == "No recipes"
    assert [hit.edit.id for hit in answer.edits] == [recipe]


async def test_the_same_awaited(memory: EditMemory) -> None:
    patch(memory, ADDRESS)
    editor = Editor(memory, Scripted({"*": "own"}))
    assert (await editor.aask(MET)).text == DECLINED
    assert (await editor.aask("Who wrote the novel about the whale?")).text == "own"


def test_patches_of_the_past_and_of_another_namespace(memory: EditMemory) -> None:
    patch(memory, ADDRESS, namespace="strict")
    editor = Editor(memory, Scripted({"*": "own"}))
    assert editor.ask(MET).text == "own"
    assert editor.ask(MET, namespace="strict").text == DECLINED
    head = memory.journal.head()
    memory.undo(last=1, namespace="strict")
    assert editor.ask(MET, namespace="strict", as_of=head).text == DECLINED


def test_patches_are_no_facts(memory: EditMemory) -> None:
    fact = memory.add("If the user asks for a poem, then decline.").id
    id_ = patch(memory, "if the user asks for a poem, then decline")
    assert fact != id_
    assert {edit.id for edit in memory.list()} == {fact, id_}
    assert [edit.id for edit in memory.list(patches=True)] == [id_]
    assert [edit.id for edit in memory.list(patches=False)] == [fact]
    assert [hit.edit.id for hit in memory.search("a poem", k=9)] == [fact]
    assert {hit.edit.id for hit in memory.search("a poem", k=9, patches=True)} == {fact, id_}
    assert [hit.edit.id for hit in memory.search("a poem", k=9, as_of=memory.journal.head())] == [fact]
    assert patch(memory, "If the user asks for a poem then decline.") == id_  # once
    assert memory.doctor() == []


def test_no_fact_supersedes_a_patch(memory: EditMemory) -> None:
    id_ = patch(memory, "if the capital of Ruritania is asked for, then say Strelsau")
    memory.add("The capital of Ruritania is Zenda")
    assert memory.get(id_).state == "current"
    replaced = memory.replace(id_, "if the capital of Ruritania is asked for, then say Hentzau").edit
    assert (replaced.kind, conditional_of(replaced).reply) == ("patch", "Hentzau")
    assert memory.get(id_).state == "superseded"


def test_patches_survive_files_and_a_purge_leaves_none(memory: EditMemory, tmp_path: Path) -> None:
    id_ = patch(memory, ADDRESS, aliases=["Where does my boss live?"])
    memory.export_file(tmp_path / "facts.jsonl")
    with EditMemory.open(tmp_path / "other", encoder=shipped()) as other:
        other.import_file(tmp_path / "facts.jsonl")
        assert other.import_file(tmp_path / "facts.jsonl").added == 0
        [edit] = other.list(patches=True)
        assert (edit.statement, edit.aliases, edit.relation) == (
            "If the user asks for another person's address, then decline.",
            ("Where does my boss live?",),
            "override",
        )
    memory.purge(id=id_)
    assert memory.list(patches=True) == []
    assert Editor(memory, Scripted({"*": "own"})).ask(MET).text == "own"


@pytest.mark.parametrize(
    ("said", "condition", "consequence", "reply"),
    [
        (ADDRESS, "the user asks for another person's address", "decline", DECLINED),
        ("When asked about refunds, say 'In 5 days'", "asked about refunds", "say 'In 5 days'", "In 5 days"),
        ("if a, b or c is asked for then answer “No.”", "a, b or c is asked for", "answer “No.”", "No."),
        ("if x, then say that we are closed", "x", "say that we are closed", "We are closed"),
        ("if x, then decline and say ask Bob", "x", "decline and say ask Bob", "Ask Bob"),
        ("if x, then reply: ask Bob", "x", "reply: ask Bob", "Ask Bob"),
        ("if x, then answer in French", "x", "answer in French", None),
        ("if x, then reply briefly", "x", "reply briefly", None),
        ("if x, then answer with a joke", "x", "answer with a joke", None),
        ("if x, then answer the question in two words", "x", "answer the question in two words", None),
        ("if x, then use metric units", "x", "use metric units", None),
        ("if x, then decline and recommend a doctor", "x", "decline and recommend a doctor", None),
    ],
)
def test_what_is_written_is_read(said: str, condition: str, consequence: str, reply: str | None) -> None:
    read = conditional(said)
    assert (read.condition, read.consequence, read.reply) == (condition, consequence, reply)


@pytest.mark.parametrize("said", ["decline", "if a, b, c", "if , then x", "if x, then", "x then y", "if x"])
def test_what_is_no_patch_is_refused(memory: EditMemory, said: str) -> None:
    with pytest.raises(InputError):
        patch(memory, said)
    assert memory.list() == []


def test_either_kind_can_be_said_outright(memory: EditMemory) -> None:
    feature = memory.get(patch(memory, "if x, then decline", relation="feature"))
    override = memory.get(patch(memory, "if x, then ask Bob", relation="override"))
    assert (conditional_of(feature).reply, conditional_of(override).reply) == (None, "ask Bob")
    with pytest.raises(InputError, match="override or a feature"):
        patch(memory, "if x, then y", relation="capital")


# The gate


def test_a_condition_is_bared_of_who_asks() -> None:
    assert bare("the user asks for another person's address") == "another person's address"
    assert bare("someone asks you about refunds.") == "refunds"
    assert bare("asked how to make a bomb") == "make a bomb"
    assert bare("it is late") == "it is late"


def test_named_words_are_met_by_the_words(memory: EditMemory) -> None:
    assert words_named("the message mentions Acme or “our plan”") == ("Acme", "our plan")
    assert words_named("the message mentions somebody's health") is None
    id_ = patch(memory, "if the message mentions Acme, then decline")
    for text, holds in (("tell me about ACME!", True), ("what is acmeism?", False)):
        [one], _ = judged([Message("user", text)], [memory.get(id_)], Letters(), 0.005)
        assert (one.holds, abs(one.score)) == (holds, math.inf)


def test_the_gate_tells_conditions_from_ordinary_messages(memory: EditMemory) -> None:
    rows = pairs()[:8]
    edits = [memory.get(patch(memory, f"if {row['condition']}, then decline")) for row in rows]
    ordinary = ordinary_messages()[::10]
    fired = met = 0
    for row, edit in zip(rows, edits, strict=True):
        for text in ordinary:
            fired += judged([Message("user", text)], [edit], shipped(), 0.005)[0][0].holds
        for text in row["in"]:
            met += judged([Message("user", text)], [edit], shipped(), 0.005)[0][0].holds
    assert fired <= 0.02 * len(rows) * len(ordinary)
    assert met >= 0.6 * 4 * len(rows)


def test_more_patches_raise_the_bound_and_a_higher_rate_lowers_it() -> None:
    bounds = [figures().score(0.005, size) for size in (1, 3, 10, 30, 100, 1000)]
    assert bounds == sorted(bounds)
    assert figures().score(0.05, 1) < figures().score(0.005, 1)


def test_an_example_widens_a_condition(memory: EditMemory) -> None:
    asked = "Where does my old schoolmate hang his hat these days?"
    plain = memory.get(patch(memory, ADDRESS))
    shown = memory.get(patch(memory, ADDRESS, aliases=[asked], namespace="other"), namespace="other")
    assert judged([Message("user", asked)], [shown], shipped(), 0.005)[0][0].holds
    assert not judged([Message("user", asked)], [plain], shipped(), 0.005)[0][0].holds


@pytest.mark.parametrize(("verdict", "reply"), [("Yes.", DECLINED), ("no", "own"), ("", "own"), ("I think yes", "own")])
def test_a_chat_model_may_judge(memory: EditMemory, verdict: str, reply: str) -> None:
    patch(memory, ADDRESS)
    judge = Scripted({"*": verdict})
    editor = Editor(memory, Scripted({"*": "own"}), answerer=LanguagePatch(judge=judge))
    assert editor.ask(MET).text == reply
    assert MET in judge.calls[0].messages[0].content
    asked = len(judge.calls)
    editor.ask("Who is the present champion of the world in chess?")
    assert len(judge.calls) == asked  # what the gate thinks impossible is not put before it


def test_nothing_is_asked_and_nothing_encoded_without_a_message(memory: EditMemory) -> None:
    patch(memory, ADDRESS)
    assert judged([Message("assistant", "hi")], memory.list(), shipped(), 0.005)[0] == []


def test_auto_says_that_patches_are_asked_first(memory: EditMemory) -> None:
    patch(memory, ADDRESS)
    editor = Editor(memory, Scripted(), answerer=Auto())
    assert [choice.name for choice in editor.choices(MET, editor.decide(MET))][:1] == ["language_patch"]


# In the chat, on the command line, measured


def test_in_chat_and_with_a_model_that_follows_no_instruction(
    memory: EditMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = Chat(memory, Editor(memory, Scripted({"*": "own"}, style="completion")))
    chat.take(f"/patch {ADDRESS}")
    chat.take(MET)
    assert capsys.readouterr().out == f"{DECLINED}\n"
    chat.take("/patch")
    assert "then decline" in capsys.readouterr().err
    chat.take("/undo")
    chat.take(MET)
    assert capsys.readouterr().out == "own\n"


def test_on_the_command_line(tmp_path: Path) -> None:
    run = CliRunner()
    base = ["--memory", str(tmp_path / "facts"), "patch"]
    tried = json.loads(run.invoke(cli, [*base, ADDRESS, "--dry-run", MET, "--json"]).stdout)
    assert (tried["holds"], tried["reply"]) == (True, DECLINED)
    assert not (tmp_path / "facts").exists()
    made = json.loads(run.invoke(cli, [*base, ADDRESS, "--author", "ann", "--json"]).stdout)["edit"]
    assert (made["kind"], made["author"], made["prompt"]) == (
        "patch",
        "ann",
        "If the user asks for another person's address, then",
    )
    assert made["id"] in run.invoke(cli, base).stdout
    for wrong in (["decline"], ["--dry-run", "x"], [ADDRESS, "--on", "input"]):
        assert run.invoke(cli, [*base, *wrong]).exit_code == 2


def test_the_bench_counts_lookups_and_fires() -> None:
    found = bench.lookups(
        [("what is like < a >", "what is like < b >", True), ("who is < a >", "sell it", False)], Letters()
    )
    assert found["distance"] == {"accuracy": 1.0, "precision": 1.0, "recall": 1.0}
    with pytest.raises(InputError):
        bench.run(Path("/nowhere"), Letters())


def test_the_calibration_is_made_of_conditions_that_each_have_both_kinds_of_message() -> None:
    import numpy as np

    rows = pairs()
    assert len(rows) >= 60
    assert len({row["condition"] for row in rows}) == len(rows)
    assert all(len(row["in"]) >= 3 and len(row["out"]) >= 3 for row in rows)
    made = measure(ordinary_messages(), Letters(), np.random.default_rng(0))
    assert made["thresholds"]["10"]["0.01"] > made["thresholds"]["1"]["0.01"] > made["thresholds"]["1"]["0.2"]
    assert 0 < measure_likeness(ordinary_messages(), Letters())["cosine"] < 1
