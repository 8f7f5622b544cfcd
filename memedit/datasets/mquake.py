"""MQuAKE: the edits of multi-hop cases, and the file of single-hop facts."""

from __future__ import annotations

from memedit.datasets import Record
from memedit.edits import Draft


def matches(row: Record) -> bool:
    return isinstance(row.get("requested_rewrite"), list) or {"triple", "question", "cloze", "answer"} <= row.keys()


def drafts(row: Record) -> list[Draft]:
    if "triple" in row:
        subject, _, target = row["triple"]
        prompt = row["cloze"]
        statement = f"{prompt} {target}"
        return [
            Draft(statement=statement, subject=subject, target=target, prompt=prompt, question=row["question"]),
        ]
    found = []
    for rewrite in row["requested_rewrite"]:
        subject, target = rewrite["subject"], rewrite["target_new"]["str"]
        prompt = rewrite["prompt"].replace("{}", subject, 1)
        statement = f"{prompt} {target}"
        found.append(
            Draft(statement=statement, subject=subject, target=target, prompt=prompt, question=rewrite["question"])
        )
    return found
