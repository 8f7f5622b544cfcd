"""Asking a system about cases: every question put to the edited model and to the unedited one, and one line per case.

The line is all that is kept of a case (`run.py` writes it, the report reads it): its metrics, its replies to read, what
it took. Questions of several cases go to the model together; only the time of a query is taken alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from memedit.datasets import UNCHANGED
from memedit.edits import Case
from memedit.evaluation import metrics
from memedit.evaluation.metrics import IN_SCOPE, Asked
from memedit.evaluation.protocols import Bearing, Question, kept, questions
from memedit.matching import gives

if TYPE_CHECKING:
    from memedit.evaluation.judge import Judge
    from memedit.evaluation.systems import Base, System, TargetScore

Line = dict[str, Any]
Pair = tuple[str, str]

_COMPARED = ("neighbour", "same_subject", "distracting")  # whose next token's distributions are compared


def is_known(case: Case, base: Base) -> bool | None:
    """Whether the unedited model answers the edit's question with what was true before; None where nothing says it."""
    return gives(base.answer([case.prompt])[0], case.old) if case.old else None


def ask(
    system: System,
    base: Base,
    cases: Sequence[Case],
    *,
    bearing: Bearing | None = None,
    judge: Judge | None = None,
    dataset: str = "",
    references: Mapping[str, Sequence[str]] | None = None,
    frequencies: Mapping[str, float] | None = None,
) -> list[Line]:
    """A line per case, from a system in which the cases' edits are in force; the caller adds `seconds.edit`."""
    asked = [kept(case, bearing) for case in cases]
    everything = [one for those, _ in asked for one in those]
    prompts = [one.prompt for one in everything]
    before = dict(zip(prompts, base.answer(prompts), strict=True))
    tell(system, cases)
    seconds = []
    for case in cases:
        with base.known.paused():
            began = perf_counter()
            system.answer([case.prompt])
            seconds.append(perf_counter() - began)
    replies = system.answer(prompts)
    explained = system.explain(prompts)
    found = _forced(system, base, everything, before)
    lines, at = [], 0
    for case, (those, left_out), took in zip(cases, asked, seconds, strict=True):
        here = slice(at, at + len(those))
        at += len(those)
        made = [
            replace(
                forced,
                reply=reply,
                in_scope=_in_scope(told),
                verdict=_verdict(judge, question, reply),
            )
            for question, reply, told, forced in zip(those, replies[here], explained[here], found[here], strict=True)
        ]
        line: Line = {
            "case": case.id,
            "subject": case.subject,
            "old": list(case.old),
            "known": gives(before[case.prompt], case.old) if case.old else None,
            "metrics": metrics.of_case(made, dataset),
            "replies": [_told(one, told, case) for one, told in zip(made, explained[here], strict=True)],
            "seconds": {"edit": None, "query": round(took, 6), "passes": getattr(system, "passes_per_edit", None)},
            "memory_bytes": system.bytes_per_edit,
        }
        texts = [one.reply for one in made if one.kind == "attribute"]
        if texts and references is not None and frequencies is not None and references.get(case.id):
            score = metrics.tf_idf_cosine(" ".join(texts), " ".join(references[case.id]), frequencies)
            line["metrics"]["free"]["RS"] = round(score, 6)
        if left_out:
            line["left_out"] = left_out
        if judge is not None:
            verdicts = [one for one in made if one.kind in IN_SCOPE and one.answers]
            unparsable = sum(one.verdict is None for one in verdicts)
            line["judge"] = {"asked": len(verdicts), "unparsable": unparsable}
        lines.append(line)
    return lines


def _in_scope(told: Mapping[str, object]) -> bool | None:
    said = told.get("in_scope")
    return said if isinstance(said, bool) else None


def _verdict(judge: Judge | None, question: Question, reply: str) -> bool | None:
    if judge is None or question.kind not in IN_SCOPE or not question.answers:
        return None
    return judge(question.prompt, question.answers, reply)


