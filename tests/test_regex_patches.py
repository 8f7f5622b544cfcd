"""Regular-expression patches: exact replacements on the message and on the reply, bounded in time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from memedit.answerers.regex import Regex
from memedit.cli import cli
from memedit.editor import Editor
from memedit.edits import Draft, Message
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.models.scripted import Scripted
from memedit.patches import Substitution, substitution_draft, substitution_of


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters") as memory:
        yield memory


def write(memory: EditMemory, pattern: str, template: str, side: str) -> str:
    return memory.add_many([substitution_draft(pattern, template, side)])[0]


def test_a_reply_is_rewritten_until_the_patch_is_undone(memory: EditMemory) -> None:
    editor = Editor(memory, Scripted({"*": "It was on 2026/11 that it rained."}))
    before = editor.ask("When did it rain?")
    id_ = write(memory, r"(?P<year>\d{4})/(\d\d)", r"\g<year>-\2", "output")
    after = editor.ask("When did it rain?")
    assert (before.text, after.text) == ("It was on 2026/11 that it rained.", "It was on 2026-11 that it rained.")
    assert [hit.edit.id for hit in after.edits] == [id_]
    assert [edit.id for edit in memory.list()] == [id_]
    memory.undo(last=1)
    undone = editor.ask("When did it rain?")
    assert undone.text == before.text
    assert undone.base_untouched
    memory.undo(id=memory.log(limit=1)[0].id)  # a redo
    assert editor.ask("When did it rain?").text == after.text
    memory.remove(id_)
    assert editor.ask("When did it rain?").text == before.text


def test_a_reply_that_no_pattern_matches_is_the_models_own_and_names_no_edit(memory: EditMemory) -> None:
    write(memory, "colour", "color", "output")
    answer = Editor(memory, Scripted({"*": "A  reply\nas it is."})).ask("Which?")
    assert (answer.text, answer.edits) == ("A  reply\nas it is.", ())


def test_a_message_is_rewritten_before_the_scope_sees_it(memory: EditMemory) -> None:
    memory.add("The capital of Ruritania is Strelsau")
    model = Scripted()
    write(memory, r"\bRurit\.", "Ruritania", "input")
    messages = [Message("user", "Hello"), Message("assistant", "Rurit."), Message("user", "The capital of Rurit. is")]
    answer = Editor(memory, model, scope="lexical").ask(messages)
    assert model.calls[0].messages[-1].content == "The capital of Ruritania is"
    assert [message.content for message in model.calls[0].messages if message.role == "assistant"] == ["Rurit."]
    assert any(hit.edit.kind == "fact" for hit in answer.edits)
    assert messages[-1].content == "The capital of Rurit. is"


def test_out_of_reach_of_its_pattern_a_message_goes_to_the_model_as_the_very_object(memory: EditMemory) -> None:
    write(memory, "xyzzy", "magic", "input")
    model = Scripted()
    messages = [Message("user", "Which?")]
    answer = Editor(memory, model).ask(messages, temperature=0.5)
    assert model.calls[0].messages is messages
    assert model.calls[0].parameters == {"temperature": 0.5}
    assert answer.base_untouched


async def test_the_same_awaited(memory: EditMemory) -> None:
    write(memory, "rain", "sun", "output")
    assert (await Editor(memory, Scripted({"*": "The rain."})).aask("What?")).text == "The sun."


def test_patterns_run_oldest_first_one_on_what_the_other_made(memory: EditMemory) -> None:
    write(memory, "a", "b", "output")
    write(memory, "b", "c", "output")
    assert Editor(memory, Scripted({"*": "ab"})).ask("?").text == "cc"


@pytest.mark.parametrize(("pattern", "text"), [(r"(a|a)*$", "a" * 60 + "!"), (r"(a|aa)+$", "a" * 60 + "!")])
def test_a_pattern_that_would_take_for_ever_is_stopped(pattern: str, text: str) -> None:
    began = time.monotonic()
    done = Regex(seconds=0.1).substituted(text, [("e-1", Substitution("output", pattern, ""))])
    assert (done.text, done.timed_out, done.changed) == (text, ("e-1",), ())
    assert time.monotonic() - began < 20  # unbounded it would take years


def test_one_out_of_time_does_not_keep_the_others_from_running() -> None:
    patterns = [("e-1", Substitution("output", r"(a|aa)+$", "")), ("e-2", Substitution("output", "!", "?"))]
    done = Regex(seconds=0.05).substituted("a" * 60 + "!", patterns)
    assert (done.text, done.changed, done.timed_out) == ("a" * 60 + "?", ("e-2",), ("e-1",))


@pytest.mark.parametrize(
    ("pattern", "template", "says"),
    [
        ("ab(c", "", r"pattern is not right: missing \) at position 4"),
        ("[z-a]", "", "bad character range"),
        ("a", r"\g<year>", "names a group that the pattern lacks; the pattern has no groups"),
        ("(?P<year>a)", r"\2", "group that the pattern lacks; its groups: 1, year"),
        ("a", r"\q", r"replacement is not right: bad escape"),
        ("", "x", "pattern is empty"),
    ],
)
def test_what_is_not_right_is_refused_when_written(memory: EditMemory, pattern: str, template: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        write(memory, pattern, template, "output")
    with pytest.raises(InputError, match=says):  # also when it comes from a file
        memory.add_many([Draft(statement="regex", kind="regex", prompt=json.dumps(_held(pattern, template)))])
    assert memory.list() == []


def _held(pattern: str, template: str) -> dict[str, str]:
    return {"side": "output", "pattern": pattern, "replace": template}


@pytest.mark.parametrize("kept", [None, "[]", '{"side":"both","pattern":"a","replace":"b"}', '{"pattern":1}', "{"])
def test_what_is_no_pattern_is_refused(memory: EditMemory, kept: str | None) -> None:
    with pytest.raises(InputError):
        memory.add_many([Draft(statement="regex", kind="regex", prompt=kept)])


@pytest.mark.parametrize(
    ("pattern", "template"),
    [
        ("two  spaces", " a  b "),
        ("tab\there\nline", "x\ty\nz"),
        (r"“quoted” \"this\" 'so' {$x} \\ /", r"\\$y{z}"),
        ("^  ", ""),
        ("ü\u200dé\x00", "\u2028"),
        ("(?x) a b  # a comment", "c"),
    ],
)
def test_patterns_survive_the_journal_and_files(tmp_path: Path, pattern: str, template: str) -> None:
    with EditMemory.open(tmp_path / "one", encoder="letters") as one, EditMemory.open(tmp_path / "two") as two:
        id_ = write(one, pattern, template, "input")
        assert substitution_of(one.get(id_)) == Substitution("input", pattern, template)
        one.export_file(tmp_path / "facts.jsonl")
        assert two.import_file(tmp_path / "facts.jsonl").added == 1
        assert two.import_file(tmp_path / "facts.jsonl").added == 0
        assert [substitution_of(edit) for edit in two.list(patches=True)] == [Substitution("input", pattern, template)]


def test_two_patterns_are_two_patches_and_the_same_one_is_one(memory: EditMemory) -> None:
    ids = [write(memory, *given) for given in (("a", "b", "input"), ("a", "b", "output"), ("a  ", "b", "input"))]
    assert len({*ids, write(memory, "a", "b", "input")}) == 3


def test_on_the_command_line(tmp_path: Path) -> None:
    run = CliRunner()
    base = ["--memory", str(tmp_path / "facts"), "patch"]
    tried = [*base, "--regex", "(?P<a>x+)", "--replace", r"<\g<a>>", "--dry-run", "axxb"]
    assert json.loads(run.invoke(cli, [*tried, "--json"]).stdout) == {
        "text": "a<xx>b",
        "changed": True,
        "timed_out": False,
    }
    assert not (tmp_path / "facts").exists()
    made = json.loads(run.invoke(cli, [*base, "--regex", "x", "--replace", "y", "--json"]).stdout)["edit"]
    assert (made["kind"], made["relation"]) == ("regex", "output")
    listed = json.loads(run.invoke(cli, [*base, "--json"]).stdout)["edits"]
    assert [edit["id"] for edit in listed] == [made["id"]]
    for wrong in (["--regex", "x"], ["--replace", "x"], ["if a, then b", "--regex", "x", "--replace", ""]):
        assert run.invoke(cli, [*base, *wrong]).exit_code == 2
