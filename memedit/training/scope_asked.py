"""Training facts from the datasets that the gate is also measured on: those subjects' that a hash gives to training.

`scope_text.py` beside it writes questions from wordings of ours; here people (and models) have written them: rephrased,
with yes or no, about an alias, asked backwards, in several hops, and about other relations of the same subject. Of
HalluEditBench, zsRE and KnowEdit six tenths of the subjects are trained on, one tenth is kept for calibration and three
tenths for measuring (`memedit bench scope --untrained`); a subject that CounterFact's evaluation file asks about is
never taken.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from memedit.bench import _talk as talk
from memedit.bench._probes import _Rules
from memedit.bench._records import Dataset, Record, load, says
from memedit.training.pocket_text import slot_name

DATASETS = ("hallueditbench", "zsre", "knowedit-zsre", "knowedit-wiki")
TRAINED, CALIBRATED = 0.6, 0.7
"""Subjects below the first share are trained on, between the two they calibrate, above they are measured on."""


def share_of(name: str) -> float:
    """Where a name lies in [0, 1): by a hash of it as `slot_name` writes it, the same everywhere and always."""
    return int(hashlib.sha256(f"asked|{slot_name(name)}".encode()).hexdigest()[:8], 16) / 0x1_0000_0000


def trained_on(subject: str) -> bool:
    """Whether a subject of these datasets is given to training or to calibration."""
    return share_of(subject) < CALIBRATED


@dataclass(frozen=True)
class AskedFact:
    """A record as training takes it; `kind` is the subject's (person, place, thing)."""

    record: Record
    kind: str
    same_subject: tuple[str, ...]
    several: tuple[str, ...]


def read(data: Path, *, held_out: bool = False, never: Iterable[str] = ()) -> list[AskedFact]:
    """The share for training, or the one for calibration; without the subjects `never` (as `slot_name` writes them)."""
    low, high = (TRAINED, CALIBRATED) if held_out else (0.0, TRAINED)
    barred = set(never)

    def wanted(subject: str) -> bool:
        return low <= share_of(subject) < high and slot_name(subject) not in barred

    found = [fact for dataset in load(data, DATASETS) for fact in _facts(dataset, wanted)]
    # One fact may stand in two of the files.
    return list({(slot_name(f.record.subject), f.record.edit.statement): f for f in found}.values())


def _facts(dataset: Dataset, wanted: Callable[[str], bool]) -> list[AskedFact]:
    hops: dict[int, list[str]] = {}
    for text, needed in dataset.hops:
        for number in needed:
            hops.setdefault(number, []).append(text)
    made = []
    for number, record in enumerate(dataset.records):
        if not wanted(record.subject):
            continue
        rules = _Rules([record], True)
        beside = [
            one.text for one in record.beside.get("same-subject", ()) if not rules.answers(one, 0, "same-subject")
        ]
        made.append(AskedFact(record, talk.kind(record), tuple(beside), tuple(hops.get(number, ()))))
    return made


def frame(text: str, subject: str) -> str | None:
    """The text with {subject} in the subject's place; None where it does not stand there just once."""
    pattern = rf"(?<!\w){re.escape(subject)}(?!\w)"
    if len(re.findall(pattern, text)) != 1 or "{" in text:
        return None
    return re.sub(pattern, "{subject}", text)


def declared(question: str, subject: str, target: str) -> str | None:
    """ "The significant event of S is T" from "What is the significant event of S?"; None for other questions."""
    found = re.fullmatch(rf"(?:What|Who|Which) (is|was|are) (the [^?]+ (?:of|for) {re.escape(subject)})\?", question)
    if found is None or says(question, target):
        return None
    return f"{found[2][:1].upper()}{found[2][1:]} {found[1]} {target}"


def untrained(dataset: Dataset, data: Path) -> Dataset:
    """The dataset with questions of those records and cases alone that neither trained nor calibrated the gate.

    All records stay, so that a memory holds as many edits as ever.
    """
    from memedit.training.scope_text import mquake_trains, pokemqa_trains

    taken = {"pokemqa": pokemqa_trains, **dict.fromkeys(DATASETS, trained_on)}.get(dataset.name, lambda _: False)
    barred = {number for number, record in enumerate(dataset.records) if taken(record.subject)}
    records = tuple(
        replace(record, asked={}, beside={}) if number in barred else record
        for number, record in enumerate(dataset.records)
    )
    seen = set(mquake_trains(data)) if dataset.name == "mquake" else set()
    hops = tuple((text, needed) for text, needed in dataset.hops if text not in seen and not barred & set(needed))
    return replace(dataset, records=records, hops=hops)
