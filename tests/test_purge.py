"""The right to be forgotten: after a purge the bytes are in no file that memedit made."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from memedit import databases
from memedit.edits import Draft
from memedit.errors import InputError, JournalError, NotFoundError
from memedit.memory import EditMemory

SECRET = "Quexalot"


def opened(folder: Path, **given: object) -> EditMemory:
    return EditMemory.open(folder, encoder="letters", store="exact", **given)  # type: ignore[arg-type]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[EditMemory]:
    with opened(tmp_path / "facts") as made:
        yield made


def holding(folder: Path, *needles: bytes) -> list[str]:
    """The files below a folder that hold one of the byte strings, in any case."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path) for path in files if any(needle.lower() in path.read_bytes().lower() for needle in needles)]


def fill(memory: EditMemory, count: int = 120) -> None:
    """Enough of other facts that pages split and move."""
    facts = [f"The mascot of Company {count}-{number} is animal {number}" for number in range(count)]
    memory.add_many([Draft(statement=fact, author="ann", reason="because") for fact in facts], batch=40)


def test_by_subject_everything_goes(memory: EditMemory, tmp_path: Path) -> None:
    fill(memory, 40)
    texts = [f"The CEO of {SECRET} is Dana Li", f"The CEO of {SECRET} is Bo Chen", f"The motto of {SECRET} is forward"]
    edits = [memory.add(text, aliases=["Zorblax Corp"], source=f"{SECRET} news", author="ann").edit for text in texts]
    aliased = memory.add("The CEO of Initech is Eve Zorb", aliases=[SECRET]).edit
    removal = memory.remove(edits[2].id, reason=f"{SECRET} is gone")
    fill(memory)
    memory.search(f"CEO of {SECRET}")
    vector = memory.journal.vectors(memory.encoder.identity, [edits[1].seq])[edits[1].seq]
    row = vector[: 2 * memory.encoder.dimension]
    memory.backup(tmp_path / "facts" / "copy.db")
    memory.backup(tmp_path / "elsewhere" / "copy.db")
    needles = (SECRET.encode(), b"Zorblax", b"Eve Zorb", row)
    for folder in (tmp_path / "facts", tmp_path / "elsewhere"):
        assert holding(folder, needles[0])
        assert holding(folder, row)

    count = memory.purge(subject=SECRET.lower())
    assert count == len([edit for edit in (*edits, aliased) if edit.subject]) == 4
    # Open, with the log still in use, and closed.
    assert holding(tmp_path, *needles) == []
    memory.close()
    assert holding(tmp_path, *needles) == []

    with opened(tmp_path / "facts") as again:
        gone = again.list(state="purged")
        assert {edit.id for edit in gone} == {edit.id for edit in (*edits, aliased)}
        assert all(edit.statement == "" and edit.subject is None and edit.author is None for edit in gone)
        assert sha256(texts[0].encode()).hexdigest() in again.journal.tombstones("default")
        assert [record.reason for record in again.log() if record.id == removal.id] == [None]
        assert again.doctor() == []
        assert again.list(as_of=removal.seq, subject=SECRET) == []
        assert len(again.search("CEO", k=3)) == 3
    folder = tmp_path / "restored"
    folder.mkdir()
    (tmp_path / "elsewhere" / "copy.db").rename(folder / "journal.db")
    with opened(folder) as restored:
        assert restored.count(state="purged") == 4
        assert restored.count() == memory_count(tmp_path / "facts") == 160
        assert [finding for finding in restored.doctor() if finding.level == "error"] == []


def memory_count(folder: Path) -> int:
    with opened(folder) as memory:
        return memory.count()


def test_by_author_the_name_goes_too(memory: EditMemory, tmp_path: Path) -> None:
    memory.author = SECRET
    first = memory.add("The CEO of Acme is Dana Li").edit
    memory.add("The mascot of Acme is a goose", author="ann")
    memory.remove(first.id, reason="wrong")
    memory.undo(last=1)
    assert memory.purge(author=SECRET) == 1
    assert holding(tmp_path, SECRET.encode(), b"Dana Li") == []
    assert [edit.author for edit in memory.list()] == ["ann"]
    assert memory.purge(author=SECRET) == 0


def test_by_id_only_that_edit_goes(memory: EditMemory, tmp_path: Path) -> None:
    old = memory.add(f"The CEO of Acme is {SECRET}", author="ann").edit
    new = memory.add("The CEO of Acme is Bo Chen").edit
    assert memory.purge(id=old.id[:8]) == 1
    assert holding(tmp_path, SECRET.encode()) == []
    assert [edit.id for edit in memory.list()] == [new.id]
    memory.undo(id=new.id)
    assert memory.list() == []
    with pytest.raises(InputError, match="purged already"):
        memory.purge(id=old.id)
    with pytest.raises(InputError, match="purged"):
        memory.undo(id=old.id)
    purge = next(record for record in memory.log() if record.op == "purge")
    with pytest.raises(InputError, match="cannot be brought back"):
        memory.undo(id=purge.id)
    with pytest.raises(NotFoundError):
        memory.purge(id="e-0000000000")
    with pytest.raises(InputError, match="by one of"):
        memory.purge()
    with pytest.raises(InputError, match="by one of"):
        memory.purge(id=old.id, author="ann")


