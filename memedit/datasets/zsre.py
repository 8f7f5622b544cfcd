"""zsRE: questions with a new answer, in the form of MEND; the fact is written as its question and answer.

Locality is a question of Natural Questions, cut off before its question mark in the file; it gets one, as in ROME's
evaluation. The new answer can be of the wrong type for the question. `pred` is what the authors' base model said, not
the truth, so `answers` is the old answer where the record has it. Records whose new answer is empty are left out, as
EasyEdit does.
"""

from __future__ import annotations

from memedit.datasets._form import File, Record, Source, given, made, texts
from memedit.edits import Case, Draft, Probe

SOURCE = Source(
    paper="Levy et al. 2017, arXiv:1706.04115; edits of Mitchell et al. 2022, arXiv:2110.11309; portability of Yao et "
    "al. 2023, arXiv:2305.13172",
    page="https://rome.baulab.info",
    licence="MIT; Natural Questions CC BY-SA 3.0",
    files={
        "portability": File(
            "https://drive.google.com/file/d/1WRo2SqqgNtZF11Vq0sF5nL_-bHi18Wi4 (zsre_mend_eval_portability_gpt4.json)"
        ),
        "eval": File(
            "https://rome.baulab.info/data/dsets/zsre_mend_eval.json",
            "8a371d512f8a6ab175db4ef672181d5c0e52da23298cb51e5a2eeea2f89aa9cd",
        ),
        "train": File(
            "https://rome.baulab.info/data/dsets/zsre_mend_train.json",
            "4f3ac245e9c0baaf633f9e6cb765ffa8e83d594a74520a6cc3539497328c0722",
        ),
    },
)

FILES = {
    "portability": (
        "zsre/portability.json",
        "zsre/zsre_mend_eval_portability_gpt4.json",
        "zsre_mend_eval_portability_gpt4.json",
    ),
    "eval": ("zsre/eval.json", "zsre/zsre_mend_eval.json", "zsre_mend_eval.json"),
    "train": (
        "zsre/train.json",
        "zsre/zsre_mend_train.json",
        "zsre/zsre_mend_train_10000.json",
        "zsre_mend_train.json",
    ),
}


def matches(row: Record) -> bool:
    return {"src", "alt", "subject"} <= row.keys()


def drafts(row: Record) -> list[Draft]:
    question, target = row["src"], row["alt"]
    return [Draft(statement=f"{question} {target}", subject=row["subject"], target=target, question=question)]


def case(row: Record, number: int) -> Case:
    """The record as a case; `number` is its place in the file, its id where it has no `case_id`."""
    edits = drafts(row)
    target, old = texts(edits[0].target), texts(given(row, "answers", "pred"))
    near = texts(row.get("loc_ans"))
    hop = row.get("portability") or {}
    questions = {
        "paraphrase": [Probe(text, target, old) for text in texts(row.get("rephrase"))],
        "neighbour": [Probe(_asked(text), near, near) for text in texts(row.get("loc"))],
        "one_hop": [Probe(text, texts(hop.get("New Answer"))) for text in texts(hop.get("New Question"))],
    }
    id_ = given(row, "case_id")
    return made(number if id_ is None else id_, edits, questions, old)


def _asked(text: str) -> str:
    bare = text.removeprefix("nq question: ")
    return bare if bare.endswith("?") else f"{bare}?"
