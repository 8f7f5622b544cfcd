"""The command line in this process: what each verb prints, what it refuses, and with which exit code."""

import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from memedit.cli import Moment, cli
from memedit.encoders.letters import Letters
from memedit.errors import JournalError
from memedit.memory import EditMemory

ID = re.compile(r"e-[0-9a-f]{10}")
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in an empty folder of its own, with the letters encoder and a scripted model."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"*": "I could not say."}), encoding="utf-8")
    for name, value in {
        "MEMEDIT_ENCODER": "letters",
        "MEMEDIT_MODEL": f"scripted:{script}",
        "MEMEDIT_MEMORY": str(tmp_path / "facts"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "COLUMNS": "80",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, stdin: str | bytes | None = None, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, list(arguments), input=stdin)
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        assert "Traceback" not in result.output
        return result

    return call


def add(run: Run, statement: str, *options: str) -> str:
    """Add a fact; its id."""
    return str(json.loads(run("add", statement, "--json", *options).stdout)["edit"]["id"])


def statements(run: Run, *options: str) -> list[str]:
    return [edit["statement"] for edit in json.loads(run("list", "--json", *options).stdout)["edits"]]


def verbs() -> dict[str, click.Command]:
    """Those of cli.py and those of the folder."""
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


# Writing


def test_add_prints_the_id_and_says_what_it_understood(run: Run) -> None:
    first = run("add", "The capital of Ruritania is Strelsau")
    assert re.fullmatch(rf"{ID.pattern}\tThe capital of Ruritania is Strelsau\n", first.stdout)
    assert "subject “Ruritania”" in first.stderr
    assert "target “Strelsau”" in first.stderr
    second = run("add", "The", "capital", "of", "Ruritania", "is", "Zenda")
    assert "supersedes" in second.stderr
    assert "Strelsau" in second.stderr
    assert statements(run) == ["The capital of Ruritania is Zenda"]


def test_a_fact_that_is_there_is_not_written_twice(run: Run) -> None:
    first = json.loads(run("add", "The capital of Ruritania is Strelsau", "--json").stdout)
    again = run("add", "The capital of Ruritania is Strelsau", "--json")
    assert (first["new"], json.loads(again.stdout)["new"]) == (True, False)
    assert "nothing was written" in again.stderr
    assert len(statements(run)) == 1


def test_add_takes_all_that_is_said_outright(run: Run) -> None:
    edit = json.loads(
        run(
            *(
                "add",
                "Rudolf sits on the throne",
                "--subject",
                "Ruritania",
                "--relation",
                "ruler",
                "--target",
                "Rudolf",
            ),
            *(
                "--prompt",
                "On the throne sits",
                "--question",
                "Who sits on the throne?",
                "--alias",
                "Rur",
                "--alias",
                "R.",
            ),
            *("--source", "a book", "--reason", "it is so", "--author", "anthony", "--kind", "note"),
            *("--valid-from", "2020-01-01T00:00:00+00:00", "--valid-to", "2999-01-01T00:00:00+00:00", "--json"),
        ).stdout
    )["edit"]
    assert edit == edit | {
        "subject": "Ruritania",
        "relation": "ruler",
        "target": "Rudolf",
        "prompt": "On the throne sits",
        "question": "Who sits on the throne?",
        "aliases": ["Rur", "R."],
        "source": "a book",
        "reason": "it is so",
        "author": "anthony",
        "kind": "note",
        "valid_from": "2020-01-01T00:00:00+00:00",
        "state": "current",
    }


def test_a_statement_may_come_from_standard_input(run: Run) -> None:
    run("add", "-", stdin="The capital of Ruritania\nis Strelsau\n")
    assert statements(run) == ["The capital of Ruritania is Strelsau"]


def test_possible_conflicts_are_named(run: Run) -> None:
    run("add", "Ruritania makes cheese", "--subject", "Ruritania", "--relation", "gloms", "--target", "cheese")
    told = run("add", "Ruritania makes clocks", "--subject", "Ruritania", "--relation", "gloms", "--target", "clocks")
    assert "may contradict" in told.stderr
    assert len(statements(run)) == 2


@pytest.mark.parametrize("statement", ["", "   ", "\n\t"])
def test_an_empty_statement_is_refused(run: Run, statement: str) -> None:
    assert "memedit: " in run("add", statement, code=2).stderr
    assert "memedit: " in run("add", "-", stdin=statement, code=2).stderr


def test_a_statement_of_a_megabyte_is_refused_in_one_line(run: Run) -> None:
    refused = run("add", "-", stdin="word " * 200_000, code=2)
    assert "10,000" in refused.stderr
    assert len(refused.stderr) < 500


def test_standard_input_that_is_no_text_is_refused(run: Run) -> None:
    assert "not text" in run("add", "-", stdin=b"\xff\xfe\x00", code=2).stderr


def test_chinese_goes_in_and_comes_out(run: Run) -> None:
    id_ = add(run, "斑马的皮肤是黑色的")
    assert "斑马的皮肤是黑色的" in run("list").stdout
    assert json.loads(run("show", id_, "--json").stdout)["statement"] == "斑马的皮肤是黑色的"
    assert ID.search(run("search", "斑马").stdout)


def test_replace_keeps_the_old_one_in_the_history(run: Run) -> None:
    id_ = add(run, "The CEO of Acme is Dana Li")
    run("replace", id_, "The CEO of Acme is Lee Ray", "--reason", "new CEO")
    assert statements(run) == ["The CEO of Acme is Lee Ray"]
    history = json.loads(run("history", id_, "--json").stdout)["records"]
    assert {record["op"] for record in history} == {"add", "replace"}


def test_remove_then_undo(run: Run) -> None:
    id_ = add(run, "The CEO of Acme is Dana Li")
    removed = json.loads(run("remove", id_, "--yes", "--json", "--reason", "no longer").stdout)
    assert [edit["id"] for edit in removed["removed"]] == [id_]
    assert statements(run) == []
    assert statements(run, "--state", "removed") == ["The CEO of Acme is Dana Li"]
    undone = json.loads(run("undo", "--last", "1", "--yes", "--json").stdout)["undone"]
    assert [record["op"] for record in undone] == ["remove"]
    assert statements(run) == ["The CEO of Acme is Dana Li"]


def test_remove_looks_all_up_before_it_removes_one(run: Run) -> None:
    id_ = add(run, "The CEO of Acme is Dana Li")
    run("remove", id_, "e-0000000000", "--yes", code=2)
    assert len(statements(run)) == 1


def test_undo_by_id_author_and_time(run: Run) -> None:
    first = add(run, "The capital of Ruritania is Strelsau", "--author", "anthony")
    add(run, "The capital of Syldavia is Klow", "--author", "herge")
    run("undo", "--by", "herge", "--yes")
    assert statements(run) == ["The capital of Ruritania is Strelsau"]
    run("undo", "--id", first, "--yes")
    assert statements(run) == []
    assert "memedit: " in run("undo", "--since", "2999-01-01", "--yes", code=2).stderr


def test_undo_wants_to_know_what(run: Run) -> None:
    add(run, "The capital of Ruritania is Strelsau")
    assert "--last N" in run("undo", "--yes", code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [("remove", "{id}"), ("undo", "--last", "1"), ("purge", "--id", "{id}"), ("purge", "--subject", "Ruritania")],
)
def test_what_destroys_refuses_without_a_terminal(run: Run, arguments: tuple[str, ...]) -> None:
    id_ = add(run, "The capital of Ruritania is Strelsau")
    refused = run(*(argument.format(id=id_) for argument in arguments), stdin="y\n", code=2)
    assert "--yes" in refused.stderr
    assert not refused.stdout
    assert len(statements(run)) == 1


def test_purge_erases_by_id_author_and_subject(run: Run, tmp_path: Path) -> None:
    state = tmp_path / "state" / "memedit" / "chat_history"
    state.parent.mkdir(parents=True)
    state.write_text("/remember The capital of Ruritania is Strelsau\n")
    for which in ("--id", "--author", "--subject"):
        id_ = add(run, "The capital of Ruritania is Strelsau", "--author", "anthony")
        value = {"--id": id_, "--author": "anthony", "--subject": "Ruritania"}[which]
        assert json.loads(run("purge", which, value, "--yes", "--json").stdout) == {"purged": 1}
        assert "Strelsau" not in run("list", "--state", "all", "--json").stdout
    assert not state.exists()
    assert "memedit: " in run("purge", "--author", "anthony", "--yes", code=2).stderr
    gone = add(run, "The capital of Borduria is Szohod")
    run("remove", gone, "--author", "hergé", "--yes")
    assert json.loads(run("purge", "--author", "hergé", "--yes", "--json").stdout) == {"purged": 0}
    assert "hergé" not in run("history", gone).stdout
    add(run, "The CEO of Acme is Jane Roe")
    add(run, "The mother tongue of Jane Roe is French")
    said = run("purge", "--subject", "Jane Roe", "--yes").stderr
    assert "still mentions it" in said
    assert "The CEO of Acme is Jane Roe" in said
    assert "one of" in run("purge", "--yes", code=2).stderr


# Asking


def test_ask_out_of_scope_gives_the_models_own_reply(run: Run) -> None:
    answer = run("ask", "What is the weather like?")
    assert answer.stdout == "I could not say.\n"
    assert "own reply" in answer.stderr


def test_ask_in_scope_names_the_edit(run: Run) -> None:
    id_ = add(run, "The capital of Ruritania is Strelsau")
    answer = run("ask", "The capital of Ruritania is")
    assert answer.stdout == "I could not say.\n"  # the scripted model heeds no facts
    assert re.search(rf"\(edit {id_}, p = [01]\.\d\d", answer.stderr)
    assert run("--quiet", "ask", "The capital of Ruritania is").stderr == ""


def test_ask_json_has_its_shape(run: Run) -> None:
    id_ = add(run, "The capital of Ruritania is Strelsau")
    inside = json.loads(run("ask", "The capital of Ruritania is", "--json").stdout)
    assert set(inside) == {"text", "in_scope", "edits", "base_untouched", "model", "trace"}
    assert inside["in_scope"] is True
    assert inside["base_untouched"] is False
    assert [set(edit) for edit in inside["edits"]] == [{"id", "statement", "probability"}]
    assert inside["edits"][0]["id"] == id_
    outside = json.loads(run("ask", "Would you like some tea?", "--json").stdout)
    assert (outside["in_scope"], outside["edits"], outside["base_untouched"]) == (False, [], True)
    assert outside["text"] == "I could not say."
    assert outside["model"] == "scripted"


def test_ask_as_of_the_past(run: Run) -> None:
    first = add(run, "The capital of Ruritania is Strelsau")
    seq = json.loads(run("show", first, "--json").stdout)["seq"]
    second = add(run, "The capital of Ruritania is Zenda")
    ask = ("ask", "The capital of Ruritania is", "--json")
    assert [edit["id"] for edit in json.loads(run(*ask).stdout)["edits"]] == [second]
    assert [edit["id"] for edit in json.loads(run(*ask, "--as-of", str(seq)).stdout)["edits"]] == [first]
    assert json.loads(run(*ask, "--as-of", "1999-12-31").stdout)["edits"] == []


def test_explain_shows_candidates_without_a_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = add(run, "The capital of Ruritania is Strelsau")
    monkeypatch.setenv("MEMEDIT_MODEL", "scripted:/nowhere/at/all.json")
    found = json.loads(run("explain", "The capital of Ruritania is", "--json").stdout)
    assert set(found) == {
        "query", "in_scope", "label", "scope", "threshold", "edits", "candidates", "notes", "answerers"
    }  # fmt: skip
    assert found["answerers"] == [{"name": "ike", "reason": "a fact is in scope"}]
    assert set(found["candidates"][0]) == {"id", "statement", "probability", "score", "key", "in_scope"}
    assert found["in_scope"] is True
    assert found["candidates"][0]["id"] == id_
    told = run("explain", "The capital of Ruritania is")
    assert told.stdout.startswith("yes\t")
    assert "threshold" in told.stderr
    assert "out of scope" in run("explain", "Would you like some tea?").stderr


def test_an_unknown_model_scope_or_answerer_is_named(run: Run) -> None:
    add(run, "The capital of Ruritania is Strelsau")
    assert "there are: " in run("ask", "Who?", "--model", "nonesuch", code=2).stderr
    assert "there are: " in run("ask", "Who?", "--scope", "nonesuch", code=2).stderr
    assert "there are: " in run("ask", "Who?", "--answerer", "nonesuch", code=2).stderr
    assert "false_fire" in run("ask", "Who?", "--false-fire", "7", code=2).stderr


@pytest.mark.parametrize("verb", ["ask", "explain"])
def test_asking_where_no_memory_is_makes_none_and_says_so(run: Run, tmp_path: Path, verb: str) -> None:
    assert "no memory" in run(verb, "Who?").stderr
    assert not (tmp_path / "facts").exists()


@pytest.mark.parametrize("verb", ["ask", "explain", "search"])
def test_an_empty_question_is_refused(run: Run, verb: str) -> None:
    add(run, "The capital of Ruritania is Strelsau")
    assert "empty" in run(verb, "  ", code=2).stderr


def test_an_undo_says_how_it_is_undone(run: Run) -> None:
    add(run, "The capital of Ruritania is Strelsau")
    made = json.loads(run("undo", "--last", "1", "--yes", "--json").stdout)["record"]
    assert statements(run) == []
    said = run("undo", "--id", made, "--yes").stderr
    assert statements(run) == ["The capital of Ruritania is Strelsau"]
    assert "brings it back" in said
    assert f"memedit history {made}" in run("show", made, code=2).stderr


def test_doctor_names_vectors_of_another_encoder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    add(run, "The capital of Ruritania is Strelsau")
    run("search", "Ruritania")
    assert "another encoder" not in run("doctor").stdout
    with EditMemory.open("facts", encoder=Letters(32)) as memory:
        memory.sync()
    assert "another encoder" in run("doctor").stdout
    monkeypatch.setenv("MEMEDIT_ENCODER", "nonesuch")
    assert "cannot be loaded" in run("doctor", code=3).stdout


# Looking


@pytest.mark.parametrize("verb", ["list", "search x", "show e-123456", "history", "stats", "doctor", "rebuild"])
def test_a_wrong_path_is_said_to_be_wrong(run: Run, verb: str) -> None:
    refused = run("--memory", "elsewhere", *verb.split(), code=2)
    assert "elsewhere" in refused.stderr
    assert not Path("elsewhere").exists()


def test_a_memory_that_is_a_file_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no memory")
    assert run("--memory", "notes.txt", "list", code=2).stderr.startswith("memedit: ")


def test_a_memory_that_is_damaged_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / "journal.db").write_bytes(b"no database " * 1000)
    assert run("list", code=3).stderr.startswith("memedit: ")
    assert run("add", "The capital of Ruritania is Strelsau", code=3).stderr.startswith("memedit: ")


