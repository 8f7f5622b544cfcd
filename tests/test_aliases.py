"""Aliases that are given to facts after they were written: by hand and from files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from memedit.aliases import add_aliases, read_aliases
from memedit.errors import InputError, NotFoundError
from memedit.memory import EditMemory


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with EditMemory.open(tmp_path / "facts", encoder="letters") as memory:
        yield memory


def test_every_fact_about_a_subject_gets_them_and_keeps_all_else(memory: EditMemory) -> None:
    until = datetime(2100, 1, 1, tzinfo=UTC)
    first = memory.add("The CEO of Acme is Dana Li", source="press", valid_to=until, aliases=["Acme Inc"]).edit
    memory.add("The headquarters of Acme are in Lyon")
    memory.add("The CEO of Globex is Bo Chen")
    done = add_aliases(memory, {"acme": ["the rope maker", "Acme"]}, author="ann")
    assert (len(done.edits), done.unknown) == (2, ())
    ceo = memory.get(done.edits[first.id])
    assert ceo.aliases == ("Acme Inc", "the rope maker")
    same = ("statement", "subject", "relation", "target", "prompt", "question", "source", "valid_to", "kind")
    assert [getattr(ceo, name) for name in same] == [getattr(first, name) for name in same]
    assert ceo.author == "ann"
    assert {edit.id for edit in memory.list(subject="the rope maker")} == set(done.edits.values())
    assert memory.count() == 3
    assert memory.get(first.id).state == "superseded"
    assert memory.search("who leads the rope maker?", k=2)[0].edit.subject == "Acme"


def test_twice_is_once_and_undone_is_as_before(memory: EditMemory) -> None:
    first = memory.add("The CEO of Acme is Dana Li").edit
    assert add_aliases(memory, {"Acme": ["A. Corp"]}).edits
    head = memory.journal.head()
    assert add_aliases(memory, {"Acme": ["A. Corp"], "Nobody": ["X"]}).unknown == ("Nobody",)
    assert memory.journal.head() == head
    memory.undo(last=1)
    assert [edit.id for edit in memory.list()] == [first.id]
    assert memory.list(subject="A. Corp") == []


def test_files(tmp_path: Path) -> None:
    want = {"Acme": ["A. Corp", "ACME Ltd"], "Globex": ["G"]}
    forms = {
        "a.csv": "subject,aliases\nAcme,A. Corp|ACME Ltd\nGlobex,G\n",
        "a.jsonl": "\n".join(json.dumps({"subject": name, "aliases": names}) for name, names in want.items()),
        "a.json": json.dumps(want),
        "b.json": json.dumps([{"subject": name, "aliases": names} for name, names in want.items()]),
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_aliases(tmp_path / name) == want, name
    for number, text in enumerate(("[1]", '{"Acme": "A. Corp"', '{"Acme": []}', '{"Acme": [3]}', '{"": ["x"]}')):
        path = tmp_path / f"bad{number}.json"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="bad"):
            read_aliases(path)
    (tmp_path / "other.csv").write_text("name,alias\nAcme,A. Corp\n", encoding="utf-8")
    with pytest.raises(InputError, match="columns name, alias"):
        read_aliases(tmp_path / "other.csv")
    with pytest.raises(NotFoundError, match="no file"):
        read_aliases(tmp_path / "none.csv")
