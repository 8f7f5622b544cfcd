"""What is asked of a memory that holds some edits of a dataset: questions that these answer, and such that none does.

Which negatives count is decided here, once. One that a loaded edit answers, or may, is dropped and counted, since a
gate fires on it by right:

- it names the subject of a loaded edit (of another one, where the question is about its own record's subject);
- it is about its own record's subject and has the same answer as the edit, before or after ("Blue Note" is Blue Note
  Records), or the same words as a question that the edit answers: it asks the edited relation itself;
- it names the target and not the subject: it asks the edit backwards. Of a neighbour that is so where the relation is
  its own inverse, as with twin cities.

One edit is loaded per subject. Questions of records that are not loaded serve as further negatives for small rates.
All choices are made from one seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from memedit.bench import _talk as talk
from memedit.bench._fillers import Fillers
from memedit.bench._questions import mutual, names, words
from memedit.bench._records import Beside, Dataset, Record, agree, says
from memedit.edits import Draft, Message
from memedit.parsing import normalise

SEED = 7
Text = str | tuple[Message, ...]
"""A question, or a conversation that ends in one."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the numbers (in `Probe.edits`) of the edits that it belongs to.

    Of a positive these are the right answers, any of which will do; of a negative the edit beside which it stands, none
    where it stands beside none.
    """

    text: Text
    edits: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Probe:
    """Edits to load, and what to ask; of `edits` the first `own_edits` are the dataset's, the rest fill the memory."""

    dataset: str
    edits: tuple[Draft, ...]
    own_edits: int
    positives: Mapping[str, Sequence[Question]]
    negatives: Mapping[str, Sequence[Question]]
    """Per kind; the first `own[kind]` of them are those that figures at 1 % are taken of, all serve at 0.1 %."""
    own: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Negatives per kind that a loaded edit answers, or may."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Questions of the whole dataset per kind that do not ask what the kind says."""


def messages(text: Text) -> tuple[Message, ...]:
    """The conversation that a scope is asked about."""
    return (Message("user", text),) if isinstance(text, str) else text


def plain(text: Text) -> str:
    """All that is said, in one string."""
    return text if isinstance(text, str) else "\n".join(message.content for message in text)


def probe(
    dataset: Dataset,
    fillers: Fillers,
    *,
    edits: int,
    limit: int = 2_000,
    sample: int = 2_000,
    negatives: int = 10_000,
    alone: bool = False,
    start: int = 0,
) -> Probe:
    """What to ask of a memory of `edits` edits, at most `limit` of them the dataset's, the rest fillers.

    Of each kind at most `sample` questions are asked, for 0.1 % at most `negatives`. With `alone`, each edit will stand
    alone in its memory: nothing is filled, and a negative is dropped only for its own edit's sake. The first `start` of
    the dataset's edits are passed over.
    """
    loaded, numbers = _loaded(dataset.records, min(edits, limit), start)
    rules = _Rules(loaded, alone)
    positives = _positives(dataset, loaded, numbers)
    found: dict[str, list[Question]] = {}
    dropped: Counter[str] = Counter()
    for number, record in enumerate(loaded):
        for kind, given in record.beside.items():
            kept = [Question(one.text, frozenset([number])) for one in given if not rules.answers(one, number, kind)]
            found.setdefault(kind, []).extend(kept)
            dropped[kind] += len(given) - len(kept)
    general = [Question(text) for text in dataset.general if not rules.named(text)]
    if general:
        found.setdefault("general", []).extend(general)
        dropped["general"] += len(dataset.general) - len(general)
    # An unloaded record's questions stand beside the loaded edits of its relation.
    further = [text for text in _further(dataset, set(numbers)) if not rules.bears_on(text)]
    if len(further) >= 100 and "neighbour" not in found:  # so many show a rate of 1 %
        found["neighbour"] = [Question(text) for text in _sample(further, sample, f"{start} further")]
        dropped["neighbour"] += 0
    if dataset.talk:
        _add_talk(loaded, positives, found, dropped, sample)
    # Ordinary questions alone: all of them are asked.
    most = negatives if dataset.general and not any(record.asked for record in dataset.records) else sample
    own = {kind: _sample(asked, most, f"{start} own {kind}") for kind, asked in found.items() if asked or dropped[kind]}
    wide = {kind: list(asked) for kind, asked in own.items()}
    if not alone:
        more = {
            "neighbour": [Question(text) for text in further],
            "general": [*found.get("general", ()), *map(Question, dataset.more_general)],
        }
        for kind, asked in more.items():
            if kind in wide and (kind != "general" or dataset.more_general):
                there = {question.text for question in wide[kind]}
                fresh = [one for one in asked if one.text not in there and not rules.named(plain(one.text))]
                wide[kind] += _sample(fresh, max(0, negatives - len(wide[kind])), f"{start} more {kind}")
    asked_of = {kind: _sample(asked, sample, f"{start} query {kind}") for kind, asked in positives.items() if asked}
    texts = [plain(one.text) for part in (asked_of, wide) for asked in part.values() for one in asked]
    rest = 0 if alone else edits - len(loaded)
    taken = [record.subject for record in loaded]
    return Probe(
        dataset=dataset.name,
        edits=(*(record.edit for record in loaded), *fillers.take(rest, texts, taken)),
        own_edits=len(loaded),
        positives=asked_of,
        negatives=wide,
        own={kind: len(asked) for kind, asked in own.items()},
        dropped={kind: dropped[kind] for kind in wide},
        left_out=dataset.left_out,
    )


