"""Writers are killed, disks are full, many write at once: nothing acknowledged is lost, nothing is half there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from crashes import SMALL, Expected, Writers, assert_erased, check, kill_and_check, writers

import memedit.index
import memedit.stores.faiss
from memedit.memory import EditMemory


@pytest.fixture(scope="module")
def server() -> Iterator[Writers]:
    with writers() as made:
        yield made


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memedit.stores.faiss, "THRESHOLD", SMALL["THRESHOLD"])
    monkeypatch.setattr(memedit.stores.faiss, "FRESH", SMALL["FRESH"])
    monkeypatch.setattr(memedit.index, "LOOSE_ROWS", SMALL["LOOSE_ROWS"])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ten_writers_killed_in_turn(server: Writers, tmp_path: Path, seed: int) -> None:
    assert kill_and_check(tmp_path / "facts", server, kills=10, seed=seed) > 0


@pytest.mark.parametrize("count", [2, 8])
def test_many_write_at_once(server: Writers, tmp_path: Path, count: int) -> None:
    folder, each = tmp_path / "facts", 40 // count
    with EditMemory.open(folder, encoder="letters") as memory:
        pids = [server.start("many_adds", str(folder), number * 1000, each) for number in range(count)]
        for _ in range(10):  # meanwhile another process searches
            for hit in memory.search("The capital of Land 0 is City 0", k=3):
                assert hit.edit.statement.startswith("The capital of Land")
        said = [server.ended(pid) for pid in pids]
        expected = Expected()
        for one in said:
            assert len(one.done) == each + 1
            for operation in one.done:
                expected = expected.after(operation)
        assert len(expected.current) == 2 * each * count
        assert {hit.edit.statement for hit in memory.search("capital", k=1000)} == expected.current
        assert [edit.seq for edit in memory.list()] == list(range(2 * each * count, 0, -1))
    check(folder, [expected])


def test_a_full_disk_loses_nothing(server: Writers, tmp_path: Path) -> None:
    folder = tmp_path / "facts"
    with EditMemory.open(folder, encoder="letters") as memory:
        memory.add("The capital of Land 0 is City 0")
    size = max(path.stat().st_size for path in folder.rglob("*"))
    said = server.ended(server.start("adds_until_full", str(folder), 1, size + 150_000))
    assert said.done
    assert "nothing was written" in said.other[0]["full"]
    assert said.other[1]["read"] == len(said.done) + 1
    expected = Expected({"The capital of Land 0 is City 0"})
    for operation in said.done:
        expected = expected.after(operation)
    check(folder, [expected])
    with EditMemory.open(folder, encoder="letters") as memory:  # there is room again
        memory.add("The capital of Land 9999 is City 9999")
    check(folder, [expected.after(["add", ["The capital of Land 9999 is City 9999"]])])


def test_the_check_itself_sees_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "facts"
    with EditMemory.open(folder, encoder="letters") as memory:
        memory.add("The capital of Land 1 is City 1")
    there = Expected({"The capital of Land 1 is City 1"})
    assert check(folder, [Expected(), there]) == there
    for wrong in (Expected(), Expected({*there.current, "another"}), Expected(there.current, there.current)):
        with pytest.raises(AssertionError):
            check(folder, [wrong])
    with pytest.raises(AssertionError, match="in a file"):
        assert_erased(folder, {"The capital of Land 1 is City 1"})
