"""Files that other hands emptied, changed, exchanged or deleted: found, said, and nothing acknowledged into them.

Real files and, where it matters whose they are, real processes.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from memedit import files
from memedit.cli import cli
from memedit.errors import JournalError, NotFoundError
from memedit.files import make
from memedit.memory import EditMemory


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PATIENCE", 0.1)


def opened(folder: Path, **given: object) -> EditMemory:
    return EditMemory.open(folder, encoder="letters", store="exact", **given)  # type: ignore[arg-type]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with opened(tmp_path / "facts") as made:
        yield made


def statements(memory: EditMemory) -> list[str]:
    return [edit.statement for edit in memory.list()][::-1]


def errors(memory: EditMemory) -> list[str]:
    return [finding.what for finding in memory.doctor() if finding.level == "error"]


def elsewhere(code: str, *arguments: object) -> str:
    """Run by another process, which ends as if it was killed: its log stays beside the database."""
    code = "import os, sys\nfrom memedit.memory import EditMemory\n" + textwrap.dedent(code) + "\nos._exit(0)\n"
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


ADD = """
    memory = EditMemory.open(sys.argv[1])
    for statement in sys.argv[2:]:
        memory.add(statement)
"""


# A file that is empty, cut off or gone


@pytest.mark.parametrize("read_only", [False, True])
def test_an_empty_file_is_no_new_memory(tmp_path: Path, read_only: bool) -> None:
    with opened(tmp_path) as memory:
        memory.add("one")
    os.truncate(tmp_path / "journal.db", 0)
    for _ in range(2):
        with pytest.raises(JournalError, match=r"is empty.*cut off.*backup.*delete"):
            opened(tmp_path, read_only=read_only)
    assert (tmp_path / "journal.db").stat().st_size == 0
    said = CliRunner().invoke(cli, ["--memory", str(tmp_path), "list"])
    assert (said.exit_code, said.stdout) == (3, "")
    assert "is empty" in said.stderr
    (tmp_path / "journal.db").unlink()  # as the message says
    with opened(tmp_path) as memory:
        assert memory.list() == []


@pytest.mark.parametrize("size", [50, 4096, 20_000])
def test_a_file_that_was_cut_off_is_no_new_memory(tmp_path: Path, size: int) -> None:
    with opened(tmp_path) as memory:
        memory.add_many([])
        for number in range(50):
            memory.add(f"fact number {number}")
    os.truncate(tmp_path / "journal.db", size)
    with pytest.raises(JournalError, match="damaged"), opened(tmp_path) as memory:
        memory.list()


def test_a_log_without_its_database_is_no_new_memory(tmp_path: Path) -> None:
    elsewhere(ADD, tmp_path, "one")
    (tmp_path / "journal.db").rename(tmp_path / "kept")
    with pytest.raises(JournalError, match=r"missing.*journal.db-wal"):
        opened(tmp_path)
    with pytest.raises(NotFoundError):
        opened(tmp_path, read_only=True)
    assert not (tmp_path / "journal.db").exists()
    (tmp_path / "kept").rename(tmp_path / "journal.db")
    with opened(tmp_path) as memory:
        assert statements(memory) == ["one"]


def make_and_add(folder: str, number: int) -> None:
    with EditMemory.open(folder) as memory:
        memory.add(f"fact {number}")


def test_many_make_a_memory_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=make_and_add, args=(str(tmp_path), number)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    with opened(tmp_path) as memory:
        assert sorted(statements(memory)) == [f"fact {number}" for number in range(6)]
        assert errors(memory) == []
    assert [path.name for path in tmp_path.iterdir() if ".new-" in path.name] == []


def test_of_two_that_make_a_file_the_first_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, link in enumerate([os.link, _no_links]):
        monkeypatch.setattr(os, "link", link)
        path = tmp_path / f"{number}.db"
        left = tmp_path / f"{path.name}.new-killed"
        left.touch()
        os.utime(left, (0, 0))
        make(path)
        made = path.read_bytes()
        assert made.startswith(b"SQLite format 3\0")
        make(path)
        assert path.read_bytes() == made
        assert [one.name for one in tmp_path.glob(f"{number}.db*")] == [path.name]


def test_what_a_process_left_that_was_killed_on_the_way_is_deleted(tmp_path: Path) -> None:
    with opened(tmp_path) as memory:
        memory.add("one")
    os.link(tmp_path / "journal.db", tmp_path / "journal.db.new-killed")
    with opened(tmp_path, read_only=True) as memory:
        assert statements(memory) == ["one"]
    assert (tmp_path / "journal.db.new-killed").exists()
    with opened(tmp_path) as memory:
        assert statements(memory) == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["journal.db"]


def _no_links(*_: object) -> None:
    raise PermissionError


# Rows that were changed


def changed(folder: Path, statement: str) -> None:
    driver = sqlite3.connect(folder / "journal.db")
    driver.execute(statement)
    driver.commit()
    driver.close()


CHANGES = [
    "statement = 'The CEO of Acme is Mallory'",
    "subject = 'Acme Labs'",
    "target = 'Mallory'",
    "question = 'Who is it?'",
    "keys = NULL",
    "aliases = '[\"Bolt\"]'",
    "author = 'ann'",
    "relation = NULL",
    "valid_to = 1",
    "created_at = created_at + 1",
    "kind = 'forget'",
    "slot = slot + 1",
    "digest = digest + 1",
    "checksum = checksum + 1",
    "checksum = NULL",
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_in_a_row_is_said_and_not_answered(tmp_path: Path, change: str) -> None:
    with opened(tmp_path) as memory:
        edit = memory.add("The CEO of Acme is Dana Li", aliases=["Acme Corp"], author="bob").edit
        other = memory.add("Bolts are made of steel").edit
        memory.sync()
    changed(tmp_path, f"UPDATE record SET {change} WHERE seq = {edit.seq}")
    with opened(tmp_path) as memory:
        told = [finding for finding in memory.doctor() if finding.level == "error"]
        assert edit.id in told[0].what
        assert other.id not in told[0].what
        assert "purge" in told[0].advice
        for read in (
            lambda: memory.get(edit.id),
            lambda: memory.list(state="all"),
            lambda: memory.get(edit.id, as_of=1),
            lambda: memory.replace(edit.id, "The CEO of Acme is Bo Chen"),
        ):
            with pytest.raises(JournalError, match=rf"{edit.id} is damaged.*doctor"):
                read()
        assert memory.get(other.id) == other
        assert memory.journal.head() == 2


def test_what_is_damaged_is_not_found_by_a_search_and_can_be_erased(tmp_path: Path) -> None:
    with opened(tmp_path) as memory:
        edit = memory.add("The CEO of Acme is Dana Li").edit
        memory.add("Bolts are made of steel")
        memory.sync()
    changed(tmp_path, f"UPDATE record SET statement = 'The CEO of Acme is Mallory' WHERE seq = {edit.seq}")
    with opened(tmp_path) as memory, pytest.raises(JournalError, match=edit.id):
        memory.search("CEO of Acme", k=1)
    run = CliRunner().invoke
    said = run(cli, ["--memory", str(tmp_path), "doctor"], env={"MEMEDIT_ENCODER": "letters"})
    assert said.exit_code == 3
    assert edit.id in said.output
    assert run(cli, ["--memory", str(tmp_path), "list"]).exit_code == 3
    assert run(cli, ["--memory", str(tmp_path), "purge", "--id", edit.id, "--yes"]).exit_code == 0
    with opened(tmp_path) as memory:
        assert errors(memory) == []
        memory.add("The CEO of Acme is Dana Li")
        assert statements(memory) == ["Bolts are made of steel", "The CEO of Acme is Dana Li"]


def test_a_record_that_was_taken_out_is_missed(tmp_path: Path) -> None:
    with opened(tmp_path) as memory:
        memory.add("one")
        memory.remove(memory.add("two").id)
        memory.add("three")
    changed(tmp_path, "DELETE FROM record WHERE op = 'remove'")
    with opened(tmp_path) as memory:
        assert "1 records are missing" in errors(memory)[0]


def test_what_memedit_itself_changes_is_no_damage(tmp_path: Path) -> None:
    """A purge empties columns, here and in backups."""
    copy = tmp_path / "copy" / "journal.db"
    with opened(tmp_path / "facts") as memory:
        first = memory.add("The CEO of Acme is Dana Li", author="ann").edit
        memory.remove(first.id, author="ann", reason="Dana Li left")
        for number in range(3):
            memory.add(f"fact {number}", author="bob")
        memory.backup(copy)
        memory.purge(id=first.id)
        memory.purge(author="ann")
        memory.purge(author="bob")
        assert errors(memory) == []
    with opened(copy.parent) as memory:
        assert memory.count(state="purged") == 4
        assert errors(memory) == []


def test_what_is_damaged_in_a_backup_stays_so(tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "journal.db"
    with opened(tmp_path / "facts") as memory:
        first, second = (memory.add(text).edit for text in ("one", "two"))
        memory.backup(copy)
        changed(copy.parent, f"UPDATE record SET statement = 'three' WHERE seq = {second.seq}")
        memory.purge(id=first.id)
    with opened(copy.parent) as memory:
        assert second.id in errors(memory)[0]


# A database beside the log of another


def test_a_backup_put_over_a_stale_log_is_refused(tmp_path: Path) -> None:
    folder, journal, log = tmp_path / "facts", tmp_path / "facts" / "journal.db", tmp_path / "facts" / "journal.db-wal"
    with opened(folder) as memory:
        memory.add("old")
        memory.backup(tmp_path / "backup.db")
    elsewhere(ADD, folder, *(f"new {number}" for number in range(5)))
    assert log.stat().st_size
    former = journal.read_bytes()
    for replace in (shutil.copyfile, _renamed):
        replace(tmp_path / "backup.db", journal)
        before = journal.read_bytes(), log.read_bytes()
        for read_only in (False, True):
            with pytest.raises(JournalError, match=r"not of one state.*move journal.db-wal.*former"):
                opened(folder, read_only=read_only)
        said = CliRunner().invoke(cli, ["--memory", str(folder), "doctor"])
        assert said.exit_code == 3
        assert "not of one state" in said.stderr
        assert before == (journal.read_bytes(), log.read_bytes())  # both are there to choose from
    shutil.copytree(folder, tmp_path / "other")
    journal.write_bytes(former)
    with opened(folder) as memory:
        assert statements(memory) == ["old", *(f"new {number}" for number in range(5))]
        assert errors(memory) == []
    (tmp_path / "other" / "journal.db-wal").unlink()
    with opened(tmp_path / "other") as memory:
        assert statements(memory) == ["old"]
        assert errors(memory) == []


def _renamed(source: Path, goal: Path) -> None:
    shutil.copyfile(source, goal.with_name("copy"))
    goal.with_name("copy").replace(goal)


def older(folder: Path) -> Path:
    """A plain copy of the file, made while all was in it; then its log begins anew, several times."""
    copy = folder.parent / "copy.db"
    shutil.copyfile(folder / "journal.db", copy)
    for number in range(3):
        with opened(folder) as memory:
            memory.add(f"later {number}")
    return copy


def newer(folder: Path) -> Path:
    """A plain copy of the file, made when it held more than the log; the log is one of before."""
    shutil.copytree(folder, folder.parent / "before")
    elsewhere(ADD, folder.parent / "before", "then")
    with opened(folder) as memory:
        for number in range(3):
            memory.add(f"later {number}")
    return folder / "journal.db"


def foreign(folder: Path) -> Path:
    with opened(folder.parent / "other") as memory:
        for number in range(4):  # as many writes as in the first
            memory.add(f"other {number}")
    return folder.parent / "other" / "journal.db"


def test_a_plain_copy_of_before_is_refused_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "facts"
    with opened(folder) as memory:
        memory.add("old")
    copy = older(folder)
    elsewhere(ADD, folder, "new")
    shutil.copyfile(copy, folder / "journal.db")
    with pytest.raises(JournalError, match="not of one state"):
        opened(folder)


def test_a_newer_file_beside_the_log_of_before_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "facts"
    with opened(folder) as memory:
        memory.add("old")
    copy = newer(folder)
    shutil.copyfile(copy, tmp_path / "before" / "journal.db")
    with pytest.raises(JournalError, match="not of one state"):
        opened(tmp_path / "before")


def test_another_memorys_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "facts"
    elsewhere(ADD, folder, *(f"fact {number}" for number in range(6)))
    shutil.copyfile(foreign(folder), folder / "journal.db")
    with pytest.raises(JournalError, match="not of one state"):
        opened(folder)


def test_a_backup_without_a_log_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "facts"
    with opened(folder) as memory:
        memory.add("old")
        memory.backup(tmp_path / "backup.db")
        memory.add("new")
    shutil.copyfile(tmp_path / "backup.db", folder / "journal.db")
    for number in range(3):
        with opened(folder) as memory:
            memory.add(f"later {number}")
    elsewhere(ADD, folder, "after a crash")
    with opened(folder) as memory:
        assert statements(memory) == ["old", "later 0", "later 1", "later 2", "after a crash"]


def test_a_log_of_a_process_that_was_killed_is_taken(tmp_path: Path) -> None:
    """Whatever part of it is in the database already."""
    elsewhere(ADD, tmp_path, "one", "two")
    elsewhere(ADD + "\n    memory.add_many([])\n", tmp_path, "three")
    code = """
        memory = EditMemory.open(sys.argv[1])
        memory.add("four")
        memory.journal._engine.raw_connection().execute("PRAGMA wal_checkpoint(PASSIVE)")
        memory.add("five")
    """
    elsewhere(code, tmp_path)
    elsewhere(code, tmp_path)
    with opened(tmp_path) as memory:
        assert statements(memory) == ["one", "two", "three", "four", "five"]
        assert errors(memory) == []


# Files that go while they are open


def deleted(path: Path) -> None:
    path.unlink()


def moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def replaced(path: Path) -> None:
    shutil.copyfile(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def folder_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal"])
@pytest.mark.parametrize("happens", [deleted, moved, replaced, folder_moved])
def test_nothing_is_acknowledged_into_a_file_that_is_gone(
    memory: EditMemory, tmp_path: Path, name: str, happens: Callable[[Path], None]
) -> None:
    memory.add("one")
    happens(tmp_path / "facts" / name)
    for write in (
        lambda: memory.add("two"),
        lambda: memory.add_many([]) or memory.add("three"),
        lambda: memory.undo(last=1),
    ):
        with pytest.raises(JournalError, match=r"journal.db.*while it was open.*nothing was"):
            write()
    for read in (memory.list, memory.count, lambda: memory.search("one"), memory.doctor):
        with pytest.raises(JournalError, match="while it was open"):
            read()


def test_a_file_that_goes_between_the_beginning_and_the_end_of_a_write(memory: EditMemory, tmp_path: Path) -> None:
    memory.add("one")
    with pytest.raises(JournalError, match="nothing was written"), memory.journal._writing():
        (tmp_path / "facts" / "journal.db").unlink()


def test_a_backup_copied_over_an_open_memory(memory: EditMemory, tmp_path: Path) -> None:
    """Into the same file: its name still leads to it."""
    memory.add("one")
    memory.backup(tmp_path / "backup.db")
    subprocess.run(["cp", str(tmp_path / "backup.db"), str(tmp_path / "facts" / "journal.db")], check=True)
    with pytest.raises(JournalError, match=r"another file was put in the place.*nothing was written"):
        memory.add("two")


def test_a_deleted_memory_is_not_made_again_by_one_that_has_it_open(memory: EditMemory, tmp_path: Path) -> None:
    memory.add("one")
    shutil.rmtree(tmp_path / "facts")
    with pytest.raises(JournalError):
        memory.add("two")
    assert not (tmp_path / "facts").exists()


def test_a_memory_is_the_same_wherever_the_process_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(Path("facts")) as memory:
        memory.add("one")
        (tmp_path / "below").mkdir()
        monkeypatch.chdir(tmp_path / "below")
        memory.add("two")
        assert statements(memory) == ["one", "two"]
    assert not (tmp_path / "below" / "facts").exists()


def test_looking_at_the_files_ends_no_lock(memory: EditMemory, tmp_path: Path) -> None:
    """A process loses its locks on a file when it closes it, however it was opened."""
    memory.add("one")
    with opened(tmp_path / "facts") as again:
        again.add("two")
    elsewhere("with EditMemory.open(sys.argv[1]) as memory:\n    memory.add('three')", tmp_path / "facts")
    assert (tmp_path / "facts" / "journal.db-wal").exists()  # else the other took itself for the last
    memory.add("four")
    assert statements(memory) == ["one", "two", "three", "four"]
