"""Known facts: true completions that GPT-2 XL gets right, for causal tracing; nothing in them is new.

A case's target is the true attribute, which is its old answer as well.
"""

from __future__ import annotations

from memedit.datasets._form import File, Record, Source, completion, given, made, texts
from memedit.edits import Case, Draft

SOURCE = Source(
    paper="Meng et al. 2022, Locating and Editing Factual Associations in GPT, arXiv:2202.05262",
    page="https://rome.baulab.info",
    licence="MIT",
    files={"known": File("https://rome.baulab.info/data/dsets/known_1000.json")},
)

FILES = {"known": ("rome/known_facts.json", "rome/known_1000.json", "known_1000.json")}


def matches(row: Record) -> bool:
    return {"subject", "attribute", "prompt", "template"} <= row.keys()


def drafts(row: Record) -> list[Draft]:
    return [completion(row["subject"], row["prompt"], row["attribute"])]


def case(row: Record, number: int) -> Case:
    """The record as a case; `number` is its place in the file, its id where it has no `known_id`."""
    id_ = given(row, "known_id")
    return made(number if id_ is None else id_, drafts(row), {}, texts(row["attribute"]))
