"""Stores: nearest unit vectors by id, for one namespace. One file each; `exact` is the reference for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class Persistent(Store, Protocol):
    """What a store has besides where it can be kept in a file, and grow to millions of rows."""

    @property
    def large(self) -> bool:
        """Whether there is something to write; while small, reading the vectors anew is as fast. Scores may then be
        a little off."""
        ...

    @property
    def loose(self) -> int:
        """Changes, in rows, that the file which was read last lacks."""
        ...

    @property
    def outgrown(self) -> bool:
        """Whether searches would be faster after `fill`."""
        ...

    def sample_size(self, rows: int) -> int:
        """How many random rows `fill` wants to learn from, where there will be `rows`."""
        ...

    def fill(self, sample: Vectors, rows: int, batches: Iterable[tuple[Ids, Vectors]]) -> None:
        """Replace all rows by those of `batches`, about `rows` in number, each id once."""
        ...

    def compact(self) -> None:
        """Bring all rows into the form that is written."""
        ...

    def write(self, write: Callable[[bytes], object]) -> dict[str, int]:
        """Hand all to `write` in pieces; the facts that `read` wants back. Raises whatever `write` raises."""
        ...

    def read(self, path: Path, facts: dict[str, int]) -> None:
        """Take all from a file that `write` made, verified by the caller. Raises IndexFileError where it is not one."""
        ...
