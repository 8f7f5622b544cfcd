"""What benchmarks ask: edits with questions that they answer and questions that no loaded edit answers.

Read from a folder laid out as the project's data (`counterfact/edit.json`, `questions/nq_open_dev.jsonl`, …); parts
that are missing are left out. Which negatives count is decided here, once: one that names the subject of a loaded edit
is dropped and counted, since a gate may fire on it by right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memedit.datasets import reader
from memedit.edits import Draft
from memedit.encoders import Encoder
from memedit.errors import InputError, NotFoundError


@dataclass(frozen=True)
class Probe:
    """Edits to load, and what to ask; `positives[kind]` are pairs of a question and its edit's number in `edits`."""

    dataset: str
    edits: tuple[Draft, ...]
    positives: Mapping[str, Sequence[tuple[str, int]]]
    negatives: Mapping[str, Sequence[str]]
    """Per kind; the first `own[kind]` of them belong to the loaded edits, the rest to records that are not loaded."""
    own: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Negatives per kind that a loaded edit answers, or may."""


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


def counterfact(folder: Path, edits: int, negatives: int = 10_000) -> Probe:
    """CounterFact with the first `edits` records in memory, one per subject.

    Positives are the prompts and the paraphrases. Negatives of kind "neighbour" are the loaded records' neighbours and,
    up to `negatives`, prompts and neighbours of records that are not loaded; "general" are NQ-open's questions.
    """
    rows = counterfact_rows(folder)
    loaded: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    subjects: set[str] = set()
    for row in rows:
        if len(loaded) < edits and row["subject"] not in subjects:
            subjects.add(row["subject"])
            loaded.append(row)
        else:
            rest.append(row)
    named = names(subjects)
    own = [row["locality_prompt"] for row in loaded]
    other = [row[key] for row in rest for key in ("locality_prompt", "prompt")]
    kept = [text for text in own if not named(text)]
    more = [text for text in dict.fromkeys(other) if not named(text)][: max(0, negatives - len(kept))]
    found = {"neighbour": [*kept, *more]}
    dropped = {"neighbour": len(own) - len(kept)}
    if questions := nq_questions(folder):
        general = [text for text in questions if not named(text)]
        found["general"] = general[:negatives]
        dropped["general"] = len(questions) - len(general)
    return Probe(
        dataset="counterfact",
        edits=tuple(map(counterfact_draft, loaded)),
        positives={
            "prompt": [(row["prompt"], number) for number, row in enumerate(loaded)],
            "paraphrase": [(row["rephrase_prompt"], number) for number, row in enumerate(loaded)],
        },
        negatives=found,
        own={"neighbour": len(kept), "general": len(found.get("general", ()))},
        dropped=dropped,
    )


def nq_questions(folder: Path) -> list[str]:
    """NQ-open's development questions, none where the file is missing."""
    path = folder / "questions" / "nq_open_dev.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line)["question"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


class names:  # noqa: N801 - read as a function: `named = names(subjects); named(text)`
    """Whether a text names one of some subjects: as whole words, whatever the case and punctuation."""

    def __init__(self, subjects: Iterable[str]) -> None:
        self._subjects = {tuple(_words(subject)) for subject in subjects} - {()}
        self._lengths = sorted({len(subject) for subject in self._subjects})

    def __call__(self, text: str) -> bool:
        words = _words(text)
        return any(
            tuple(words[at : at + length]) in self._subjects
            for length in self._lengths
            for at in range(len(words) - length + 1)
        )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


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

    def prepare(self, texts: Iterable[str], batch: int = 256) -> None:
        """Encode what is new among `texts`; the longest first, so that batches hold texts of one length."""
        new = sorted(set(texts) - self._known.keys(), key=lambda text: (-len(text), text))
        for at in range(0, len(new), batch):
            part = new[at : at + batch]
            self._known.update(zip(part, self.encoder.encode(part), strict=True))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if texts and all(text in self._known for text in texts):
            return np.stack([self._known[text] for text in texts])
        return self.encoder.encode(texts)

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """While this lasts every text is encoded anew: for taking times."""
        known, self._known = self._known, {}
        try:
            yield
        finally:
            self._known = known