def test_index_files_go(memory: EditMemory, tmp_path: Path) -> None:
    edit = memory.add(f"The CEO of {SECRET} is Dana Li").edit
    folder = memory._index_folder("default")
    folder.mkdir(parents=True)
    (folder / "vectors-1.index").write_bytes(np.ones(8, np.float16).tobytes())
    memory.search("CEO")
    memory.purge(id=edit.id)
    assert not (folder / "vectors-1.index").exists()
    assert memory.search("CEO") == []


def test_other_namespaces_stay(memory: EditMemory) -> None:
    memory.add(f"The CEO of {SECRET} is Dana Li", namespace="one")
    memory.add(f"The CEO of {SECRET} is Dana Li", namespace="two")
    assert memory.purge(subject=SECRET, namespace="three") == 0
    assert memory.purge(subject=SECRET, namespace="one") == 1
    assert memory.count("two") == 1
    assert (memory.journal.generation("one"), memory.journal.generation("two")) == (1, 0)


def test_a_purge_cut_short_is_finished_on_opening(
    memory: EditMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(memory, 40)
    edit = memory.add(f"The CEO of {SECRET} is Dana Li").edit

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(databases, "rewrite", killed)
        with pytest.raises(KeyboardInterrupt):
            memory.purge(id=edit.id)
    assert holding(tmp_path, SECRET.encode())
    assert [finding.level for finding in memory.doctor()] == ["error"]
    memory.close()
    with opened(tmp_path / "facts") as again:
        assert holding(tmp_path, SECRET.encode()) == []
        assert again.doctor() == []


def test_a_reader_that_holds_the_log_is_told(
    memory: EditMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = memory.add(f"The CEO of {SECRET} is Dana Li").edit
    monkeypatch.setattr(databases, "LOCK_SECONDS", 0.2)
    with opened(tmp_path / "facts") as reader:
        changes = reader.journal.changes("default", 0)
        next(changes)  # a transaction that stays open
        with pytest.raises(JournalError, match="doctor --repair"):
            memory.purge(id=edit.id)
        assert memory.list() == []
        changes.close()  # type: ignore[attr-defined]
    memory.doctor(repair=True)
    assert memory.doctor() == []
    assert holding(tmp_path, SECRET.encode()) == []


def test_a_backup_that_finds_no_room_leaves_nothing_and_the_older_one_as_it_was(tmp_path: Path) -> None:
    pytest.importorskip("resource")  # what stands for a full disk here: no file may be longer
    code = """
    import resource, sys
    from memedit.errors import JournalError
    from memedit.memory import EditMemory
    with EditMemory.open(sys.argv[1], read_only=sys.argv[3] == "reading") as memory:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            memory.backup(sys.argv[2])
        except JournalError as error:
            print(error)
    """
    with opened(tmp_path / "facts") as memory:
        fill(memory)
        memory.journal._scrub_own()
    goal = tmp_path / "copies" / "copy.db"
    for how in ("writing", "reading", "over an older one"):
        if how == "over an older one":
            with opened(tmp_path / "facts") as memory:
                memory.backup(goal)
        before = {path: path.read_bytes() for path in goal.parent.glob("*")}
        line = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "facts"), str(goal), how]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        assert f"cannot be written to {goal}" in done.stdout
        assert {path: path.read_bytes() for path in goal.parent.glob("*")} == before
    with opened(tmp_path / "facts") as memory:
        assert memory.doctor() == []


def test_a_backup_that_failed_does_not_hide_what_an_older_one_holds(
    memory: EditMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    edit = memory.add(f"The CEO of {SECRET} is Dana Li").edit
    copy = tmp_path / "copies" / "copy.db"
    memory.backup(copy)
    good = copy.read_bytes()
    copy.write_bytes(b"not a database any more")  # so that the purge does not reach it
    with pytest.raises(JournalError, match=r"copy\.db"):
        memory.purge(id=edit.id)
    copy.write_bytes(good)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(JournalError, match="No space left"):
            memory.backup(copy)
    assert list(copy.parent.iterdir()) == [copy]
    assert copy.read_bytes() == good
    assert any("copy.db" in finding.what for finding in memory.doctor())
    memory.backup(copy)
    assert memory.doctor() == []
    assert holding(tmp_path / "copies", SECRET.encode()) == []


def test_a_backup_that_cannot_be_cleaned_is_named(memory: EditMemory, tmp_path: Path) -> None:
    edit = memory.add(f"The CEO of {SECRET} is Dana Li").edit
    copy = tmp_path / "copies" / "copy.db"
    memory.backup(copy)
    good = copy.read_bytes()
    copy.write_bytes(b"not a database any more")
    with pytest.raises(JournalError, match=r"copy\.db"):
        memory.purge(id=edit.id)
    assert any("copy.db" in finding.what for finding in memory.doctor())
    copy.write_bytes(good)
    memory.doctor(repair=True)
    assert memory.doctor() == []
    assert holding(tmp_path, SECRET.encode()) == []
