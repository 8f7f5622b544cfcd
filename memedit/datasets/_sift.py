"""Which questions of a case are asked: the published ones, but for those that cannot mean what their kind says.

What is left out could not be scored (no question, no answer) or would score the wrong thing: a question about the same
subject in the very words of the edit, or with the answer that the edit replaces, asks the edited relation, and a right
edit changes it; "B is followed by" does not ask "A is followed by B" backwards. What is merely odd is kept, since
published figures contain it, and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from memedit.datasets._form import FOLLOWING, KINDS, UNCHANGED, sentences
from memedit.edits import Case, Probe
from memedit.parsing import normalise


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault of a question, the kinds in which it is one, and whether the question is asked all the same."""

    fault: str
    kinds: tuple[str, ...]
    found: Callable[[Case, Probe], bool]
    kept: bool = False


def _own_words(case: Case, probe: Probe) -> bool:
    return normalise(probe.prompt) in map(normalise, (case.prompt, case.edits[0].question or case.prompt))


def _old_answer(case: Case, probe: Probe) -> bool:
    return bool(set(map(normalise, probe.answers)) & set(map(normalise, case.old)))


def _given_away(case: Case, probe: Probe) -> bool:
    # With several edits a question names the first one's target by right: it is the next one's subject.
    return len(case.edits) == 1 and _names(probe.prompt, case.target)


def _turned(case: Case, probe: Probe) -> bool:
    return not asks_back(probe.prompt, case.target, case.prompt, case.subject)


def _names(text: str, name: str) -> bool:
    return bool(name) and f" {normalise(name)} " in f" {''.join(c if c.isalnum() else ' ' for c in normalise(text))} "


def _sentence_in_front(case: Case, probe: Probe) -> bool:
    first, *rest = sentences(probe.prompt)
    return bool(rest) and case.subject not in first and case.subject in " ".join(rest)


RULES = (
    Rule("is empty", KINDS, lambda case, probe: not probe.prompt.strip()),
    Rule("has no answer", FOLLOWING, lambda case, probe: not probe.answers),
    Rule("asks the edit in its own words", ("alias", "one_hop", "logical", "reversed", *UNCHANGED), _own_words),
    Rule("has the answer that the edit replaces", ("same_subject",), _old_answer),
    Rule("asks for another relation", ("reversed",), _turned),
    Rule("begins with another sentence", ("paraphrase",), _sentence_in_front, kept=True),
    Rule("gives the edit's answer away", ("paraphrase", "alias", "one_hop"), _given_away, kept=True),
)
"""In this order; a question has the first of its faults."""

UNKNOWN = Rule("is of no known kind", (), lambda case, probe: True)
TWICE = Rule("is there twice", KINDS, lambda case, probe: True)


def sifted(case: Case) -> tuple[Case, Counter[tuple[str, str, bool]]]:
    """The case with the questions that are asked, and how many are odd by (kind, fault, whether kept)."""
    faults: Counter[tuple[str, str, bool]] = Counter()
    kept: dict[str, tuple[Probe, ...]] = {}
    for kind, probes in case.questions.items():
        asked: dict[Probe, None] = {}
        for probe in probes:
            rule = _fault(kind, case, probe) or (TWICE if probe in asked else None)
            if rule is not None:
                faults[kind, rule.fault, rule.kept] += 1
            if rule is None or rule.kept:
                asked[probe] = None
        if asked:
            kept[kind] = tuple(asked)
    return (case if kept == case.questions else replace(case, questions=kept)), faults


def _fault(kind: str, case: Case, probe: Probe) -> Rule | None:
    if kind not in KINDS:
        return UNKNOWN
    return next((rule for rule in RULES if kind in rule.kinds and rule.found(case, probe)), None)


_MUTUAL = re.compile(r"spouse|married|wife|husband|sibling|brother|sister|twin|border", re.IGNORECASE)
_SIBLINGS = re.compile(r"sibling|brother|sister", re.IGNORECASE)


def asks_back(question: str, target: str, prompt: str, subject: str) -> bool:
    """Whether a question about the target can be answered by the subject.

    Some of the data's cannot: "B is followed by" for "A is followed by B", "the siblings of B" for A's wife B.
    """
    if _SIBLINGS.search(question) and not _SIBLINGS.search(prompt):
        return False
    return _frame(question, target) != _frame(prompt, subject) or bool(_MUTUAL.search(prompt))


def _frame(text: str, name: str) -> list[str]:
    return re.findall(r"\w+", text.replace(name, " ").casefold())
