"""A memory that is opened for reading, or may only be read, is read, and no file of it is touched by anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from memedit.cli import cli
from memedit.editor import Editor
from memedit.edits import Draft, Message
from memedit.errors import InputError, JournalError, MemEditError
from memedit.memory import EditMemory
from memedit.models.scripted import Scripted
from memedit.patches import substitution_draft
from memedit.stores import faiss

Files = dict[str, tuple[int, bytes | None]]


@pytest.fixture(autouse=True)
def _large_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a handful of facts has index files."""
    monkeypatch.setattr(faiss, "THRESHOLD", 20)
    monkeypatch.setattr(faiss, "FRESH", 8)


def files(folder: Path) -> Files:
    """Name -> (time of the last change, bytes) of every file below a folder, and the names of the folders there."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes()) if path.is_file() else (0, None)
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "facts"
    with EditMemory.open(made, encoder="letters") as memory:
        memory.add_many([Draft(statement=f"The capital of Land {n} is Town {n}", author="ann") for n in range(30)])
        memory.add("The CEO of Acme is Dana Li", aliases=["Acme Corp"])
        memory.add_many([substitution_draft("rain", "sun", "output")])
        memory.sync()
        memory.add("The CEO of Bolt is Eve Zorb")  # the index is behind, and a vector is missing
        memory.remove(memory.list(text="Land 3 ")[0].id)
    return made


IN = "Who is the CEO of Acme?"


def calls(memory: EditMemory, elsewhere: Path) -> dict[str, Callable[[], object]]:
    """Every public method, and something that would write where it can."""
    first = memory.list(subject="Acme")[0]
    vector = memory.encoder.encode([IN])[0]
    incoming = elsewhere / "in.jsonl"
    incoming.write_text('{"statement": "The capital of Borduria is Szohod"}\n')

    def one_state() -> None:
        with memory.one_state():
            memory.search("Bolt")

    return {
        "add": lambda: memory.add("The CEO of Acme is Bo Chen"),
        "add_many": lambda: memory.add_many([Draft(statement="The CEO of Acme is Bo Chen")]),
        "replace": lambda: memory.replace(first.id, "The CEO of Acme is Bo Chen"),
        "remove": lambda: memory.remove(first.id),
        "undo": lambda: memory.undo(last=1),
        "preview_undo": lambda: memory.preview_undo(last=3),
        "purge": lambda: memory.purge(id=first.id),
        "purge by author": lambda: memory.purge(author="ann"),
        "purge of a subject": lambda: memory.purge(subject="Land 4"),
        "purge of nothing": lambda: memory.purge(subject="Nobody"),
        "purge of nobody": lambda: memory.purge(author="nobody"),
        "get": lambda: memory.get(first.id[:8]),
        "list": lambda: memory.list(state="all", subject="Acme Corp"),
        "count": lambda: memory.count(state="all"),
        "without": lambda: memory.without([1, 2]).search("Land 1"),
        "bakes": memory.bakes,
        "namespaces": memory.namespaces,
        "history": lambda: memory.history(id=first.id),
        "log": memory.log,
        "possible_conflicts": lambda: memory.possible_conflicts(first),
        "conflicts": memory.conflicts,
        "encoder": lambda: memory.encoder,
        "search": lambda: memory.search(IN, patches=True),
        "search of the past": lambda: memory.search(IN, as_of=10),
        "search_many": lambda: memory.search_many([IN, "Bolt"]),
        "search_named": lambda: memory.search_named(IN, np.asarray(vector, np.float32)),
        "one_state": one_state,
        "sync": memory.sync,
        "rebuild": memory.rebuild,
        "import_file": lambda: memory.import_file(incoming),
        "export_file": lambda: memory.export_file(elsewhere / "out.jsonl"),
        "backup": lambda: memory.backup(elsewhere / "backup.db"),
        "stats": memory.stats,
        "doctor": memory.doctor,
        "doctor that repairs": lambda: memory.doctor(repair=True),
        "open": lambda: EditMemory.open(memory.journal.where, read_only=True).close(),
        "close": memory.close,
    }


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


REFUSED = {
    *("add", "add_many", "replace", "remove", "undo", "import_file"),
    *("purge", "purge by author", "purge of a subject", "purge of nothing", "purge of nobody"),
}


@pytest.fixture(params=["read_only", "without write bits"])
def closed(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A memory that is only to be read, and how it is opened so."""
    if request.param == "read_only":
        monkeypatch.setattr(EditMemory, "open", _reading(EditMemory.open))
        yield folder
        return
    allowed = os.access  # the superuser may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: allowed(path, mode) and not mode & os.W_OK)
    every = [folder, *folder.rglob("*")]
    for path in every:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in every:
        with suppress(FileNotFoundError):
            path.chmod(0o755)


def _reading(opened: Any) -> Any:
    return lambda where, **given: opened(where, **{**given, "read_only": True})


