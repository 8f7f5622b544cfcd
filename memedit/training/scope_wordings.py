"""How far the wordings of `relations.json` tell what is asked: counts over the questions that trained the gate.

    python -m memedit.training.scope_wordings --data DIR

Prints JSON, a dataset a key: of its prompts and rephrasings, which fall under their edit, and of its questions about
something else of the subject ("same-subject"), how many the words tell to ask the edit's relation ("same"), another
("other"), or neither ("untold"). Subjects that the gate is measured on are not looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from memedit.bench._probes import _Rules
from memedit.bench._records import Record, load
from memedit.memory import EditMemory
from memedit.scope._relation import agreement, asked_of, own_names, said_by
from memedit.training.scope_asked import DATASETS, trained_on

IN_SCOPE, BESIDE = ("prompt", "paraphrase"), "same-subject"
TOLD = {True: "same", False: "other", None: "untold"}

Counts = dict[str, dict[str, int]]


def counted(data: Path) -> dict[str, Counts]:
    """Dataset -> kind of question -> "same", "other" or "untold" -> how many. Raises NotFoundError."""
    found: dict[str, Counts] = {}
    for dataset in load(data, DATASETS):
        records = [record for record in dataset.records if trained_on(record.subject)]
        tally: dict[str, Counter[str]] = {kind: Counter() for kind in (*IN_SCOPE, BESIDE)}
        with tempfile.TemporaryDirectory() as folder, EditMemory.open(folder, encoder="letters") as memory:
            ids = memory.add_many([record.edit for record in records])
            for record, id_ in zip(records, ids, strict=True):
                edit = memory.get(id_)
                for kind, text in _asked(record):
                    tally[kind][TOLD[agreement(asked_of(text, own_names(edit)), said_by(edit))]] += 1
        found[dataset.name] = {kind: {told: counts[told] for told in TOLD.values()} for kind, counts in tally.items()}
    return found


def _asked(record: Record) -> Iterator[tuple[str, str]]:
    rules = _Rules([record], alone=True)
    for kind in IN_SCOPE:
        yield from ((kind, text) for text in record.asked.get(kind, ()))
    yield from ((BESIDE, one.text) for one in record.beside.get(BESIDE, ()) if not rules.answers(one, 0, BESIDE))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(prog="python -m memedit.training.scope_wordings", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("MEMEDIT_DATA"), help="folder of datasets")
    given = parser.parse_args(argv)
    if given.data is None:
        parser.error("--data (or MEMEDIT_DATA) must name the folder of the datasets")
    print(json.dumps(counted(Path(given.data)), indent=1))


if __name__ == "__main__":
    main()
