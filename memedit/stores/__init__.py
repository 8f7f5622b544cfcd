"""Stores: nearest unit vectors by id, for one namespace. One file each; `exact` is the reference for all."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memedit.registry import Registry

stores = Registry(__name__, "store")

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]


class Store(Protocol):
    """The seam. Several rows may lead to one edit: a row's id is `edit seq << 8 | key number`.

    A store is one namespace's: nothing of another namespace is ever in it. It holds derived data only; whoever keeps
    it (memedit.index) rebuilds it from the journal when it is lost. Searches may run at once with each other and with
    one change; a search sees the state before or after a change, never a mixture.
    """

    def __init__(self, dimension: int) -> None: ...

    def __len__(self) -> int:
        """Rows that can be found."""
        ...

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Put in (n,) ids with (n, dimension) unit vectors. An id that is there already is replaced."""
        ...

    def remove(self, ids: Ids) -> None:
        """Take out rows by id; ids that are not there are ignored."""
        ...

    def search(self, vectors: Vectors, k: int, exclude: Ids | None = None) -> tuple[Vectors, Ids]:
        """(q, k) inner products, falling, and (q, k) ids; -inf and -1 where fewer than k rows are there.

        Rows in `exclude` are left out before the search, so that they never crowd others out.
        """
        ...
