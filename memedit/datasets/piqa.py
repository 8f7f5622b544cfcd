"""PIQA: physical common sense, two solutions of which one works. No edits: did other abilities survive them?

`choices` reads it; `memedit.datasets.read` refuses, since there is nothing to write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from memedit.datasets._form import File, Record, Source, given
from memedit.datasets._rows import numbered
from memedit.edits import Draft
from memedit.errors import InputError, NotFoundError

SOURCE = Source(
    paper="Bisk et al. 2020, PIQA: Reasoning about Physical Commonsense in Natural Language, arXiv:1911.11641",
    page="https://yonatanbisk.com/piqa",
    licence="AFL-3.0",
    files={
        "valid": File(
            "https://yonatanbisk.com/piqa/data/valid.jsonl",
            "93503cc97c679e459b065c3d13e848282e44b2a25213985bed3e5d458abef72d",
        ),
        "train": File("https://yonatanbisk.com/piqa/data/train.jsonl"),
    },
)

FILES = {
    "valid": ("piqa/valid.jsonl", "piqa/dev.jsonl"),
    "train": ("piqa/train.jsonl",),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A goal, two ways to it, and which of them works: 0 or 1."""

    id: str
    goal: str
    solutions: tuple[str, str]
    right: int


def matches(row: Record) -> bool:
    return {"goal", "sol1", "sol2"} <= row.keys()


def drafts(row: Record) -> list[Draft]:
    raise InputError("PIQA holds questions of common sense and no facts to write")


def choice(row: Record, number: int) -> Choice:
    """The record as a choice. Raises InputError where a text is empty or the label is neither 0 nor 1."""
    goal, solutions = row["goal"].strip(), (row["sol1"].strip(), row["sol2"].strip())
    if not (goal and all(solutions)):
        raise InputError("a goal or solution is empty")
    if row["label"] not in (0, 1):
        raise InputError(f"its label is {row['label']!r}, neither 0 nor 1")
    id_ = given(row, "id")
    return Choice(str(number if id_ is None else id_), goal, solutions, row["label"])


def rows(path: Path) -> Iterator[tuple[int, object]]:
    """The records of a file, each with its label from `NAME-labels.lst` beside it where it has none itself.

    Raises NotFoundError where neither has labels, InputError where there are not as many as records.
    """
    found = list(numbered(path))
    if any(isinstance(row, dict) and "label" not in row for _, row in found):
        beside = path.with_name(f"{path.stem}-labels.lst")
        if not beside.is_file():
            raise NotFoundError(f"the labels of {path} are missing: put {beside.name} beside it, from {SOURCE.page}")
        labels = beside.read_text(encoding="utf-8").split()
        if len(labels) != len(found):
            raise InputError(f"{beside} has {len(labels)} labels, but {path.name} has {len(found)} records")
        for (_, row), label in zip(found, labels, strict=True):
            if isinstance(row, dict):
                row.setdefault("label", int(label) if label.isdigit() else label)
    yield from found


def choices(folder: Path | None = None, cases: int | None = None, *, part: str = "valid") -> Iterator[Choice]:
    """The first `cases` choices (None: all); records that are none are passed over.

    Raises NotFoundError, naming the files looked for, where the file is missing.
    """
    from memedit.datasets import scan  # which reads this folder's files

    found = (entry.item for entry in scan(f"piqa:{part}", folder) if isinstance(entry.item, Choice))
    return islice(found, cases)
