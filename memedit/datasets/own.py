"""Your own cases: a CSV or JSONL file, given by its path, with a prompt, a subject and a target in each row.

Columns: `prompt` (the statement before its target, or a question), `subject`, `target`; if you like `id`, `old` (the
answer before), `question`, `aliases` (of the subject), `relation`, and one column per kind of question: paraphrase,
alias, reversed, one_hop, logical, yes, no, neighbour, same_subject, distracting, forgetfulness, attribute. A cell holds
one question, several with | between, or a JSON list. What answers a question follows from the edit for paraphrase and
alias (the target), reversed (the subject), yes and no; for the others `KIND_answers` says it (for all questions of the
cell). In JSONL a question may be {"prompt", "answers", "old"} instead. `row` is the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from memedit.datasets._form import KINDS, UNCHANGED, Record, Source, completion, given, made, texts
from memedit.datasets._rows import cell_texts
from memedit.edits import Case, Draft, Probe
from memedit.errors import InputError

SOURCE = Source(paper="", page="", licence="yours")
FILES: dict[str, tuple[str, ...]] = {}

_FACT = ("id", "prompt", "subject", "target", "old", "question", "aliases", "relation", "edits")
COLUMNS = (*_FACT, *KINDS, *(f"{kind}_answers" for kind in KINDS))


def matches(row: Record) -> bool:
    return {"prompt", "subject", "target"} <= row.keys() and "statement" not in row


def drafts(row: Record) -> list[Draft]:
    if unknown := sorted(set(map(str, row)) - set(COLUMNS)):
        raise InputError(f"unknown: {', '.join(unknown)}; known: {', '.join(COLUMNS)}")
    return [_draft(one) for one in (row, *(row.get("edits") or ()))]


def case(row: Record, number: int) -> Case:
    """The record as a case; `number` is its place in the file, its id where it has none."""
    edits = drafts(row)
    old = _list(row.get("old"))
    answers = {
        "paraphrase": texts(row["target"]),
        "alias": texts(row["target"]),
        "reversed": texts(row["subject"]),
        "yes": ("Yes",),
        "no": ("No",),
    }
    questions = {}
    for kind in KINDS:
        right = _list(row.get(f"{kind}_answers")) or answers.get(kind, ())
        questions[kind] = [_probe(one, kind, right, old) for one in _items(row.get(kind))]
    id_ = given(row, "id")
    return made(number if id_ is None else id_, edits, questions, old)


def row(case: Case) -> dict[str, Any]:
    """A case in this form, nothing lost but what a draft holds beside names, words and aliases."""
    first, *rest = (_fact(edit) for edit in case.edits)
    questions = {
        kind: [{"prompt": one.prompt, "answers": list(one.answers), "old": list(one.old)} for one in probes]
        for kind, probes in case.questions.items()
    }
    more = {"edits": rest} if rest else {}
    return {"id": case.id, **first, "old": list(case.old), **more, **questions}


def _draft(row: Record) -> Draft:
    draft = completion(row["subject"], row["prompt"], row["target"], question=row.get("question"))
    return replace(draft, aliases=_list(row.get("aliases")), relation=row.get("relation"))


def _fact(edit: Draft) -> dict[str, Any]:
    named: dict[str, Any] = {"question": edit.question if edit.prompt else None, "relation": edit.relation}
    named["aliases"] = list(edit.aliases) or None
    told = {"prompt": edit.prompt or edit.question, "subject": edit.subject, "target": edit.target}
    return told | {name: value for name, value in named.items() if value is not None}


def _items(value: object) -> list[object]:
    if isinstance(value, str):
        return list(cell_texts(value))
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


def _list(value: object) -> tuple[str, ...]:
    return texts(_items(value))


def _probe(one: object, kind: str, right: tuple[str, ...], old: tuple[str, ...]) -> Probe:
    if isinstance(one, Mapping):
        answers = _list(one["answers"]) if "answers" in one else right
        return Probe(one["prompt"], answers, _list(one.get("old")))
    if not isinstance(one, str):
        raise InputError(f"a question of {kind} is a text or has a prompt, not {type(one).__name__}")
    return Probe(one, right, right if kind in UNCHANGED else old if kind in ("paraphrase", "alias") else ())