def test_list_filters(run: Run) -> None:
    add(run, "The capital of Ruritania is Strelsau", "--author", "anthony")
    add(run, "The capital of Syldavia is Klow", "--author", "herge")
    add(run, "The capital of Syldavia is Zlip", "--namespace", "other")
    assert statements(run) == ["The capital of Syldavia is Klow", "The capital of Ruritania is Strelsau"]
    assert statements(run, "--subject", "ruritania") == ["The capital of Ruritania is Strelsau"]
    assert statements(run, "--text", "Klow") == ["The capital of Syldavia is Klow"]
    assert statements(run, "--author", "anthony") == ["The capital of Ruritania is Strelsau"]
    assert statements(run, "--limit", "1") == ["The capital of Syldavia is Klow"]
    assert statements(run, "--limit", "1", "--offset", "1") == ["The capital of Ruritania is Strelsau"]
    assert statements(run, "--namespace", "other") == ["The capital of Syldavia is Zlip"]
    assert statements(run, "--as-of", "1") == ["The capital of Ruritania is Strelsau"]


def test_list_reads_in_pages_and_misses_none(run: Run, tmp_path: Path) -> None:
    with EditMemory.open(tmp_path / "facts") as memory:
        from memedit.edits import Draft

        memory.add_many(
            Draft(statement=f"Fort {n} has {n} towers", subject=f"Fort {n}", relation="towers", target=str(n))
            for n in range(2500)
        )
    assert len(statements(run)) == 2500
    assert len(set(statements(run, "--limit", "1500"))) == 1500


