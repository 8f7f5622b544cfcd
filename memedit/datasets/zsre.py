"""zsRE: questions with a new answer, in the form of MEND; the fact is written as its question and answer."""

from __future__ import annotations

from memedit.datasets import Record
from memedit.edits import Draft


def matches(row: Record) -> bool:
    return {"src", "alt", "subject"} <= row.keys()


def drafts(row: Record) -> list[Draft]:
    question, target = row["src"], row["alt"]
    return [Draft(statement=f"{question} {target}", subject=row["subject"], target=target, question=question)]
