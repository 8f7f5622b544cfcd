"""FAISS: exact while small, inverted lists with 8-bit codes when large; it switches by itself.

Shaped like a log-structured merge tree, because FAISS indexes must not be changed while they are searched, and because
a file that is only ever read can be memory mapped:

    fresh rows (float32, compared one by one)  ->  middle (IVF in memory)  ->  base (IVF, memory mapped if from a file)

Rows are added to the fresh end. When that is full it is folded into a new middle, and `compact` merges all into a new
base. A row is removed by a tombstone in the part that holds it; a search passes over it by an ID selector, inside the
scan, so that removed and excluded rows never crowd others out. No FAISS index is ever removed from: `remove_ids`
corrupts ids under IndexIDMap2, and raises on HNSW. All parts hang on one frozen snapshot which a change replaces with
one assignment: searches take no lock, and see the state before a change or after it.

Centroids are learnt when the threshold is first passed. `outgrown` says when there are so many more rows that they
should be learnt anew from the original vectors (`fill`), which codes cannot give back exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memedit.errors import IndexFileError
from memedit.stores import Ids, Vectors
from memedit.stores.exact import best, last_of_each


@cache
def _faiss() -> Any:
    """The library, whose type stubs lack half of what is used here. It takes 40 ms to load; a small memory does not."""
    return import_module("faiss")


THRESHOLD = 20_000
"""Rows up to which every row is compared: 4 ms a query on one core at dimension 384."""
FRESH = 2_048
"""Rows compared one by one beside the inverted lists: 0.4 ms a query."""
FEW = 2_048
"""Rows that numpy compares as fast."""
VISITED = 12_000
MOST_VISITED = 25_000
"""Rows that a query should meet in the inverted lists that it visits, at a million rows and at most: 0.8 and 1.3 ms.