def test_show_and_unique_prefixes(run: Run) -> None:
    id_ = add(run, "The capital of Ruritania is Strelsau")
    assert "Strelsau" in run("show", id_[:8]).stdout
    assert json.loads(run("show", id_, "--json").stdout)["id"] == id_
    assert "memedit: " in run("show", "e-ffffffffff", code=2).stderr


def test_history_of_a_subject_and_of_all(run: Run) -> None:
    add(run, "The capital of Ruritania is Strelsau")
    add(run, "The capital of Ruritania is Zenda")
    add(run, "The capital of Syldavia is Klow")
    subject = json.loads(run("history", "--subject", "Ruritania", "--json").stdout)["records"]
    assert len(subject) == 2
    assert set(subject[0]) == {
        *("id", "seq", "op", "namespace", "created_at", "statement", "targets", "author", "reason", "undone")
    }
    assert len(run("history").stdout.splitlines()) == 3
    assert len(run("history", "--limit", "2").stdout.splitlines()) == 2


def test_search_gives_scores(run: Run) -> None:
    add(run, "The capital of Ruritania is Strelsau")
    add(run, "The capital of Syldavia is Klow")
    hits = json.loads(run("search", "capital of Syldavia", "-k", "1", "--json").stdout)["hits"]
    assert [hit["edit"]["statement"] for hit in hits] == ["The capital of Syldavia is Klow"]
    assert set(hits[0]) == {"score", "key", "edit"}
    assert "memedit: " in run("search", "", code=2).stderr


