"""RippleEdits: edits of Wikidata facts, and what follows from each, stays as it was, or must not be forgotten.

A record says its edit as one sentence; subject and target are cut out of it by the benchmark's own wordings. Every test
query is a question here, with its answers and their aliases (those of one letter are dropped, as its authors do). Its
conditions (a test counts only where the model knew the facts that it rests on) are not read: a run reports what the
unedited model knew instead. "Forgetfulness" asks for another value of the edited relation: a gate fires on it by right.
"""

from __future__ import annotations

import re

from memedit.datasets._form import File, Record, Source, completion, made
from memedit.edits import Case, Draft, Probe
from memedit.errors import InputError
from memedit.parsing import normalise

_HOME = "https://github.com/edenbiran/RippleEdits/raw/main/data/benchmark"
_PARTS = ("popular", "random", "recent")

SOURCE = Source(
    paper="Cohen et al. 2023, Evaluating the Ripple Effects of Knowledge Editing in Language Models, arXiv:2307.12976",
    page="https://github.com/edenbiran/RippleEdits",
    licence="MIT",
    files={
        "popular": File(f"{_HOME}/popular.json"),
        "random": File(f"{_HOME}/random.json"),
        "recent": File(f"{_HOME}/recent.json", "bc71807ea72280e2587bd1974fc79ae7e23aa24b1d5887bcdced40d448910547"),
    },
    together=_PARTS,
)

FILES = {part: (f"ripple_edits/{part}.json", f"RippleEdits/data/benchmark/{part}.json") for part in _PARTS}

SETS = {
    "Logical_Generalization": "logical",
    "Compositionality_I": "one_hop",
    "Compositionality_II": "one_hop",
    "Subject_Aliasing": "alias",
    "Relation_Specificity": "same_subject",
    "Forgetfulness": "forgetfulness",
}
"""Name of a criterion -> its kind of question."""

_STAYS = ("same_subject", "forgetfulness")
_INSIDE = re.compile(
    r"(?:which (.+) (?:is associated with|is a member of|plays in|is part of|is the capital of)|award (.+) won"
    r"|children (.+) has)$"
)
_VERB = re.compile(
    r" (?:is followed by|follows|are|is(?! (?:associated with|a member of|part of|the capital of) is ))(?= )"
)


def matches(row: Record) -> bool:
    return isinstance(row.get("edit"), dict) and {"example_type", "Relation_Specificity"} <= row.keys()


def drafts(row: Record) -> list[Draft]:
    edit = row["edit"]
    prompt, target = _cut(edit["prompt"], (edit.get("previous_fact") or {}).get("prompt"))
    return [completion(_subject(prompt, str(edit.get("relation", ""))), prompt, target)]


def case(row: Record, number: int) -> Case:
    """The record as a case; its id is `number`, its place in the file."""
    edits = drafts(row)
    prompt, subject = edits[0].prompt or "", normalise(edits[0].subject or "")
    before = (row["edit"].get("previous_fact") or {}).get("prompt") or ""
    old = (before[len(prompt) :].strip().removesuffix("."),) if before.startswith(f"{prompt} ") else ()
    questions: dict[str, list[Probe]] = {}
    for name, kind in SETS.items():
        for test in row.get(name) or ():
            for query in test["test_queries"]:
                answers = _answers(query["answers"])
                back = kind == "logical" and subject in map(normalise, answers)
                probe = Probe(query["prompt"] or "", answers, answers if kind in _STAYS else ())
                questions.setdefault("reversed" if back else kind, []).append(probe)
    return made(number, edits, questions, old)


def _cut(statement: str, previous: str | None) -> tuple[str, str]:
    """A statement without its full stop, cut before its target.

    Where the statement of the fact before is known the cut is after the last verb that both share, else after the
    first.
    """
    text = statement.strip().removesuffix(".")
    found = list(_VERB.finditer(text))
    if previous:
        shared = next((at for at, (a, b) in enumerate(zip(text, previous.strip(), strict=False)) if a != b), len(text))
        found = [verb for verb in found if verb.end() < shared][-1:] or found
    if not found:
        raise InputError(f"its edit {statement!r} is in none of the benchmark's wordings")
    return text[: found[0].end()], text[found[0].end() :].strip()


def _subject(prompt: str, relation: str) -> str:
    """Whom a prompt ("The place of birth of Ann Doe is") is about."""
    head, _, _ = prompt.rpartition(" ")
    if inside := _INSIDE.search(head):
        return next(group for group in inside.groups() if group)
    if relation in ("FOLLOWS", "FOLLOWED_BY"):
        return prompt.removesuffix(" follows").removesuffix(" is followed by")
    bare = re.sub(r"^The (?:names? of the )?", "", head)
    by = re.split(r" (?:of|by|in) ", bare, maxsplit=relation.split("_").count("OF") + 1)
    if len(by) == 1:
        raise InputError(f"its edit {prompt!r} is in none of the benchmark's wordings")
    return by[-1]


def _answers(given: list[Record]) -> tuple[str, ...]:
    names = [name for one in given for name in (one["value"], *(one.get("aliases") or ()))]
    return tuple(dict.fromkeys(name.strip() for name in map(str, names) if len(name.strip()) > 1 or name.isdigit()))
