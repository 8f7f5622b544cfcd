"""Edits that nobody asks about, to fill a memory to a size: the chances of a false match grow with them.

First the real ones of all datasets in the folder (CounterFact's, single-hop facts, zsRE, …), then their subjects in
other relations' wordings with other targets, then made-up names in the wordings of relations.json, of which there is no
end. An edit whose subject any of the questions names is passed over. The order is the same always.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from itertools import count as numbers
from pathlib import Path
from random import Random

from memedit.bench._questions import names, words
from memedit.bench._records import DATASETS, load
from memedit.datasets import reader
from memedit.edits import Draft
from memedit.errors import NotFoundError
from memedit.parsing import parse
from memedit.relations import fill, relations

SEED = 31


class Fillers:
    """The edits of a folder that may fill a memory; read when first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def real(self) -> tuple[Draft, ...]:
        """The edits of every dataset in the folder, with a subject each, in a fixed order."""
        drafts: list[Draft] = []
        try:
            for dataset in load(self.folder, [name for name in DATASETS if name not in ("nq", "webquestions")]):
                drafts += [record.edit for record in dataset.records]
        except NotFoundError:
            return ()
        for path in (self.folder / "counterfact" / "train.json", self.folder / "mquake" / "single_hop_facts.json"):
            if path.is_file():
                read = reader("counterfact" if path.name == "train.json" else "mquake").drafts
                drafts += [draft for row in json.loads(path.read_text(encoding="utf-8")) for draft in read(row)]
        return tuple(draft for draft in drafts if draft.subject and words(draft.subject))

    def take(self, wanted: int, texts: Iterable[str], taken: Iterable[str]) -> list[Draft]:
        """`wanted` edits, of whose subjects none is named in `texts`, or in `taken`, which are loaded."""
        if wanted <= 0:
            return []
        named = names(draft.subject or "" for draft in self.real)
        asked = {subject for text in texts for subject in named.found(text)}
        asked |= {words(subject) for subject in taken}
        free = [draft for draft in self.real if words(draft.subject or "") not in asked]
        once = {words(draft.subject or ""): draft for draft in reversed(free)}
        found = list(reversed(once.values()))[:wanted]
        said = {draft.statement for draft in found}
        for draft in chain(_recombined(free, 4 * wanted), _made_up()):
            if len(found) == wanted:
                break
            if draft.statement not in said:
                said.add(draft.statement)
                found.append(draft)
        return found


def _recombined(real: Sequence[Draft], most: int) -> Iterator[Draft]:
    """At most `most`: known subjects in other relations of their kind, with targets that the relation has elsewhere."""
    random = Random(SEED)
    kinds: dict[str, list[str]] = {}
    targets: dict[str, list[str]] = {}
    had: set[tuple[str, str]] = set()
    for draft in real:
        read = parse(draft.statement, subject=draft.subject, target=draft.target, prompt=draft.prompt)
        relation = relations().get(read.relation or "")
        if relation is not None and draft.subject and draft.target:
            kinds.setdefault(relation.subject_type, []).append(draft.subject)
            targets.setdefault(relation.target_type, []).append(draft.target)
            had.add((draft.subject, relation.name))
    fitting = [one for one in relations().values() if one.subject_type in kinds and one.target_type in targets]
    for _ in range(most if fitting else 0):
        relation = random.choice(fitting)
        subject, target = random.choice(kinds[relation.subject_type]), random.choice(targets[relation.target_type])
        if (subject, relation.name) not in had:
            had.add((subject, relation.name))
            yield _draft(random.choice(relation.statements), relation.name, subject, target)


def _made_up() -> Iterator[Draft]:
    from memedit.bench.store import name

    random = Random(SEED)
    known = list(relations().values())
    for number in numbers():
        relation = random.choice(known)
        # an odd factor walks through all names without meeting one twice
        subject, target = name(number * 40_503 % (1 << 24)), name((number * 7 + 1) * 40_503 % (1 << 24))
        yield _draft(random.choice(relation.statements), relation.name, subject, target)


def _draft(wording: str, relation: str, subject: str, target: str) -> Draft:
    return Draft(statement=fill(wording, subject, target), subject=subject, relation=relation, target=target)