def test_stats_doctor_rebuild_backup(run: Run, tmp_path: Path) -> None:
    add(run, "The capital of Ruritania is Strelsau")
    assert json.loads(run("stats", "--json").stdout)
    assert run("stats", "--all-namespaces").stdout
    assert json.loads(run("doctor", "--json").stdout)["healthy"] is True
    run("doctor", "--repair", "--all-namespaces")
    run("rebuild")
    run("backup", "copy.db")
    assert (tmp_path / "copy.db").stat().st_size
    run("backup", "copy.db", code=2)
    run("backup", "copy.db", "--yes")


def test_what_doctor_finds_is_an_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    add(run, "The capital of Ruritania is Strelsau")

    class Finding:
        level, what, advice = "error", "a hole", "fill it"

    monkeypatch.setattr(EditMemory, "doctor", lambda *_, **__: [Finding()])
    assert "a hole" in run("doctor", code=3).stdout


def test_settings_show_where_they_come_from_and_no_password(run: Run, tmp_path: Path) -> None:
    (tmp_path / "memedit.toml").write_text('author = "rudolf"\n')
    found = json.loads(run("--memory", "postgresql://me:secret@host/db", "settings", "--json").stdout)
    assert found["config_file"].endswith("memedit.toml")
    assert found["settings"]["author"] == "rudolf"
    assert found["settings"]["memory"] == "postgresql://me:***@host/db"
    assert "letters" in run("settings").stdout
    (tmp_path / "memedit.toml").write_text("colour = 1\n")
    assert "colour" in run("settings", code=2).stderr


