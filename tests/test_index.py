"""The index keeps up with the journal, and whatever becomes of its files, an answer is never wrong."""

import errno
import json
import multiprocessing
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memedit.index
import memedit.stores.faiss
from memedit.edits import Draft
from memedit.encoders.letters import Letters
from memedit.errors import ModelError
from memedit.index import SIDECAR, Index, nearest_edits, row_ids, unpacked
from memedit.memory import EditMemory


class Counting(Letters):
    """Letters, counting the texts that it was asked for."""

    def __init__(self, dimension: int = 64, suffix: str = "") -> None:
        super().__init__(dimension)
        self.identity += suffix
        self.texts = 0

    def encode(self, texts: Sequence[str]) -> Any:
        self.texts += len(texts)
        return super().encode(texts)


@pytest.fixture
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inverted lists and files from 60 rows on, so that a test need not write 20,000."""
    monkeypatch.setattr(memedit.stores.faiss, "THRESHOLD", 60)
    monkeypatch.setattr(memedit.stores.faiss, "FRESH", 16)
    monkeypatch.setattr(memedit.index, "LOOSE_ROWS", 30)


def drafts(start: int, end: int) -> list[Draft]:
    return [
        Draft(
            statement=f"The capital of Land {i} is City {i}",
            subject=f"Land {i}",
            relation="capital",
            target=f"City {i}",
        )
        for i in range(start, end)
    ]


def index_of(memory: EditMemory, namespace: str = "default") -> Index:
    return memory._index(namespace)


def files(memory: EditMemory) -> list[Path]:
    folder = index_of(memory).folder
    assert folder is not None
    return sorted(folder.glob("*.index"))


def assert_complete(memory: EditMemory, count: int) -> None:
    """Every edit is the nearest to its own words, and there are no others."""
    edits = memory.list()
    assert len(edits) == count
    found = memory.search_many([edit.statement for edit in edits], k=1)
    assert [hits[0].edit.id for hits in found] == [edit.id for edit in edits]
    everything = memory.search("capital", k=count + 10)
    assert {hit.edit.id for hit in everything} == {edit.id for edit in edits}


@pytest.mark.parametrize("store", ["exact", "faiss"])
def test_it_follows_the_journal(tmp_path: Path, store: str) -> None:
    encoder = Counting()
    with EditMemory.open(tmp_path, encoder=encoder, store=store) as memory:
        first = memory.add("The capital of Freedonia is Fredonia City")
        assert memory.search("What is the capital of Freedonia?")[0].edit.id == first.id
        second = memory.replace(first.id, "The capital of Freedonia is Marxville")
        assert [hit.edit.id for hit in memory.search("capital of Freedonia")] == [second.id]
        memory.undo(last=1)
        assert [hit.edit.id for hit in memory.search("capital of Freedonia")] == [first.id]
        memory.remove(first.id)
        assert memory.search("capital of Freedonia") == []
        memory.undo(last=1)
        encoded = encoder.texts
        index_of(memory).rebuild()
        index_of(memory).sync()
        assert encoder.texts == encoded  # all vectors are in the journal
        assert [hit.edit.id for hit in memory.search(np.ones(64, np.float32) / 8)] == [first.id]


def test_one_row_per_edit_whatever_its_keys(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path, encoder="letters") as memory:
        for i in range(8):
            memory.add(f"The capital of Land {i} is City {i}", aliases=[f"Terra {i}", f"Pays {i}", f"Pais {i}"])
        hits = memory.search("What is the capital of Pays 3?", k=8)
        assert len({hit.edit.id for hit in hits}) == 8
        assert hits[0].edit.subject == "Land 3"
        assert "Pays 3" in hits[0].key
        index = index_of(memory)
        found = index.search(Letters().encode(["capital"]), 100)[0]
        assert len(found) == 8
        assert [score for _, _, score in found] == sorted((score for _, _, score in found), reverse=True)
        assert index.search(Letters().encode(["capital"]), 100, [seq for seq, _, _ in found[1:]])[0] == found[:1]
        assert index.search(Letters().encode(["capital"]), 100, [seq for seq, _, _ in found]) == [[]]


def test_namespaces_never_see_each_other(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path, encoder="letters") as memory:
        memory.add("The capital of Freedonia is Marxville", namespace="a")
        memory.add("The capital of Sylvania is Trentino", namespace="b")
        assert [h.edit.subject for h in memory.search("capital of Freedonia", namespace="b")] == ["Sylvania"]
        assert memory.search("capital of Freedonia") == []


@pytest.mark.usefixtures("small_lists")
def test_large_in_a_file_and_opened_again(tmp_path: Path) -> None:
    encoder = Counting()
    with EditMemory.open(tmp_path, encoder=encoder) as memory:
        memory.add_many(drafts(0, 50))
        assert_complete(memory, 50)
        assert index_of(memory).stats()["large"]
        assert len(files(memory)) == 1
        encoded = encoder.texts
    with EditMemory.open(tmp_path, encoder=encoder) as memory:
        assert_complete(memory, 50)
        assert encoder.texts == encoded + 51  # the queries only
        written = files(memory)
        memory.add("The capital of Freedonia is Marxville")
        assert_complete(memory, 51)
        assert files(memory) == written  # a few loose rows do not make a new file
        memory.add_many(drafts(50, 70))
        assert_complete(memory, 71)
        assert files(memory) != written
        for edit in memory.list(limit=30):
            memory.remove(edit.id)
        assert_complete(memory, 41)
        index_of(memory).compact()
        assert index_of(memory).stats()["loose_rows"] == 0
        assert_complete(memory, 41)
        assert index_of(memory).notes == []


def flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)


def other_seq(path: Path) -> None:
    """A sidecar of an older state, as left behind where a journal was put back from a backup."""
    read = json.loads(path.read_text())
    read["facts"]["written"] += 1
    read["sha256"] = memedit.index.checksum(read["facts"])
    path.write_text(json.dumps(read))


DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    "vectors deleted": lambda vectors, sidecar: vectors.unlink(),
    "vectors cut": lambda vectors, sidecar: vectors.write_bytes(vectors.read_bytes()[:-100]),
    "vectors empty": lambda vectors, sidecar: vectors.write_bytes(b""),
    "vectors longer": lambda vectors, sidecar: vectors.write_bytes(vectors.read_bytes() + b"\0"),
    "vectors flipped at the head": lambda vectors, sidecar: flip(vectors, 0.0),
    "vectors flipped in the middle": lambda vectors, sidecar: flip(vectors, 0.5),
    "vectors flipped at the end": lambda vectors, sidecar: flip(vectors, 1.0),
    "sidecar deleted": lambda vectors, sidecar: sidecar.unlink(),
    "sidecar cut": lambda vectors, sidecar: sidecar.write_bytes(sidecar.read_bytes()[:-10]),
    "sidecar empty": lambda vectors, sidecar: sidecar.write_bytes(b""),
    "sidecar no object": lambda vectors, sidecar: sidecar.write_text("[]"),
    "sidecar flipped": lambda vectors, sidecar: flip(sidecar, 0.5),
    "sidecar of another journal": lambda vectors, sidecar: other_seq(sidecar),
}


@pytest.fixture(scope="module")
def a_large_memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memedit.stores.faiss, "THRESHOLD", 60)
        with EditMemory.open(folder, encoder=Counting()) as memory:
            memory.add_many(drafts(0, 50))
            memory.sync()
            assert files(memory)
    return folder


@pytest.mark.usefixtures("small_lists")
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files_are_made_anew(a_large_memory: Path, damage: Callable[[Path, Path], object]) -> None:
    encoder = Counting()
    with EditMemory.open(a_large_memory, encoder=encoder) as memory:
        memory.rebuild()
        vectors = files(memory)[0]
    damage(vectors, vectors.with_name(SIDECAR))
    with EditMemory.open(a_large_memory, encoder=encoder) as memory:
        found = [finding.level for finding in memory.doctor()]
        assert found == ([] if damage is DAMAGE["sidecar deleted"] else ["warning"])
    with EditMemory.open(a_large_memory, encoder=encoder) as memory:
        assert_complete(memory, 50)
        assert len(index_of(memory).notes) == (damage is not DAMAGE["sidecar deleted"])
        assert encoder.texts == 51  # the queries: the vectors come from the journal
    with EditMemory.open(a_large_memory, encoder=encoder) as memory:
        assert_complete(memory, 50)
        assert index_of(memory).notes == []


@pytest.mark.usefixtures("small_lists")
def test_another_encoder_has_vectors_of_its_own(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path, encoder=Counting(64)) as memory:
        memory.add_many(drafts(0, 50))
        memory.sync()
    for other in (Counting(48), Counting(64, "-retrained")):
        with EditMemory.open(tmp_path, encoder=other) as memory:
            assert_complete(memory, 50)
            assert "encoder" in index_of(memory).notes[0]
            assert other.texts >= 150


@pytest.mark.usefixtures("small_lists")
def test_a_purge_leaves_no_vectors(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path, encoder="letters") as memory, EditMemory.open(tmp_path, encoder="letters") as other:
        memory.add_many(drafts(0, 50))
        assert_complete(memory, 50)
        assert_complete(other, 50)
        before = files(memory)
        assert memory.purge(subject="Land 7") == 1
        assert files(memory) == []
        assert_complete(other, 49)
        assert len(files(other)) == 1
        assert files(other) != before
        assert_complete(memory, 49)


@pytest.mark.usefixtures("small_lists")
def test_a_full_disk_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with EditMemory.open(tmp_path, encoder="letters") as memory:
        memory.add_many(drafts(0, 50))
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            assert_complete(memory, 50)
        assert "No space left" in index_of(memory).notes[0]
        assert files(memory) == []
        assert not list(index_of(memory).folder.glob("*.part"))  # type: ignore[union-attr]
        memory.add_many(drafts(50, 60))
        assert_complete(memory, 60)
    with EditMemory.open(tmp_path, encoder="letters") as memory:
        assert_complete(memory, 60)
        assert len(files(memory)) == 1


def test_a_memory_that_can_only_be_read_is_searched(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path) as memory:
        memory.add_many(drafts(0, 5))
    with EditMemory.open(tmp_path, encoder="letters", read_only=True) as memory:
        assert_complete(memory, 5)
        assert "in memory only" in index_of(memory).notes[0]


def test_an_encoder_that_fails_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    class Failing(Counting):
        broken = False

        def encode(self, texts: Sequence[str]) -> Any:
            if self.broken:
                raise ModelError("the encoder broke")
            return super().encode(texts)

    encoder = Failing()
    with EditMemory.open(tmp_path, encoder=encoder) as memory:
        memory.add_many(drafts(0, 5))
        assert_complete(memory, 5)
        memory.add_many(drafts(5, 9))
        encoder.broken = True
        with pytest.raises(ModelError):
            memory.sync()
        encoder.broken = False
        assert_complete(memory, 9)


@pytest.mark.usefixtures("small_lists")
def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    with EditMemory.open(tmp_path, encoder="letters") as memory:
        memory.add_many(drafts(0, 50))
        memory.rebuild(progress=lambda done, total: told.append((done, total)))
    assert told
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


@pytest.mark.usefixtures("small_lists")
def test_a_rebuild_reads_vectors_once_where_all_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    live_rows = Index._live_rows

    def counted(index: Index) -> Any:
        passes.append(1)
        return live_rows(index)

    monkeypatch.setattr(Index, "_live_rows", counted)
    with EditMemory.open(tmp_path, encoder="letters") as memory:
        memory.add_many(drafts(0, 100))
        memory.sync()  # encodes on the first pass
        assert len(passes) == 2
        memory.rebuild()
        assert len(passes) == 3
        assert_complete(memory, 100)


@pytest.mark.usefixtures("small_lists")
def test_threads_search_while_others_write(tmp_path: Path) -> None:
    faults: list[object] = []
    with EditMemory.open(tmp_path, encoder="letters") as memory:
        memory.add_many(drafts(0, 40))
        stop = threading.Event()

        def look() -> None:
            while not stop.is_set():
                hits = memory.search("The capital of Land 7 is City 7", k=3)
                if not hits or hits[0].edit.subject != "Land 7":
                    faults.append(hits)

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for start in range(40, 100, 12):
            memory.add_many(drafts(start, start + 12))
        stop.set()
        for thread in threads:
            thread.join()
        assert not faults
        assert_complete(memory, 100)


def hold_lock(folder: str, held: Any, done: Any) -> None:
    index = Index(None, "default", Letters, "faiss", Path(folder))  # type: ignore[arg-type]
    with index._alone() as alone:
        assert alone
        held.set()
        done.wait()


@pytest.mark.usefixtures("small_lists")
def test_nobody_waits_for_another_process_that_writes(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path, encoder="letters") as memory:
        folder = index_of(memory).folder
        process = multiprocessing.get_context("spawn")
        held, done = process.Event(), process.Event()
        other = process.Process(target=hold_lock, args=(str(folder), held, done))
        other.start()
        held.wait()
        memory.add_many(drafts(0, 50))
        assert_complete(memory, 50)
        assert files(memory) == []
        done.set()
        other.join()
        index_of(memory).compact()
        assert len(files(memory)) == 1


def test_a_past_moment_is_scanned(tmp_path: Path) -> None:
    with EditMemory.open(tmp_path, encoder="letters") as memory:
        old = memory.add("The capital of Freedonia is Fredonia City")
        memory.replace(old.id, "The capital of Freedonia is Marxville")
        memory.add("The capital of Sylvania is Trentino")
        assert [hit.edit.id for hit in memory.search("capital of Freedonia", as_of=1)] == [old.id]
        assert index_of(memory).scan(Letters().encode(["capital"]), [], 3) == [[]]


@pytest.mark.parametrize("store", ["exact", "faiss"])
def test_a_floor_only_leaves_out(tmp_path: Path, small_lists: None, store: str) -> None:
    random = np.random.default_rng(0)
    with EditMemory.open(tmp_path, encoder=Letters(64), store=store) as memory:
        # Several keys each, so that a search has to look for more rows than edits, and edits that are not current.
        more = [
            Draft(
                statement=f"The capital of Land {i} is City {i}",
                subject=f"Land {i}",
                target=f"City {i}",
                aliases=(f"Country {i}", f"Old Land {i}"),
                valid_to=None if i % 3 else datetime(2020, 1, 1, tzinfo=UTC),
            )
            for i in range(200, 300)
        ]
        memory.add_many([*drafts(0, 200), *more])
        memory.sync()
        assert index_of(memory).stats()["large"] is (store == "faiss")
        memory.remove(memory.list()[3].id)
        queries = ["capital of Land 77", "Old Land 250", "City", "bread and butter", "Old Land 250's capital", "x"]
        vectors = random.normal(size=(4, 64)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        asked = np.concatenate([memory.encoder.encode(queries), vectors])
        for as_of in (None, memory.journal.head()):
            for k in (1, 3, 40):
                whole = memory.search_many(asked, k=k, as_of=as_of)
                for floor in (-1.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
                    found = memory.search_many(asked, k=k, as_of=as_of, floor=floor)
                    for hits, all_hits in zip(found, whole, strict=True):
                        kept = [hit for hit in all_hits if hit.score >= floor]
                        assert [hit.edit.id for hit in hits] == [hit.edit.id for hit in kept]
                        assert [hit.key for hit in hits] == [hit.key for hit in kept]
                        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in kept], abs=1e-6)
        one = memory.search(queries[0], k=3)[0]
        assert memory.search(queries[0], k=3, floor=one.score - 1e-4)[0].edit == one.edit
        assert memory.search(queries[0], k=3, floor=one.score + 1e-4) == []


@pytest.mark.parametrize("store", ["exact", "faiss"])
def test_where_nothing_reaches_the_floor_no_edit_is_read(
    tmp_path: Path, small_lists: None, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EditMemory.open(tmp_path, encoder=Letters(64), store=store) as memory:
        memory.add_many(drafts(0, 100))
        memory.sync()

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("an edit was read")

        with monkeypatch.context() as patched:
            for name in ("find", "keys", "vectors"):
                patched.setattr(memory.journal, name, refuse)
            assert memory.search_many(["bread and butter", "zzz"], k=3, floor=0.9) == [[], []]
        memory.add("Bread and butter is a meal")  # and yet it sees what has been written since
        assert [hit.edit.statement for hit in memory.search("bread and butter is a meal", k=3, floor=0.9)] == [
            "Bread and butter is a meal"
        ]


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 18), min_size=1, max_size=9), d=st.integers(1, 5))
def test_rows_of_edits(counts: list[int], d: int) -> None:
    blobs = [np.full((count, d), number, np.float16).tobytes() for number, count in enumerate(counts)]
    seqs = np.arange(len(counts)) * 3 + 1
    ids, rows = unpacked(seqs, blobs, d)
    expected = [(seq << 8 | key, number) for number, seq in enumerate(seqs) for key in range(min(counts[number], 16))]
    assert list(zip(ids.tolist(), rows[:, 0].astype(int).tolist(), strict=True)) == expected
    assert set(ids.tolist()) <= set(row_ids(seqs).tolist())


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.floats(-1, 1, width=32)), max_size=12),
    k=st.integers(1, 8),
)
def test_nearest_edits_by_their_best_key(rows: list[tuple[int, int, float]], k: int) -> None:
    unique = {(edit, key): score for edit, key, score in rows}
    scores = np.array([*unique.values(), -np.inf], np.float32)
    ids = np.array([*(edit << 8 | key for edit, key in unique), -1], np.int64)
    found = nearest_edits(scores, ids, k)
    best = {edit: max(score for (e, _), score in unique.items() if e == edit) for edit, _ in unique}
    assert [score for _, _, score in found] == pytest.approx(sorted(best.values(), reverse=True)[:k])
    assert all(unique[edit, key] == pytest.approx(score) == pytest.approx(best[edit]) for edit, key, score in found)
