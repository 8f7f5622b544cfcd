"""Regular-expression patches: exact replacements on the message and on the reply, bounded in time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import regex
from click.testing import CliRunner

from memedit.answerers.regex import Regex
from memedit.cli import cli
from memedit.editor import Editor
from memedit.edits import Draft, Message
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.models.scripted import Scripted
from memedit.patches import Substitution, substitution_draft, substitution_of
from memedit.scope.regular_expressions import fault


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


# A pattern is refused where it costs too much, or matches everything; and never ends or holds up who writes it

HOSTILE = {
    "a crash in 19 characters": "(((|){99}){99}){99}",
    "empty alternatives, years": "((((|){99}){99}){99}){99}",
    "counts of counts": "(((a{1000}){1000}){1000}){1000}",
    "without a group": "(?:(?:(?:a{999}){999}){999}){999}",
    "in a look-behind": "(?<=(?:(?:(?:a|){999}){999}){999})b",
    "by name": "(?P<a>(?P<b>(?P<c>|){999}){999}){999}",
    "blanks in the numbers": "(?x)(((a{ 9 9 9 }){9 99}){9#}\n99}){999}",
    "a number beyond all": "a{99999999999999999999}",
    "groups without end": "(" * 3000 + "a" + ")" * 3000,
    "sets without end": "(?V1)" + "[" * 3000 + "a" + "]" * 3000,
}


@pytest.mark.parametrize("pattern", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_pattern_that_cannot_be_made_ready_in_time_is_refused(memory: EditMemory, pattern: str) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match="the pattern"):
            write(memory, pattern, "x", "output")
    assert memory.list() == []
    assert fault(pattern, 300) is not None  # the scope that reads patterns


@pytest.mark.parametrize(
    "pattern", ["(?:foo){e<=50}bar", r"\p{Script=Greek}" * 300, "a(?R)?b", "|".join("abcdefghij" * 100)]
)
def test_what_is_odd_but_cheap_is_taken(memory: EditMemory, pattern: str) -> None:
    assert write(memory, pattern, "x", "output")


def test_a_file_with_hostile_patterns_is_imported_but_for_these(memory: EditMemory, tmp_path: Path) -> None:
    patterns = ["colour", *HOSTILE.values(), "grey", "(?:)"]
    lines = [{"statement": "regex", "kind": "regex", "prompt": json.dumps(_held(one, "x"))} for one in patterns]
    path = tmp_path / "patches.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = memory.import_file(path)
    assert report.added == 2
    assert [number for number, _ in report.faults] == [*range(2, len(HOSTILE) + 2), len(patterns)]


@pytest.mark.parametrize(
    "pattern",
    [
        *("(?:)", "(?s).+", ".+", ".*", "a*", "x?", "(a|b)?", "a|", "(?=.)", "(?<=.)", "(?!x)", r"[\s\S]+", "(?V1)"),
        *("^.*$", ".{5,}", "(?#nothing)", r"\X", "(?r).", "(?:foo){e<=5}", r"(.)\1*"),
    ],
)
def test_a_pattern_that_matches_everywhere_is_refused(memory: EditMemory, pattern: str) -> None:
    with pytest.raises(InputError, match="everywhere"):
        write(memory, pattern, "x", "output")
    assert memory.list() == []


@pytest.mark.parametrize("pattern", ["^", "$", "(?m)^", r"\b", r"\w+", r"\S+", "(?=Acme)", "[^q]+", "(?i)a*b", r"\s+"])
def test_one_that_matches_at_certain_places_is_taken(memory: EditMemory, pattern: str) -> None:
    assert write(memory, pattern, "x", "output")


def test_a_pattern_that_runs_for_ever_on_an_ordinary_sentence_is_refused(memory: EditMemory) -> None:
    with pytest.raises(InputError, match="too long on an ordinary sentence"):
        write(memory, r"(?:.|..)*(?<=\d\d\d\d)$", "x", "output")


def test_what_an_older_memory_holds_does_not_keep_a_question_from_its_answer(
    memory: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            "memedit.patches.compiled", lambda pattern, template: regex.compile("x")
        )  # before it was checked
        bad = write(memory, "((((|){99}){99}){99}){99}", "x", "output")
        wide = write(memory, "(?=(.*))a", r"\1" * 900, "output")
    good = write(memory, "rain", "sun", "output")
    answer = Editor(memory, Scripted({"*": "a" * 5000 + "rain"})).ask("What?")
    assert answer.text == "a" * 5000 + "sun"
    assert [hit.edit.id for hit in answer.edits] == [good]
    step = next(step for step in answer.trace if step.get("step") == "regex")
    assert step["refused"] == [bad]
    assert wide not in str(step)


def test_an_ordinary_pattern_starts_no_process(memory: EditMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)
    assert write(memory, r"(\d{1,3})\.(\d{3}),(\d{2})|\p{L}{2,4}", r"\1", "output")
    with pytest.raises(TypeError):
        write(memory, r"(?:\d{100}){100}", "", "output")


def test_what_is_put_in_a_matchs_place_is_bounded() -> None:
    text = "a" * 3000
    for pattern, template in (("a", "x" * 9000), ("(a+)", r"\1" * 900), ("(?=(.*))a", r"\1")):
        done = Regex().substituted(text, [("e-1", Substitution("output", pattern, template))])
        assert (done.text, done.changed) == (text, ())
    done = Regex().substituted(
        text, [("e-1", Substitution("output", "a", "x" * 9)), ("e-2", Substitution("output", "(x)", r"\1y"))]
    )
    assert (done.text, done.changed) == ("xy" * 27_000, ("e-1", "e-2"))