# Files


def test_import_reports_faults_and_resumes(run: Run, tmp_path: Path) -> None:
    lines = [
        json.dumps({"statement": "The capital of Ruritania is Strelsau"}),
        "no json",
        json.dumps({"statement": "The capital of Syldavia is Klow"}),
    ]
    (tmp_path / "facts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert "nothing was written" in run("import", "facts.jsonl", "--strict", code=2).stderr
    assert not (tmp_path / "facts").exists()
    report = run("import", "facts.jsonl", "--json")
    found = json.loads(report.stdout)
    assert (found["added"], found["skipped"], [fault["line"] for fault in found["faults"]]) == (2, 0, [2])
    assert "facts.jsonl:2: " in report.stderr
    again = json.loads(run("import", "facts.jsonl", "--json").stdout)
    assert (again["added"], again["skipped"]) == (0, 2)
    assert run("import", "facts.jsonl").stdout.startswith("0 added, 2 there already")
    assert run("import", "nowhere.jsonl", code=2).stderr.startswith("memedit: ")
    (tmp_path / "bad.jsonl").write_text("bad\nworse\n")
    run("import", "bad.jsonl", code=2)


def test_export_writes_what_import_reads(run: Run, tmp_path: Path) -> None:
    add(run, "The capital of Ruritania is Strelsau", "--alias", "Rur")
    add(run, "The capital of Syldavia is Klow")
    assert len(run("export").stdout.splitlines()) == 2
    run("export", "facts.csv")
    run("export", "facts.jsonl", "--all")
    run("export", "facts.jsonl", code=2)
    run("export", "facts.jsonl", "--yes")
    for name in ("facts.csv", "facts.jsonl"):
        assert run("--namespace", name, "import", name).stdout.startswith("2 added")
        assert sorted(statements(run, "--namespace", name)) == sorted(statements(run))
    assert "memedit: " in run("export", "nowhere/facts.csv", code=3).stderr


# What holds for all


@pytest.mark.parametrize("name", sorted(verbs()))
def test_every_verb_has_a_line_and_an_example(run: Run, name: str) -> None:
    command = verbs()[name]
    summary = command.get_short_help_str(200)
    assert 10 < len(summary) <= 62, "longer ones are cut in `memedit --help` on 80 columns"
    told = run(name, "--help").stdout
    assert "Example:" in told
    assert "memedit " in told
    assert all(len(line) <= 80 for line in told.splitlines())


def test_help_and_version(run: Run) -> None:
    assert run("--help").stdout == run().stdout == run("-h").stdout
    assert re.fullmatch(r"memedit \d+\.\d+\S*\n", run("--version").stdout)


def test_common_options_stand_before_or_behind(run: Run) -> None:
    run("--namespace", "a", "add", "The capital of Ruritania is Strelsau")
    run("add", "The capital of Ruritania is Zenda", "--namespace", "b", "--quiet")
    assert statements(run, "--namespace", "a") == ["The capital of Ruritania is Strelsau"]
    assert json.loads(run("-q", "--namespace", "b", "list", "--json").stdout)["edits"][0]["namespace"] == "b"


def test_an_unknown_verb_or_option_is_an_input_error(run: Run) -> None:
    run("lsit", code=2)
    run("list", "--nonesuch", code=2)
    run("show", code=2)


def test_the_unexpected_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    add(run, "The capital of Ruritania is Strelsau")

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(EditMemory, "list", broken)
    told = run("list", code=1)
    assert told.stderr == "memedit: unexpected ZeroDivisionError: a b (MEMEDIT_DEBUG=1 shows where)\n"
    monkeypatch.setenv("MEMEDIT_DEBUG", "1")
    result = CliRunner().invoke(cli, ["list"])
    assert (result.exit_code, "Traceback" in result.stderr) == (1, True)


def test_errors_carry_their_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    add(run, "The capital of Ruritania is Strelsau")

    def broken(*_: Any, **__: Any) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(EditMemory, "list", broken)
    assert run("list", code=3).stderr == "memedit: the disk is full\n"

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EditMemory, "list", stopped)
    assert "stopped" in run("list", code=130).stderr