class _Rules:
    """Whether a loaded edit answers a question, or may."""

    def __init__(self, loaded: Sequence[Record], alone: bool) -> None:
        self._loaded = loaded
        self._alone = alone
        self._named = names(record.subject for record in loaded)
        self._mutual = names(() if alone else mutual(record.edit for record in loaded))

    def named(self, text: str) -> bool:
        """Whether an ordinary question names a loaded edit's subject."""
        return self._named(text)

    def bears_on(self, text: str) -> bool:
        """Whether a loaded edit may answer what another record asks."""
        return self._named(text) or self._mutual(text)

    def answers(self, one: Beside, number: int, kind: str) -> bool:
        """Whether a question beside the record of that number is answered by its edit or, if loaded too, another's."""
        record = self._loaded[number]
        own = words(record.subject)
        found = self._named.found(one.text)
        # Where "Taylor Swift" is named "Swift" is a part of it, and no other subject.
        others = set() if self._alone else {name for name in found if own not in found or not _within(name, own)}
        if others:
            return True
        if kind != "same-subject":
            return own in found or self._mutual(one.text)
        asked = {words(text) for texts in record.asked.values() for text in texts}
        backwards = not says(one.text, record.subject) and says(one.text, record.edit.target or "")
        return backwards or agree(one.answers, record.answers) or words(one.text) in asked


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))


def _loaded(records: Sequence[Record], most: int, start: int) -> tuple[list[Record], dict[int, int]]:
    """So many of different subjects, after the first `start`; and their numbers here, by those among all records."""
    loaded: list[Record] = []
    numbers: dict[int, int] = {}
    subjects: set[str] = set()
    for at, record in enumerate(records):
        subject = normalise(record.subject)
        if subject in subjects or len(loaded) == most:
            continue
        subjects.add(subject)
        if len(subjects) > start:
            numbers[at] = len(loaded)
            loaded.append(record)
    return loaded, numbers


def _positives(dataset: Dataset, loaded: Sequence[Record], numbers: Mapping[int, int]) -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = {}
    same: dict[str, set[int]] = {}
    for number, record in enumerate(loaded):
        if record.backwards:
            same.setdefault(record.backwards, set()).add(number)
    for number, record in enumerate(loaded):
        for kind, texts in record.asked.items():
            right = same.get(record.backwards, {number}) if kind == "reversed" else {number}
            found.setdefault(kind, []).extend(Question(text, frozenset(right)) for text in texts)
    hops = [
        Question(text, frozenset(numbers[at] for at in needed))
        for text, needed in dataset.hops
        if all(at in numbers for at in needed)
    ]
    return {**found, "multihop": hops} if hops else found


def _further(dataset: Dataset, loaded: set[int]) -> list[str]:
    """Questions of records that are not loaded, in the words of the loaded ones; none for data without neighbours."""
    subjects = {normalise(dataset.records[at].subject) for at in loaded}
    rest = [record for at, record in enumerate(dataset.records) if at not in loaded]
    near = [one.text for record in rest for one in record.beside.get("neighbour", ())]
    kinds = ("prompt",) if near else ("prompt", "paraphrase")
    others = [record for record in rest if normalise(record.subject) not in subjects]
    own = [text for record in others for kind in kinds for text in record.asked.get(kind, ())]
    mixed = [text for pair in zip(near, own, strict=False) for text in pair] if near else own
    return list(dict.fromkeys([*mixed, *near, *own, *dataset.spare]))


def _add_talk(
    loaded: Sequence[Record],
    positives: dict[str, list[Question]],
    found: dict[str, list[Question]],
    dropped: Counter[str],
    sample: int,
) -> None:
    """Follow-ups and long messages; their negatives are made of negatives that count."""
    random = Random(f"{SEED} talk")
    beside: dict[int, list[str]] = {}
    for kind in ("same-subject", "neighbour"):
        for one in found.get(kind, ()):
            for number in one.edits:
                beside.setdefault(number, []).append(plain(one.text))
    general = [plain(one.text) for one in found.get("general", ()) if not one.edits]
    chosen = _sample([(number, record) for number, record in enumerate(loaded) if record.asked], sample, "talk")
    made: dict[str, list[Question]] = {"follow_up": [], "long_message": []}
    wrong: dict[str, list[Question]] = {"follow_up": [], "long_message": []}
    for number, record in chosen:
        here = frozenset([number])
        another = loaded[random.randrange(len(loaded))]
        told = talk.told(another) if another is not record else random.choice(talk.BEFORE)
        own = talk.follow_up(record, number), talk.long_message(record, number, told)
        elsewhere = [text for text in beside.get(number, ()) if says(text, record.subject) and text.endswith("?")]
        besides = elsewhere[0] if elsewhere else talk.other(record, number)
        core = ([*beside.get(number, ())][:1] or [besides], general, [besides])[number % 3] or [besides]
        others = talk.follow_up(record, number, besides), talk.long_other(record, number, random.choice(core))
        for kind, text, negative in zip(made, own, others, strict=True):
            if text is not None:
                made[kind].append(Question(text, here))
            if negative is not None:
                wrong[kind].append(Question(negative, here))
    for kind in made:
        if made[kind]:
            positives[kind] = made[kind]
        if wrong[kind]:
            found[kind] = wrong[kind]
            dropped[kind] += 0


def _sample(given: Sequence[T], most: int, what: str) -> list[T]:
    """At most so many, in the given order; which ones depends on `what` alone."""
    if len(given) <= most:
        return list(given)
    return [given[at] for at in sorted(Random(f"{SEED} {what}").sample(range(len(given)), most))]