Real questions are far from the edit that they ask for: 400 paraphrases of CounterFact have a cosine of .71, in the
median, with its nearest key. Among 350,000 rows exact search finds the edit, among the first three, for 99 %; this one
meets it for 90, 94, 97 and 99 % where 6,800, 10,000, 17,000 and 34,000 rows are visited.
"""
MIN_PROBES = 16
MANY_LISTS = 1_024
"""From so many on the nearest is found by a graph, which takes half a second to make."""
POINTS_PER_CENTROID = 32
GROWTH = 4
"""Centroids are learnt anew when there are so many times more rows than they were learnt for."""


def centroids_for(rows: int) -> int:
    """Number of inverted lists for so many rows: the power of two nearest to four times the square root.

    Many small lists cost more to fill and less to search. A million rows of mixed and perturbed edits, visiting 8,000
    rows a query and scoring 40 candidates again exactly, gave recall@10 .972 with 2,048 lists and .996 with 4,096.
    """
    return 1 << max(0, round(math.log2(4 * math.sqrt(max(rows, 1)))))


def probes_for(rows: int, lists: int) -> int:
    """Number of lists to visit, of so many that hold so many rows.

    The fewer rows there are, the farther are a query's neighbours, and the more lists they are spread over.
    """
    visited = min(MOST_VISITED, max(VISITED, VISITED * math.sqrt(1_000_000 / max(rows, 1))))
    return min(lists, max(MIN_PROBES, math.ceil(visited * lists / max(rows, 1))))


@dataclass(frozen=True)
class Lists:
    """An IVF index that is only read, and which of its ids are dead. `names` are its ids, sorted (made at need)."""

    index: Any
    dead: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    _cache: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.index.ntotal) - len(self.dead)

    @property
    def names(self) -> Ids:
        if "names" not in self._cache:
            parts = [ids for _, ids, _ in entries(self.index)]
            self._cache["names"] = np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)
        names: Ids = self._cache["names"]
        return names

    def without(self, ids: Ids) -> Lists:
        """The same with those of `ids` that it holds dead; itself where it holds none of them."""
        at = np.searchsorted(self.names, ids)
        held = (
            ids[(at < len(self.names)) & (self.names[np.minimum(at, len(self.names) - 1)] == ids)]
            if len(self)
            else ids[:0]
        )
        dead = np.union1d(self.dead, held)
        return self if len(dead) == len(self.dead) else Lists(self.index, dead, {"names": self.names})

    def search(self, vectors: Vectors, k: int, exclude: Ids, probes: int) -> tuple[Vectors, Ids]:
        selector = self._selector(exclude)
        wanted = _faiss().SearchParametersIVF(nprobe=probes, **({"sel": selector} if selector else {}))
        scores, ids = self.index.search(vectors, k, params=wanted)
        return scores, ids

    def _selector(self, exclude: Ids) -> Any:
        if len(exclude):
            return alive_selector(np.concatenate([self.dead, exclude]))
        if len(self.dead) and "selector" not in self._cache:
            self._cache["selector"] = alive_selector(self.dead)
        return self._cache.get("selector")


def alive_selector(dead: Ids) -> Any:
    """A FAISS selector of every id but these."""
    return _faiss().IDSelectorNot(_faiss().IDSelectorBatch(np.ascontiguousarray(dead)))


def entries(index: Any) -> Iterator[tuple[int, Ids, NDArray[np.uint8]]]:
    """(list number, ids, codes) of each inverted list that is not empty; views, valid while `index` is."""
    lists = index.invlists
    for number in range(index.nlist):
        size = lists.list_size(number)
        if size:
            ids = _faiss().rev_swig_ptr(lists.get_ids(number), size)
            codes = _faiss().rev_swig_ptr(lists.get_codes(number), size * index.code_size).reshape(size, -1)
            yield number, ids, codes


def untrained(quantizer: Any, lists: int) -> Any:
    """An empty IVF index with 8-bit codes, for inner products of unit vectors.

    The codes are of the rows themselves, not of their residuals: a row that lies far from all centroids, as later ones
    may, then loses nothing.
    """
    d = quantizer.d
    codes, metric = _faiss().ScalarQuantizer.QT_8bit_uniform, _faiss().METRIC_INNER_PRODUCT
    return _faiss().IndexIVFScalarQuantizer(quantizer, d, lists, codes, metric, False)


def trained(sample: Vectors, rows: int) -> Any:
    """An empty IVF index whose centroids are learnt from (n, d) `sample`, for `rows` rows."""
    lists = min(centroids_for(rows), len(sample))
    index = untrained(_faiss().IndexFlatIP(sample.shape[1]), lists)
    index.cp.niter = 8
    index.cp.min_points_per_centroid = 1  # a small sample is no fault, and FAISS would say so on stderr
    index.cp.max_points_per_centroid = 2 * POINTS_PER_CENTROID
    index.train(np.ascontiguousarray(sample))
    # The codes reach from -1 to 1, as far as any unit vector does, whatever the sample's ranges: of a later row that
    # lay outside them, scores would be too low by more than a second look at some candidates makes good.
    _faiss().copy_array_to_vector(np.array([-1, 2], np.float32), index.sq.trained)  # the least and the span
    return index


def like(index: Any) -> Any:
    """An empty IVF index with the centroids of another."""
    made = untrained(_faiss().clone_index(_faiss().downcast_index(index.quantizer)), index.nlist)
    made.sq = index.sq
    made.is_trained = True
    return made


def adder(index: Any) -> Callable[[Ids, Vectors], object]:
    """What puts many rows into an IVF index, each into the list of its nearest centroid.

    Of many centroids the nearest is found by a graph of them (HNSW), in half the time that comparing all takes; one
    row in 7,000 is put into the second nearest so.
    """
    if index.nlist < MANY_LISTS:
        return lambda ids, vectors: index.add_with_ids(vectors, ids)
    graph = _faiss().IndexHNSWFlat(index.d, 32, _faiss().METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = 100, 16
    graph.add(index.quantizer.reconstruct_n(0, index.nlist))

    def put(ids: Ids, vectors: Vectors) -> None:
        nearest = np.ascontiguousarray(graph.search(vectors, 1)[1])
        index.add_core(len(ids), *map(_faiss().swig_ptr, (vectors, ids, nearest)))

    return put


def merged(like_this: Any, parts: Iterable[Lists]) -> Any:
    """A new IVF index of all live rows of `parts`, which share centroids; codes are copied as is."""
    made = like(like_this)
    for part in parts:
        for number, ids, codes in entries(part.index):
            keep = ~np.isin(ids, part.dead, kind="sort") if len(part.dead) else slice(None)
            ids, codes = np.ascontiguousarray(ids[keep]), np.ascontiguousarray(codes[keep])
            if len(ids):
                made.invlists.add_entries(number, len(ids), _faiss().swig_ptr(ids), _faiss().swig_ptr(codes))
                made.ntotal += len(ids)
    return made


@dataclass(frozen=True)
class Fresh:
    """Rows compared one by one. `ids` and `vectors` have room beyond `used`: rows are appended without copying.

    A reader looks at the first `used` rows only, so appending does not disturb it; `alive` is copied at each change.
    """

    ids: Ids
    vectors: Vectors
    alive: NDArray[np.bool_]

    @property
    def used(self) -> int:
        return len(self.alive)

    def __len__(self) -> int:
        return int(np.count_nonzero(self.alive))

    @classmethod
    def empty(cls, dimension: int) -> Fresh:
        return cls(np.empty(0, np.int64), np.empty((0, dimension), np.float32), np.empty(0, np.bool_))

    def without(self, ids: Ids) -> Fresh:
        hit = np.isin(self.ids[: self.used], ids) & self.alive
        return replace(self, alive=self.alive & ~hit) if hit.any() else self

    def plus(self, ids: Ids, vectors: Vectors) -> Fresh:
        used, needed = self.used, self.used + len(ids)
        room_ids, room = self.ids, self.vectors
        if needed > len(room_ids):
            kept_ids, kept = self.rows()
            used, needed = len(kept_ids), len(kept_ids) + len(ids)
            room_ids = np.empty(max(2 * needed, 64), np.int64)
            room = np.empty((len(room_ids), vectors.shape[1]), np.float32)
            room_ids[:used], room[:used] = kept_ids, kept
            alive = np.ones(needed, np.bool_)
        else:
            alive = np.concatenate([self.alive, np.ones(len(ids), np.bool_)])
        room_ids[used:needed], room[used:needed] = ids, vectors
        return Fresh(room_ids, room, alive)

    def rows(self) -> tuple[Ids, Vectors]:
        return self.ids[: self.used][self.alive], self.vectors[: self.used][self.alive]

    def search(self, vectors: Vectors, k: int, exclude: Ids) -> tuple[Vectors, Ids]:
        keep = self.alive & ~np.isin(self.ids[: self.used], exclude) if len(exclude) else self.alive
        if self.used <= FEW:
            ids, rows = self.ids[: self.used], self.vectors[: self.used]
            return best(vectors @ (rows if keep.all() else rows[keep]).T, ids[keep], k)
        scores = np.empty((len(vectors), k), np.float32)
        at = np.empty((len(vectors), k), np.int64)
        bits = np.packbits(keep, bitorder="little")
        selector = None if keep.all() else _faiss().IDSelectorBitmap(self.used, _faiss().swig_ptr(bits))
        _faiss().knn_inner_product(
            *map(_faiss().swig_ptr, (vectors, self.vectors)),
            vectors.shape[1],
            len(vectors),
            self.used,
            k,
            *map(_faiss().swig_ptr, (scores, at)),
            selector,
        )
        return scores, np.where(at < 0, -1, self.ids[at])


@dataclass(frozen=True)
class Snapshot:
    """All that a search looks at."""

    fresh: Fresh
    middle: Lists | None = None
    base: Lists | None = None

    @property
    def lists(self) -> tuple[Lists, ...]:
        return tuple(part for part in (self.base, self.middle) if part is not None)

    def __len__(self) -> int:
        return len(self.fresh) + sum(map(len, self.lists))

    def without(self, ids: Ids) -> Snapshot:
        return Snapshot(
            self.fresh.without(ids),
            self.middle.without(ids) if self.middle else None,
            self.base.without(ids) if self.base else None,
        )


class Faiss:
    """Nearest rows by inner product; exact up to `threshold` rows, then approximate (recall@10 about 0.99).

    `threshold` and `fresh` count rows (None: THRESHOLD and FRESH). A query is answered on the thread that asks.
    """

    def __init__(self, dimension: int, *, threshold: int | None = None, fresh: int | None = None) -> None:
        self.dimension = dimension
        self.threshold = THRESHOLD if threshold is None else threshold
        self.fresh = FRESH if fresh is None else fresh
        self._learnt_for = 0
        self.learning_s = 0.0
        """Seconds spent on learning centroids, by `add` and `fill`."""
        self._filed: Any = None  # the FAISS index that a file holds
        self._now = Snapshot(Fresh.empty(dimension))
        self._changing = Lock()

    def __len__(self) -> int:
        return len(self._now)

    # --- changes, one at a time

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Put in rows; of an id given twice the last row counts."""
        ids, vectors = last_of_each(np.asarray(ids, np.int64), np.ascontiguousarray(vectors, np.float32))
        if not len(ids):
            return
        with self._changing:
            now = self._now.without(ids)
            room = self.threshold - len(now) if now.base is None else self.fresh - now.fresh.used
            if len(ids) <= room:
                self._now = replace(now, fresh=now.fresh.plus(ids, vectors))
            else:
                self._now = self._folded(now, ids, vectors)
                if self._loose(self._now) > max(self.threshold, len(self._now) // 4):
                    self._now = self._compacted(self._now)

    def remove(self, ids: Ids) -> None:
        with self._changing:
            self._now = self._now.without(np.asarray(ids, np.int64))

    def fill(self, sample: Vectors, rows: int, batches: Iterable[tuple[Ids, Vectors]]) -> None:
        """Replace all rows by those of `batches`, about `rows` in number, each id once.

        Where these are many, centroids are learnt from (n, dimension) `sample` first (see `sample_size`). Searches see
        the old rows until the last batch is in.
        """
        with self._changing:
            if rows <= self.threshold:
                fresh = Fresh.empty(self.dimension)
                for ids, vectors in batches:
                    fresh = fresh.plus(ids, vectors)
                self._now, self._learnt_for = Snapshot(fresh), 0
                return
            index = self._learn(sample, rows)
            put = adder(index)
            for ids, vectors in batches:
                put(np.ascontiguousarray(ids), np.ascontiguousarray(vectors))
            self._now = Snapshot(Fresh.empty(self.dimension), base=Lists(index))

    def sample_size(self, rows: int) -> int:
        """How many random rows `fill` learns from, where there will be `rows`; 0 where it learns nothing."""
        return 0 if rows <= self.threshold else min(rows, POINTS_PER_CENTROID * centroids_for(rows))

    def compact(self) -> None:
        """Merge all rows into the base and forget the removed ones. Nothing to do while small."""
        with self._changing:
            if self._now.base is not None:
                self._now = self._compacted(self._now)

    def _learn(self, sample: Vectors, rows: int) -> Any:
        began = perf_counter()
        index = trained(sample, rows)
        self.learning_s += perf_counter() - began
        self._learnt_for = rows
        return index

    def _folded(self, now: Snapshot, ids: Ids, vectors: Vectors) -> Snapshot:
        """The same rows and more, the fresh ones now in the middle (or in a first base, learnt from them)."""
        fresh_ids, fresh_vectors = now.fresh.rows()
        ids, vectors = np.concatenate([fresh_ids, ids]), np.concatenate([fresh_vectors, vectors])
        none = Fresh.empty(self.dimension)
        if now.base is None:
            chosen = np.random.default_rng(0).permutation(len(ids))[: self.sample_size(len(ids))]
            index = self._learn(vectors[chosen], len(ids))
            index.add_with_ids(vectors, ids)
            return Snapshot(none, base=Lists(index))
        index = merged(now.base.index, [now.middle] if now.middle else [])
        index.add_with_ids(vectors, ids)
        return Snapshot(none, Lists(index), now.base)

    def _compacted(self, now: Snapshot) -> Snapshot:
        if now.fresh.used:
            now = self._folded(now, *Fresh.empty(self.dimension).rows())
        if now.middle is None and now.base is not None and not len(now.base.dead):
            return now
        return Snapshot(now.fresh, base=Lists(merged(now.lists[0].index, now.lists)))

    # --- what its keeper asks

    @staticmethod
    def _loose(now: Snapshot) -> int:
        return now.fresh.used + (now.middle.index.ntotal if now.middle else 0) + (len(now.base.dead) if now.base else 0)

    @property
    def large(self) -> bool:
        """Whether there is a base, so that `write` has something to write."""
        return self._now.base is not None

    @property
    def loose(self) -> int:
        """Rows and tombstones that are not in the file which was read or written last."""
        now = self._now
        return self._loose(now) if now.base is not None and now.base.index is self._filed else len(now)

    @property
    def outgrown(self) -> bool:
        """Whether centroids were learnt for so few rows that `fill` would make searches faster."""
        return self.large and len(self) > GROWTH * self._learnt_for

    # --- files

    def write(self, write: Callable[[bytes], object]) -> dict[str, int]:
        """Hand the base, which must be compact, to `write` in pieces; the facts that `read` wants back.

        Raises whatever `write` raises.
        """
        base = self._now.base
        if base is None or self._loose(self._now):
            raise ValueError("compact() before write(), and nothing is written while small")
        failed: list[BaseException] = []

        def piece(data: bytes) -> int:
            try:
                write(data)
            except BaseException as error:  # FAISS would turn it into a RuntimeError without its type
                failed.append(error)
                return 0
            return len(data)

        try:
            _faiss().write_index(base.index, _faiss().PyCallbackIOWriter(piece, 1 << 20))
        except RuntimeError:
            if not failed:
                raise
        if failed:
            raise failed[0]
        return {"rows": len(base), "learnt_for": self._learnt_for}

    def read(self, path: Path, facts: dict[str, int]) -> None:
        """Take the base from a file that `write` made, memory mapped; its checksum is the caller's to verify.

        Raises IndexFileError where it is not such a file.
        """
        try:
            index = _faiss().read_index(str(path), _faiss().IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise IndexFileError(f"{path} is not readable as an index: {error}") from error
        sound = (
            isinstance(index, _faiss().IndexIVFScalarQuantizer) and index.metric_type == _faiss().METRIC_INNER_PRODUCT
        )
        if not sound or index.d != self.dimension or index.ntotal != facts.get("rows"):
            raise IndexFileError(f"{path} is an index, but not the one that its sidecar speaks of")
        with self._changing:
            self._learnt_for, self._filed = facts["learnt_for"], index
            self._now = Snapshot(Fresh.empty(self.dimension), base=Lists(index))

    # --- searches, any number at once

    def search(self, vectors: Vectors, k: int, exclude: Ids | None = None) -> tuple[Vectors, Ids]:
        """(q, k) scores and ids; where the lists visited held fewer than k, all lists are visited."""
        now = self._now
        vectors = np.ascontiguousarray(vectors, np.float32)
        exclude = np.empty(0, np.int64) if exclude is None else np.asarray(exclude, np.int64)
        scores, ids = self._search(now, vectors, k, exclude, every=False)
        if now.lists and (ids[:, -1:] < 0).any() and len(now) > int((ids >= 0).sum(1).min()):
            scores, ids = self._search(now, vectors, k, exclude, every=True)
        return scores, ids

    def _search(self, now: Snapshot, vectors: Vectors, k: int, exclude: Ids, *, every: bool) -> tuple[Vectors, Ids]:
        parts = [(np.full((len(vectors), k), -np.inf, np.float32), np.full((len(vectors), k), -1, np.int64))]
        if now.fresh.used:
            parts.append(now.fresh.search(vectors, k, exclude))
        for part in now.lists:
            probes = part.index.nlist if every else probes_for(len(now), part.index.nlist)
            parts.append(part.search(vectors, k, exclude, probes))
        scores, ids = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
        scores[ids < 0] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