def test_what_is_stored_steers_no_terminal_and_breaks_no_line(run: Run) -> None:
    add(run, "The capital of Ruritania is Strelsau", "--source", "a\tb\x1b[31mred\nline", "--author", "x")
    shown = run("show", json.loads(run("list", "--json").stdout)["edits"][0]["id"]).stdout
    assert "\x1b" not in shown
    assert [line for line in shown.splitlines() if line.startswith("source\t")]


def test_a_model_that_prints_control_codes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text(json.dumps(["one\ntwo\x1b[2J"]))
    assert run("ask", "Who?").stdout == "one\ntwo\x1b[2J\n"  # no terminal: the model's own bytes


def test_moments() -> None:
    assert Moment(numbers=True).convert("17", None, None) == 17
    assert Moment().convert("2026-11-21T18:30:00+01:00", None, None) == datetime(2026, 11, 21, 17, 30, tzinfo=UTC)
    local = Moment().convert("2026-11-21", None, None)
    assert isinstance(local, datetime)
    assert local == datetime(2026, 11, 21).astimezone()
    for wrong in ("yesterday", "2026-13-01", "", "-5"):
        with pytest.raises(click.BadParameter, match="date or time"):
            Moment(numbers=True).convert(wrong, None, None)
    with pytest.raises(click.BadParameter, match="date or time"):
        Moment().convert("17", None, None)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    assert "_MEMEDIT_COMPLETE" in run("completion", shell).stdout


