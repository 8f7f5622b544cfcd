"""KnowEdit: completions or questions with locality and portability sets, from zsRE, WikiData counterfact and recent."""

from __future__ import annotations

from memedit.datasets import Record
from memedit.edits import Draft


def matches(row: Record) -> bool:
    return {"prompt", "subject", "target_new"} <= row.keys() and isinstance(row.get("locality"), dict)


def drafts(row: Record) -> list[Draft]:
    prompt, target = row["prompt"], row["target_new"]
    asked = prompt.rstrip().endswith("?")
    return [
        Draft(
            statement=f"{prompt} {target}",
            subject=row["subject"],
            target=target,
            prompt=None if asked else prompt,
            question=prompt if asked else None,
        )
    ]