def tell(system: System, cases: Sequence[Case]) -> None:
    """Hand an oracle what it is to know; every other system has no such method, or does not look."""
    bearing = [(case, one) for case in cases for one in questions(case) if one.kind in (*IN_SCOPE, "attribute")]
    if (expect := getattr(system, "expect", None)) is not None:
        expect({one.prompt: frozenset(draft.statement for draft in case.edits) for case, one in bearing})
    if (answers := getattr(system, "expect_answers", None)) is not None:
        answers({one.prompt: one.answers[0] for _, one in bearing if one.answers})


def _forced(system: System, base: Base, asked: Sequence[Question], before: Mapping[str, str]) -> list[Asked]:
    """The teacher-forced side of each question; its reply is filled in later."""
    wanted: dict[Pair, None] = {}
    wanted_before: dict[Pair, None] = {}

    def target(one: Question) -> str | None:
        if one.kind == "attribute":
            return None
        # Where no answer is known, agreement is measured on what the unedited model says.
        return one.answers[0] if one.answers else before[one.prompt] if one.kind in UNCHANGED else None

    for one in asked:
        for text in (target(one), *((one.new, one.true) if one.new and one.true else ())):
            if text:
                wanted[one.prompt, text] = None
        if one.kind in UNCHANGED and target(one):
            wanted_before[one.prompt, target(one) or ""] = None
    after = _scores(system, list(wanted))
    unedited = after if system is base else _scores(base, list(wanted_before))
    compared = list(dict.fromkeys(one.prompt for one in asked if one.kind in _COMPARED))
    distance = _distances(system, base, compared)
    found = []
    for one in asked:
        text = target(one)
        both = one.new and one.true
        found.append(
            Asked(
                kind=one.kind,
                prompt=one.prompt,
                reply="",
                before=before[one.prompt],
                answers=one.answers,
                target=after.get((one.prompt, text)) if text else None,
                target_before=unedited.get((one.prompt, text)) if text and one.kind in UNCHANGED else None,
                new=after.get((one.prompt, one.new or "")) if both else None,
                true=after.get((one.prompt, one.true or "")) if both else None,
                distance=distance.get(one.prompt) if one.kind in _COMPARED else None,
            )
        )
    return found


def _scores(system: System, pairs: Sequence[Pair]) -> dict[Pair, TargetScore | None]:
    made = system.score([prompt for prompt, _ in pairs], [text for _, text in pairs]) if pairs else []
    return dict(zip(pairs, made, strict=True))


def _distances(system: System, base: Base, prompts: Sequence[str]) -> dict[str, float]:
    if not prompts:
        return {}
    old = base.distributions(prompts)
    new = old if system is base else system.distributions(prompts)
    triples = zip(prompts, old, new, strict=True)
    return {prompt: metrics.total_variation(a, b) for prompt, a, b in triples if a is not None and b is not None}


def _told(one: Asked, told: Mapping[str, object], case: Case) -> Line:
    """A reply to read. `right`: as its kind counts, by match or by being unchanged; None where nothing tells.

    `expected` is what it is judged by; of what must not change the true `answers` stand beside it.
    """
    unchanged = one.kind in UNCHANGED and one.kind != "forgetfulness"
    line: Line = {
        "kind": one.kind,
        "prompt": one.prompt,
        "reply": one.reply,
        "expected": [one.before] if unchanged else list(one.answers),
        "right": metrics.same(one) if unchanged else metrics.right(one),
        "before": one.before,
    }
    if unchanged and one.answers:
        line["answers"] = list(one.answers)
    if one.verdict is not None:
        line["verdict"] = one.verdict
    if "in_scope" in told:
        used = told.get("used")
        statements = {draft.statement for draft in case.edits}
        line["in_scope"] = told["in_scope"]
        line["probability"] = told.get("probability")
        line["own_edit"] = isinstance(used, list) and bool(statements & set(used))
    return line