def test_names_of_answerers_and_scopes_complete() -> None:
    options = {option.name: option for option in verbs()["ask"].params}
    context = click.Context(verbs()["ask"])
    for name, begun, whole in (("answerer", "mem", ["mem_prompt"]), ("scope", "two", ["two_stage"])):
        assert [item.value for item in options[name].shell_complete(context, begun)] == whole


def test_ids_complete(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = add(run, "The capital of Ruritania is Strelsau")
    monkeypatch.setenv("COMP_WORDS", "memedit show e-")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("_MEMEDIT_COMPLETE", "bash_complete")
    result = CliRunner().invoke(cli, [], prog_name="memedit")
    assert id_ in result.stdout


def test_bench_lists_its_entries_without_importing_them(run: Run) -> None:
    told = run("bench", "--help").stdout
    assert "startup" in told
    assert "scope" in told
    run("bench", "nonesuch", code=2)


# Documentation


def options_of(command: click.Command) -> set[str]:
    options = (parameter for parameter in command.params if isinstance(parameter, click.Option))
    return {name for option in options for name in (*option.opts, *option.secondary_opts)}


def test_every_verb_and_option_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### ([a-z-]+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(verbs())
    common = text.partition("### Exit codes")[0]
    missing = {name for name in options_of(cli) if f"`{name}`" not in common and f"`{name} " not in common}
    for verb, command in verbs().items():
        for name in options_of(command) - options_of(cli):
            if not re.search(
                rf"(?<![\w-]){re.escape(name)}(?![\w-])", sections[verb] + text.partition("## Writing")[0]
            ):
                missing.add(f"{verb} {name}")
    assert not missing
    documented = {
        (verb, name)
        for verb, section in sections.items()
        for block in re.findall(r"```\n(.*?)```", section, re.DOTALL)
        for name in re.findall(r"--[a-z-]+", block)
    }
    assert not {
        f"{verb} {name}" for verb, name in documented if verb != "bench" and name not in options_of(verbs()[verb])
    }


def test_every_benchmark_and_its_options_are_documented() -> None:
    from memedit.bench import benchmarks

    text = (Path(__file__).parent.parent / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^#### bench ([a-z_]+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(benchmarks.names())
    for name in benchmarks.names():
        synopsis = sections[name].split("```")[1]
        assert set(re.findall(r"--[a-z-]+", synopsis)) == options_of(benchmarks.get(name)), name


def test_documented_settings_are_the_settings() -> None:
    from memedit.settings import Settings

    text = (Path(__file__).parent.parent / "docs" / "cli.md").read_text(encoding="utf-8")
    keys = re.search(r"Its keys: (.*?)\.\n", text, re.DOTALL)
    assert keys is not None
    assert re.findall(r"`(\w+)`", keys[1]) == list(Settings.model_fields)


def test_reading_a_closed_standard_input_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from memedit import cli as module

    monkeypatch.setattr(module.sys, "stdin", None)
    with pytest.raises(Exception, match="closed"):
        module._words(["-"])
    monkeypatch.setattr(module.sys, "stdin", io.StringIO("x"))
    assert module._words(["-"]) == "x"
    assert module._words(["a", "b"]) == "a b"


@pytest.mark.parametrize(
    "refused",
    [
        ["add", " "],
        ["add", "A is B", "--valid-from", "2026-01-02", "--valid-to", "2026-01-01"],
        ["add", "The capital of Ostland is Brill", "--method", "magic"],
        ["add", "The capital of Ostland is Brill", "--method", "ft_m", "--model", "scripted:nothing.json"],
        ["add", "The capital of Ostland is Brill", "--method", "ft_m", "--set", "steps=abc", "--model", "pocket"],
        ["add", "Bread rises", "--method", "ft_m", "--model", "pocket"],
        ["import", "nowhere.jsonl"],
        ["forget", "Ann Doe lives in Ulm", "--set", "neurons=many", "--model", "pocket"],
    ],
    ids=lambda words: " ".join(words),
)
def test_what_is_refused_begins_no_memory(run: Run, tmp_path: Path, refused: list[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(cli, refused)
    assert result.exit_code in (2, 4), result.stderr
    assert "a new one begins" not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
    begun = run("add", "The capital of Ostland is Brill")
    assert "a new one begins" in begun.stderr
    assert statements(run) == ["The capital of Ostland is Brill"]
    assert "a new one begins" not in run("add", "The river of Ostland is the Vela").stderr
