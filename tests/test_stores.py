"""Every store against `exact`, and FAISS in each of its forms: what is removed is gone, and ids stay right."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import memedit.stores.faiss
from memedit.errors import IndexFileError
from memedit.stores import Ids, Persistent, Store, Vectors, stores
from memedit.stores.exact import Exact
from memedit.stores.faiss import Faiss, adder, centroids_for, entries, probes_for, trained

DIMENSION = 16
MakeStore = Callable[[int], Store]

FORMS: dict[str, MakeStore] = {name: stores.get(name) for name in stores.names()}
FORMS["faiss, inverted lists at once"] = partial(Faiss, threshold=0, fresh=0)
FORMS["faiss, a fresh end"] = partial(Faiss, threshold=10, fresh=1000)
FORMS["faiss, all three parts"] = partial(Faiss, threshold=30, fresh=5)
LARGE = {name: make for name, make in FORMS.items() if name.startswith("faiss,")}


@pytest.fixture(autouse=True, scope="module", params=["few by numpy", "all by FAISS"])
def compared_by(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "all by FAISS":
            patched.setattr(memedit.stores.faiss, "FEW", 0)
            patched.setattr(memedit.stores.faiss, "MANY_LISTS", 0)
        yield


every_form = pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
every_large = pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)


def units(count: int, seed: int = 0) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    made: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made


def numbers(*ids: int) -> Ids:
    return np.array(ids, np.int64)


def assert_same(store: Store, reference: Store, vectors: Vectors, k: int, exclude: Ids | None = None) -> None:
    """The same rows, but that codes of 8 bits may swap rows whose scores differ by less than their error."""
    error = 1e-5 if isinstance(store, Exact) or not getattr(store, "large", False) else 0.1
    scores, ids = store.search(vectors, k, exclude)
    true, true_ids = reference.search(vectors, k, exclude)
    assert scores.shape == ids.shape == (len(vectors), k)
    assert scores.dtype == np.float32
    assert ids.dtype == np.int64
    assert (np.diff(np.where(ids >= 0, scores, -2), axis=1) <= 0).all()
    assert ((ids < 0) == (true_ids < 0)).all()
    assert np.isneginf(scores[ids < 0]).all()
    there = ids >= 0
    assert np.abs(scores[there] - true[there]).max(initial=0) <= error
    everything = dict(zip(*(side.tolist() for side in rows_of(reference)), strict=True))
    for line, (found, vector) in enumerate(zip(ids, vectors, strict=True)):
        found = found[found >= 0].tolist()
        assert len(set(found)) == len(found)
        assert not set(found) & set(exclude.tolist() if exclude is not None else ())
        for name, score in zip(found, scores[line], strict=False):
            assert abs(float(vector @ np.array(everything[name], np.float32)) - score) <= error, "an id of another row"


def rows_of(reference: Store) -> tuple[Ids, Vectors]:
    assert isinstance(reference, Exact)
    return reference._rows


@every_form
def test_empty(make: MakeStore) -> None:
    store = make(DIMENSION)
    scores, ids = store.search(units(2), 3)
    assert len(store) == 0
    assert (ids == -1).all()
    assert np.isneginf(scores).all()
    store.remove(numbers(1, 2))
    store.add(numbers(), units(0))
    assert len(store) == 0


@every_form
def test_before_after_twice_and_removed(make: MakeStore) -> None:
    store, rows = make(DIMENSION), units(50)
    store.add(np.arange(50) << 8, rows)
    assert store.search(rows[7:8], 1)[1].tolist() == [[7 << 8]]
    store.add(numbers(7 << 8), rows[8:9])  # replaced
    assert len(store) == 50
    assert set(store.search(rows[8:9], 2)[1][0].tolist()) == {7 << 8, 8 << 8}
    store.remove(numbers(8 << 8, 999))
    store.remove(numbers(8 << 8))
    assert len(store) == 49
    assert store.search(rows[8:9], 1)[1].tolist() == [[7 << 8]]


@every_form
def test_an_id_given_twice_at_once_counts_once(make: MakeStore) -> None:
    store, rows = make(DIMENSION), units(40)
    ids = np.arange(40)
    ids[39] = 3
    store.add(ids, rows)
    assert len(store) == 39
    assert store.search(rows[39:40], 1)[1].tolist() == [[3]]


@every_form
def test_more_wanted_than_there(make: MakeStore) -> None:
    store = make(DIMENSION)
    store.add(np.arange(40), units(40))
    scores, ids = store.search(units(1, seed=1), 60)
    assert sorted(ids[0, :40].tolist()) == list(range(40))
    assert (ids[0, 40:] == -1).all()
    assert np.isneginf(scores[0, 40:]).all()


@every_form
def test_excluded_rows_do_not_crowd_others_out(make: MakeStore) -> None:
    store, rows = make(DIMENSION), units(60)
    rows[:50] = rows[0]  # fifty equal ones in front
    store.add(np.arange(60), rows)
    ids = store.search(rows[:1], 10, np.arange(50))[1]
    assert sorted(ids[0].tolist()) == list(range(50, 60))


@every_form
def test_ids_stay_right_after_removals(make: MakeStore) -> None:
    """The trap: FAISS' IndexIDMap2 over inverted lists gives wrong ids after remove_ids, without a word."""
    store, reference, rows = make(DIMENSION), Exact(DIMENSION), units(2000)
    for one in (store, reference):
        one.add(np.arange(2000) * 257, rows)
        one.remove(np.arange(0, 2000, 3) * 257)
        one.add(np.arange(0, 30, 3) * 257, rows[:10])
    if isinstance(store, Persistent):
        store.compact()
    assert len(store) == len(reference)
    assert_same(store, reference, rows[1:300], 3)
    kept = np.setdiff1d(np.arange(30, 2000), np.arange(0, 2000, 3))
    assert (store.search(rows[kept], 1)[1][:, 0] == kept * 257).mean() > 0.99


