"""Every row compared with every query, in numpy: the reference that the other stores are tested against.

Slow above some ten thousand rows, and never wrong. It shows what the seam asks for, with nothing in the way: a change
makes new arrays and swaps them in with one assignment, so that a search which has begun sees the old ones to its end.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from memedit.stores import Ids, Vectors


class Exact:
    """Exact search over float32 rows; time and memory grow with rows x dimension."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._rows: tuple[Ids, Vectors] = (np.empty(0, np.int64), np.empty((0, dimension), np.float32))
        self._changing = Lock()

    def __len__(self) -> int:
        return len(self._rows[0])

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Put in rows; of an id given twice the last row counts."""
        ids, vectors = last_of_each(np.asarray(ids, np.int64), np.asarray(vectors, np.float32))
        with self._changing:
            old_ids, old_vectors = self._rows
            keep = ~np.isin(old_ids, ids)
            self._rows = (np.concatenate([old_ids[keep], ids]), np.concatenate([old_vectors[keep], vectors]))

    def remove(self, ids: Ids) -> None:
        with self._changing:
            old_ids, old_vectors = self._rows
            keep = ~np.isin(old_ids, ids)
            self._rows = (old_ids[keep], old_vectors[keep])

    def search(self, vectors: Vectors, k: int, exclude: Ids | None = None) -> tuple[Vectors, Ids]:
        ids, rows = self._rows
        if exclude is not None and len(exclude):
            keep = ~np.isin(ids, exclude)
            ids, rows = ids[keep], rows[keep]
        return best(np.asarray(vectors, np.float32) @ rows.T, ids, k)


def last_of_each(ids: Ids, vectors: Vectors) -> tuple[Ids, Vectors]:
    """(n,) ids and (n, d) vectors with only the last row of each id kept, in the given order."""
    _, from_the_end = np.unique(ids[::-1], return_index=True)
    if len(from_the_end) == len(ids):
        return ids, vectors
    keep = np.sort(len(ids) - 1 - from_the_end)
    return ids[keep], vectors[keep]


def best(scores: Vectors, ids: Ids, k: int) -> tuple[Vectors, Ids]:
    """(q, n) scores of n rows -> (q, k) scores, falling, and ids; padded with -inf and -1."""
    found = min(k, len(ids))
    top = np.full((len(scores), k), -np.inf, np.float32)
    names = np.full((len(scores), k), -1, np.int64)
    if found:
        columns = np.argpartition(-scores, found - 1, axis=1)[:, :found]
        columns = np.take_along_axis(columns, np.argsort(-np.take_along_axis(scores, columns, 1), axis=1), 1)
        top[:, :found] = np.take_along_axis(scores, columns, 1)
        names[:, :found] = ids[columns]
    return top, names