def test_no_method_touches_a_file(closed: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = files(closed)
    assert sum(name.endswith(".index") for name in before) == 1
    with EditMemory.open(closed, encoder="letters") as memory:
        names = list(calls(memory, elsewhere))
    assert {name.split()[0] for name in names} == public(EditMemory)
    for name in names:
        with EditMemory.open(closed, encoder="letters") as memory:
            call = calls(memory, elsewhere)[name]
            if name in REFUSED:
                with pytest.raises(JournalError, match="cannot be written"):
                    call()
            else:
                call()
        assert files(closed) == before, name


def test_what_is_read_is_all_there_is(closed: Path) -> None:
    with EditMemory.open(closed, encoder="letters") as memory:
        assert memory.search("The CEO of Bolt is Eve Zorb", k=1)[0].edit.subject == "Bolt"
        with pytest.raises(JournalError):
            memory.purge(subject="Bolt")
        assert memory.search("The CEO of Bolt is Eve Zorb", k=1)[0].edit.subject == "Bolt"


async def test_no_question_touches_a_file(closed: Path) -> None:
    before = files(closed)
    with EditMemory.open(closed, encoder="letters") as memory:
        editor = Editor(memory, Scripted({"*": "The rain."}), scope="lexical")
        decision = editor.decide(IN)
        done: dict[str, object] = {
            "model": editor.model,
            "decide": decision,
            "standing": editor.standing(),
            "space": editor.space(None),
            "retriever": editor.retriever().of_kind("regex"),
            "assign": editor.assign([Message("user", IN)], decision),
            "choices": editor.choices(IN, decision),
            "stream": list(editor.stream(IN)),
            "ask": editor.ask(IN, as_of=5),
            "astream": [piece async for piece in editor.astream(IN)],
            "aask": await editor.aask(IN),
            "wrap": editor.wrap(_llm()).invoke(IN),
        }
        assert done.keys() == public(Editor)
    assert files(closed) == before


def _llm() -> Any:
    from langchain_core.language_models import FakeListChatModel

    return FakeListChatModel(responses=["Nobody."])


ELSEWHERE = {
    "bench",
    "calibrate",
    "completion",
    "datasets",
    "easyedit",
    "eval",
    "methods",
    "report",
    "settings",
    "trace",
}
"""Verbs that open no memory of the user's."""


def verbs(id_: str, elsewhere: Path) -> dict[str, tuple[str, ...]]:
    incoming, aliases = elsewhere / "in.jsonl", elsewhere / "aliases.csv"
    incoming.write_text('{"statement": "The capital of Borduria is Szohod"}\n')
    aliases.write_text("subject,aliases\nAcme,Acme Inc\n")
    made = {
        "add": "add|The CEO of Acme is Bo Chen",
        "ask": f"ask|{IN}",
        "explain": f"explain|{IN}",
        "list": "list|--all",
        "search": "search|Bolt",
        "show": f"show|{id_}",
        "history": "history",
        "undo": "undo|--last|1|--yes",
        "remove": f"remove|{id_}",
        "replace": f"replace|{id_}|The CEO of Acme is Bo Chen",
        "purge": f"purge|--id|{id_}|--yes",
        "import": f"import|{incoming}",
        "export": f"export|{elsewhere / 'out.jsonl'}|--yes",
        "chat": "chat",
        "stats": "stats",
        "doctor": "doctor",
        "doctor --repair": "doctor|--repair",
        "rebuild": "rebuild",
        "backup": f"backup|{elsewhere / 'backup.db'}",
        "alias": f"alias|{aliases}",
        "bake": "bake|--method|ft_l|--all",
        "export-model": f"export-model|{elsewhere / 'model'}",
        "forget": "forget|--text|The CEO of Acme is Dana Li",
        "patch": "patch|--regex|a|--replace|b",
        "patch, listed": "patch",
        "refit": "refit",
        "unbake": "unbake|--all",
    }
    return {name: tuple(line.split("|")) for name, line in made.items()}


def test_no_verb_touches_a_file(closed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    script = elsewhere / "script.json"
    script.write_text('{"*": "The rain."}')
    with EditMemory.open(closed) as memory:
        id_ = memory.list(subject="Acme")[0].id
    before = files(closed)
    lines = verbs(id_, elsewhere)
    assert {name.split()[0].rstrip(",") for name in lines} | ELSEWHERE == set(cli.list_commands(click.Context(cli)))
    environment = {"MEMEDIT_ENCODER": "letters", "MEMEDIT_MODEL": f"scripted:{script}", "MEMEDIT_SCOPE": "lexical"}
    for name, line in lines.items():
        given = "/remember The CEO of Acme is Bo Chen\nWho is it?\n" if name == "chat" else ""
        done = CliRunner().invoke(cli, ["--memory", str(closed), *line], env=environment, input=given)
        assert done.exit_code in (0, 2, 3), (name, done.output)
        assert files(closed) == before, name


def test_a_purge_that_finds_nothing_keeps_the_index(folder: Path) -> None:
    with EditMemory.open(folder, encoder="letters") as memory:
        memory.sync()
        index = {name: one for name, one in files(folder / "index").items() if name.endswith((".index", ".json"))}
        assert len(index) == 2
        assert memory.purge(subject="Nobody") == 0
        assert memory.purge(author="nobody") == 0
        with pytest.raises(InputError):
            memory.purge(subject=" ")
        with pytest.raises(MemEditError):
            memory.purge(id="e-000000")
        assert index.items() <= files(folder / "index").items()
        assert memory.purge(subject="Acme") == 1
        assert not list((folder / "index").rglob("*.index"))


def test_a_purge_whose_files_cannot_be_cleaned_yet_has_dropped_the_index(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise JournalError("another process reads without pause")

    monkeypatch.setattr("memedit.journal.Journal.scrub", failing)
    with EditMemory.open(folder, encoder="letters") as memory:
        memory.sync()
        with pytest.raises(JournalError, match="without pause"):
            memory.purge(subject="Acme")
        assert not list((folder / "index").rglob("*.index"))
        assert memory.list(subject="Acme") == []


def test_a_reader_beside_a_writer_sees_what_is_written(folder: Path) -> None:
    with EditMemory.open(folder, encoder="letters", read_only=True) as reader:
        count = reader.count()
        with EditMemory.open(folder, encoder="letters") as writer:
            writer.add("The CEO of Cog is Fay Orr")
        assert reader.count() == count + 1
    assert sorted(path.name for path in folder.glob("journal*")) == ["journal.db"]
