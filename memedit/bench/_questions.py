"""What benches share: CounterFact's records, ordinary questions, who is named in a text, texts encoded beforehand.

Read from a folder laid out as the project's data (`counterfact/edit.json`, `questions/nq_open_dev.jsonl`, …); ordinary
questions whose file is missing are none. What the bench of scopes asks of each dataset is in `_records.py`, which of
it counts in `_probes.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memedit.datasets import reader
from memedit.edits import Draft
from memedit.encoders import Encoder
from memedit.errors import InputError, NotFoundError
from memedit.parsing import parse
from memedit.relations import relations


def counterfact_rows(folder: Path) -> list[dict[str, Any]]:
    """The records of `counterfact/edit.json`, flat form. Raises NotFoundError or InputError."""
    path = folder / "counterfact" / "edit.json"
    if not path.is_file():
        raise NotFoundError(f"there is no {path}; give the folder of datasets with --data or MEMEDIT_DATA")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            row["prompt"], row["target_new"], row["subject"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no CounterFact file in flat form: {error}") from error
    return list(rows)


def counterfact_draft(row: Mapping[str, Any]) -> Draft:
    """The edit of a record, as an import reads it."""
    return reader("counterfact").drafts(row)[0]


def nq_questions(folder: Path) -> list[str]:
    """NQ-open's development questions, none where the file is missing."""
    path = folder / "questions" / "nq_open_dev.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line)["question"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def webquestions(folder: Path) -> list[str]:
    """WebQuestions' training questions, none where the file is missing."""
    path = folder / "questions" / "webquestions_train.json"
    if not path.is_file():
        return []
    return [row["qText"] for row in json.loads(path.read_text(encoding="utf-8"))]


def simplequestions(folder: Path) -> list[str]:
    """SimpleQuestions' questions, none where the file is missing; its answers are numbers of Wikidata."""
    path = folder / "questions" / "simplequestions_wikidata_train.txt"
    if not path.is_file():
        return []
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [row[3] for row in rows if len(row) == 4]


class names:  # noqa: N801 - read as a function: `named = names(subjects); named(text)`
    """Whether a text names one of some subjects: as whole words, whatever the case and punctuation."""

    def __init__(self, subjects: Iterable[str]) -> None:
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        for subject in {words(subject) for subject in subjects} - {()}:
            self._by_first.setdefault(subject[0], []).append(subject)

    def __call__(self, text: str) -> bool:
        return bool(self.found(text))

    def found(self, text: str) -> set[tuple[str, ...]]:
        """The subjects that are named, as their words (see `words`)."""
        said = words(text)
        return {
            subject
            for at, word in enumerate(said)
            for subject in self._by_first.get(word, ())
            if said[at : at + len(subject)] == subject
        }


def mutual(drafts: Iterable[Draft]) -> set[str]:
    """The targets of edits that say as much of them as of their subject: a twin city's twin, a spouse's spouse."""
    known = relations()
    found = set()
    for draft in drafts:
        read = parse(draft.statement, subject=draft.subject, relation=draft.relation, target=draft.target)
        relation = known.get(read.relation or "")
        if relation is not None and relation.inverse == relation.name and read.target:
            found.add(read.target)
    return found


def words(text: str) -> tuple[str, ...]:
    """The words of a text in folded case, without punctuation."""
    return tuple(re.findall(r"\w+", text.casefold()))


MOST_KNOWN = 300_000
"""Texts whose vectors are kept unasked: half a gigabyte at 384 numbers each."""


class Prepared:
    """An encoder that has encoded many texts beforehand, in batches, and answers those from memory.

    For measuring quality only: one by one the same questions would take many times as long. Same identity, same
    vectors.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.identity = encoder.identity
        self.dimension = encoder.dimension
        self._known: dict[str, NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:
        # what an encoder has beyond the seam (`readable`, `folder`), and a scope may look for
        if name == "encoder":  # not there yet: a copy or an unpickled object is being made
            raise AttributeError(name)
        return getattr(self.encoder, name)

    def prepare(self, texts: Iterable[str], batch: int = 256) -> None:
        """Encode what is new among `texts`; the longest first, so that batches hold texts of one length."""
        new = sorted(set(texts) - self._known.keys(), key=lambda text: (-len(text), text))
        for at in range(0, len(new), batch):
            part = new[at : at + batch]
            self._known.update(zip(part, self.encoder.encode(part), strict=True))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        made = dict(zip(new, self.encoder.encode(new), strict=True)) if new else {}
        if len(new) > 1 and len(self._known) + len(new) <= MOST_KNOWN:  # the same edits fill many memories
            self._known.update(made)
        if not texts:
            return self.encoder.encode(texts)
        return np.stack([made[text] if text in made else self._known[text] for text in texts])

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """While this lasts every text is encoded anew: for taking times."""
        known, self._known = self._known, {}
        try:
            yield
        finally:
            self._known = known