changes = st.one_of(
    st.tuples(st.just("add"), st.lists(st.integers(0, 60), max_size=25), st.integers(0, 9)),
    st.tuples(st.just("remove"), st.lists(st.integers(0, 70), max_size=25), st.just(0)),
    st.tuples(st.just("compact"), st.just([]), st.just(0)),
    st.tuples(st.just("search"), st.lists(st.integers(0, 60), max_size=10), st.integers(1, 80)),
)


@pytest.mark.parametrize(
    "make", [FORMS[name] for name in FORMS if name != "exact"], ids=[n for n in FORMS if n != "exact"]
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(steps=st.lists(changes, max_size=12))
def test_any_sequence_is_as_exact(make: MakeStore, steps: list[tuple[str, list[int], int]]) -> None:
    store, reference = make(DIMENSION), Exact(DIMENSION)
    for what, listed, number in steps:
        ids = np.array(listed, np.int64) * 256 + 1
        if what == "add":
            rows = units(len(ids), seed=number)
            store.add(ids, rows)
            reference.add(ids, rows)
        elif what == "remove":
            store.remove(ids)
            reference.remove(ids)
        elif what == "compact" and isinstance(store, Persistent):
            store.compact()
        elif what == "search":
            assert_same(store, reference, units(2, seed=99), number, ids)
        assert len(store) == len(reference)
    assert_same(store, reference, units(3, seed=98), 70)


def test_it_switches_by_itself() -> None:
    store = Faiss(DIMENSION, threshold=100, fresh=10)
    rows = units(600)
    for at in range(0, 600, 7):
        store.add(np.arange(at, min(at + 7, 600)), rows[at : at + 7])
        assert store.large == (len(store) > 100)
    assert store.outgrown  # learnt from 100 rows, there are 600
    store.fill(rows[: store.sample_size(600)], 600, [(np.arange(600), rows)])
    assert not store.outgrown
    assert (store.search(rows, 1)[1][:, 0] == np.arange(600)).mean() > 0.99


def test_rows_are_put_into_the_list_of_their_nearest_centroid(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, ids = units(5_000), np.arange(5_000)
    lists_of = []
    for many in (1_000_000, 0):  # by comparing all centroids, by the graph
        monkeypatch.setattr(memedit.stores.faiss, "MANY_LISTS", many)
        index = trained(rows, len(rows))
        adder(index)(ids, rows)
        assert index.ntotal == len(rows)
        of = np.full(len(rows), -1)
        for number, there, codes in entries(index):
            of[there] = number
            assert np.abs(index.sq.decode(codes.copy()) - rows[there]).max() < 0.02
        lists_of.append(of)
    assert (lists_of[0] >= 0).all()
    assert (lists_of[0] == lists_of[1]).mean() > 0.99


def test_rows_unlike_all_that_came_before_are_found() -> None:
    """The lists are learnt from vectors of small numbers in every place; then come such as are large in one."""
    random = np.random.default_rng(0)
    early = random.uniform(-1, 1, (300, 64)).astype(np.float32)
    late = random.uniform(-0.3, 0.3, (300, 64)).astype(np.float32)
    late[np.arange(300), np.arange(300) % 64] = 3
    rows = np.concatenate([early, late])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    store, reference = Faiss(64, threshold=100, fresh=10), Exact(64)
    for at in range(0, 600, 100):
        for one in (store, reference):
            one.add(np.arange(at, at + 100), rows[at : at + 100])
    scores, ids = store.search(rows, 10)
    exact, _ = reference.search(rows, 10)
    assert np.abs(scores - exact).max() < 0.02
    assert (ids == np.arange(600)[:, None]).any(axis=1).all()


def test_sizes_of_the_inverted_lists() -> None:
    assert [centroids_for(rows) for rows in (1, 20_000, 1_000_000, 3_000_000)] == [4, 512, 4096, 8192]
    assert [probes_for(rows, centroids_for(rows)) for rows in (100, 20_000, 200_000, 1_000_000)] == [32, 512, 256, 50]


def test_a_search_sees_the_state_before_or_after_a_change() -> None:
    """Each change takes a hundred rows out and puts the same hundred back elsewhere: never fewer, never a mixture."""
    store = Faiss(DIMENSION, threshold=200, fresh=20)
    axes = np.eye(DIMENSION, dtype=np.float32)
    store.add(np.arange(300), units(300))
    store.add(np.arange(1000, 1100), np.repeat(axes[:1], 100, axis=0))
    stop, faults = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            scores, ids = store.search(axes[:2], 100)
            counts = ((ids >= 1000) & (scores > 0.9)).sum(axis=1).tolist()
            if sorted(counts) != [0, 100]:
                faults.append(counts)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        store.add(np.arange(1000, 1100), np.repeat(axes[(turn + 1) % 2][None], 100, axis=0))
        if turn % 10 == 0:
            store.compact()
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults


@every_large
def test_kept_in_a_file(make: MakeStore, tmp_path: Path) -> None:
    store, rows = make(DIMENSION), units(1200)
    assert isinstance(store, Faiss)
    store.add(np.arange(1200), rows)
    store.remove(np.arange(100))
    assert store.loose
    store.compact()
    path = tmp_path / "vectors"
    with path.open("wb") as file:
        facts = store.write(file.write)
    opened = make(DIMENSION)
    assert isinstance(opened, Faiss)
    opened.read(path, facts)
    assert len(opened) == 1100
    assert opened.loose == 0
    before = path.read_bytes()
    opened.remove(np.arange(100, 110))
    opened.add(numbers(105, 5000), rows[[105, 0]])
    assert opened.loose >= 10
    reference = Exact(DIMENSION)
    kept = np.concatenate([[105], np.arange(110, 1200)])
    reference.add(np.concatenate([kept, [5000]]), rows[np.concatenate([kept, [0]])])
    assert_same(opened, reference, units(5, seed=3), 20)
    opened.compact()
    assert_same(opened, reference, units(5, seed=3), 20)
    assert path.read_bytes() == before  # the file is never changed


def test_a_failing_disk_is_told_as_it_is() -> None:
    store = Faiss(DIMENSION, threshold=10)
    store.add(np.arange(100), units(100))

    def full(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.write(full)
    assert store.search(units(100), 1)[1][5, 0] == 5


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    for content in (b"", b"nothing of the kind", b"\x00" * 5000):
        path.write_bytes(content)
        with pytest.raises(IndexFileError):
            Faiss(DIMENSION).read(path, {"rows": 1, "learnt_for": 1})
    small = Faiss(DIMENSION)
    with pytest.raises(ValueError, match="small"):
        small.write(lambda data: None)


def test_growing_past_the_room_of_the_fresh_end() -> None:
    store, rows = Faiss(DIMENSION, threshold=10_000), units(3000)
    for at in range(0, 3000, 11):
        store.add(np.arange(at, min(at + 11, 3000)), rows[at : at + 11])
        store.remove(numbers(at))
    kept = np.array([i for i in range(3000) if i % 11])
    assert len(store) == len(kept)
    assert (store.search(rows[kept], 1)[1][:, 0] == kept).all()
