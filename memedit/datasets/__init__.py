"""Datasets of edits, read as they are published. One file each; two pure functions over one record of the file.

`drafts(row)` gives the facts that a record asks to be written, `matches(row)` tells the record's form from that of the
other datasets.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast

from memedit.edits import Draft
from memedit.registry import Registry

datasets = Registry(__name__, "dataset", attribute="drafts")

Record = Mapping[str, Any]


class Reader(Protocol):
    """The seam: what each file holds."""

    def matches(self, row: Record) -> bool:
        """Whether the record is of this dataset's form."""
        ...

    def drafts(self, row: Record) -> list[Draft]:
        """The facts to be written. Raises KeyError, TypeError or InputError for a record that lacks what it needs."""
        ...


def reader(name: str) -> Reader:
    """The dataset named so. Raises NotFoundError, naming what there is, for an unknown name."""
    return cast(Reader, import_module(datasets.get(name).__module__))
