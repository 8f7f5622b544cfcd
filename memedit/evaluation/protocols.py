"""Protocols: which edits are in force together, how they were put in, and what is asked of them.

    single      each case by itself: edit, ask, undo
    batch       groups of cases: all edits of a group at once, ask about each case, undo
    sequential  one edit after another on top of what is there; ask about all when all are in; never reset between
    loaded      all edits at once into one memory; ask about each case

Which cases are drawn depends on the seed alone, and the first N of a longer draw are the shorter one. One edit per
subject is drawn: of two that contradict each other no system can have both right. And a question that must not change
is left out, and counted, where it names the subject of another edit in force, which may bear on it by right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from memedit.datasets import UNCHANGED
from memedit.edits import Case, Probe
from memedit.errors import InputError
from memedit.parsing import normalise

PROTOCOLS = {
    "single": "each case by itself: edit, ask, undo",
    "batch": "groups of edits at once: edit, ask about each, undo",
    "sequential": "one edit after another, then ask about all",
    "loaded": "all edits in force, ask about each",
}
"""Name -> what it is, in the order of how many edits are in force."""


@dataclass(frozen=True)
class Group:
    """Cases whose edits are in force together, and which of them are asked about (places in `edits`)."""

    edits: tuple[Case, ...]
    asked: tuple[int, ...]


@dataclass(frozen=True)
class Drawn:
    """`cases` in the order drawn: the first `asked` are asked about, all are edited; `beside` are never edited.

    `passed_over` counts cases whose subject an earlier one edits.
    """

    cases: tuple[Case, ...]
    asked: int
    beside: tuple[Case, ...] = ()
    passed_over: int = 0


def draw(
    cases: Iterable[Case],
    asked: int,
    *,
    edits: int | None = None,
    seed: int = 0,
    beside: int = 0,
    asks: Callable[[Case], bool] = lambda case: True,
) -> Drawn:
    """Shuffle by the seed, take one case per subject: `edits` to edit (default: as many as asked), the next `beside`.

    A case of several edits is passed over where any subject of theirs is taken, unless the very statement is there
    already. Only cases that `asks` allows are asked about; of more cases to edit they come first. Raises InputError
    where the dataset is too small.
    """
    given = list(cases)
    Random(seed).shuffle(given)
    wanted = max(asked, edits or 0)
    taken: list[Case] = []
    said: dict[str, str] = {}
    passed = 0
    for case in given:
        if len(taken) == wanted + beside:
            break
        if len(taken) < asked == wanted and not asks(case):
            continue  # all that is drawn is asked about
        facts = [(normalise(draft.subject or draft.statement), draft.statement) for draft in case.edits]
        if any(said.get(subject, statement) != statement for subject, statement in facts):
            passed += 1
            continue
        taken.append(case)
        said.update(facts)
    if len(taken) < wanted:
        raise InputError(
            f"{wanted} cases with different subjects were asked for; the dataset has {len(taken)} such among its "
            f"{len(given)}"
        )
    chosen = sorted(taken[:wanted], key=lambda case: not asks(case))
    if (allowed := sum(map(asks, chosen))) < asked:
        raise InputError(
            f"{asked} cases are to be asked about, and of the {wanted} drawn {allowed} may be; give more --edits, or "
            "fewer --cases"
        )
    return Drawn(tuple(chosen), asked, tuple(taken[wanted:]), passed)


def groups(protocol: str, drawn: Drawn, edits: int) -> list[Group]:
    """The groups of a protocol, `edits` cases in force in each (the last may be smaller).

    Raises InputError for a protocol that is none, or for fewer edits than cases where the protocol has one group.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"no protocol is named {protocol!r}; there are: {', '.join(PROTOCOLS)}")
    cases = drawn.cases
    if protocol == "single":
        return [Group((case,), (0,)) for case in cases[: drawn.asked]]
    if edits >= drawn.asked:
        return [Group(cases[:edits], tuple(range(drawn.asked)))]
    if protocol != "batch":
        raise InputError(
            f"{protocol} asks about {drawn.asked} cases with all edits in force, and {edits} are fewer; give --edits "
            f"of at least {drawn.asked}, fewer --cases, or --protocol batch"
        )
    parts = [cases[at : min(at + edits, drawn.asked)] for at in range(0, drawn.asked, edits)]
    return [Group(part, tuple(range(len(part)))) for part in parts]


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a case. `new` and `true` are the two answers that CounterFact compares, where both are known."""

    kind: str
    prompt: str
    answers: tuple[str, ...] = ()
    new: str | None = None
    true: str | None = None


class Bearing:
    """Whether another edit in force may bear on a text: whether the text names its subject, as whole words, or its
    target, where its relation is its own inverse."""

    def __init__(self, cases: Sequence[Case]) -> None:
        from memedit.bench._questions import mutual, names

        self._found = names(draft.subject for case in cases for draft in case.edits if draft.subject).found
        self._mutual = names(mutual(draft for case in cases for draft in case.edits)).found

    def __call__(self, text: str, case: Case) -> bool:
        from memedit.bench._questions import words

        said = f" {' '.join(words(text))} "
        own = [name for name in (" ".join(words(draft.subject or "")) for draft in case.edits) if f" {name} " in said]
        # Where "Taylor Swift" is named "Swift" is a part of it, and no other subject.
        others = self._found(text) | (set() if own else self._mutual(text))
        return any(not any(f" {' '.join(name)} " in f" {one} " for one in own) for name in others)


def questions(case: Case) -> Iterator[Question]:
    """All that is asked about a case, each of its edits first."""
    old = case.old[0] if case.old else None
    yield Question("edit", case.prompt, (case.target,), case.target, old)
    for draft in case.edits[1:]:
        asked = draft.prompt or draft.question
        if asked and draft.target:
            yield Question("edit", asked, (draft.target,))
    for kind, probes in case.questions.items():
        for probe in probes:
            yield _question(kind, probe, case, old)


def _question(kind: str, probe: Probe, case: Case, old: str | None) -> Question:
    if kind == "attribute":
        return Question(kind, probe.prompt)
    first = probe.answers[0] if probe.answers else None
    if kind == "paraphrase":
        answers = probe.answers or (case.target,)
        return Question(kind, probe.prompt, answers, answers[0], probe.old[0] if probe.old else old)
    if kind == "neighbour":
        return Question(kind, probe.prompt, probe.answers, case.target, first or old)
    return Question(kind, probe.prompt, probe.answers)


def kept(case: Case, bearing: Bearing | None) -> tuple[list[Question], int]:
    """The case's questions, and how many were left out because another edit in force may bear on them."""
    found = list(questions(case))
    if bearing is None:
        return found, 0
    left = [one for one in found if one.kind not in UNCHANGED or not bearing(one.prompt, case)]
    return left, len(found) - len(left)
