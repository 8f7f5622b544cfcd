"""CounterFact: counterfactual completions, in the nested form of its authors and in the flat form of EasyEdit."""

from __future__ import annotations

from memedit.datasets import Record
from memedit.edits import Draft


def matches(row: Record) -> bool:
    rewrite = row.get("requested_rewrite")
    if isinstance(rewrite, dict):
        return {"prompt", "subject", "target_new"} <= rewrite.keys()
    return {"prompt", "subject", "target_new", "locality_prompt"} <= row.keys()


def drafts(row: Record) -> list[Draft]:
    if "requested_rewrite" in row:
        rewrite = row["requested_rewrite"]
        subject = rewrite["subject"]
        prompt, target = rewrite["prompt"].replace("{}", subject, 1), rewrite["target_new"]["str"]
    else:
        subject, prompt, target = row["subject"], row["prompt"], row["target_new"]
    return [Draft(statement=f"{prompt} {target}", subject=subject, target=target, prompt=prompt)]
