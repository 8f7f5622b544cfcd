"""KnowEdit: EasyEdit's own form, completions or questions with named sets of locality and portability questions.

Its parts from zsRE and WikiData share one record; WikiBio corrects a sentence of a biography (`text`, `concept`,
`labels`); ConvSent is an opinion of a topic (`ent`, `pos`, `neg`; here always the favourable one); Sanitation is one
record, a file of questions to be forgotten (`K_F`) and kept (`K_R`). "Forgetfulness" names the edited relation and asks
for another value of it: a gate fires on it by right. A question of logical generalisation that the subject answers asks
the relation backwards and is counted as "reversed". `row` is the way back: a case in this form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memedit.datasets._form import KINDS, File, Record, Source, completion, given, made, texts
from memedit.edits import Case, Draft, Probe
from memedit.errors import InputError
from memedit.parsing import normalise

_HOME = "https://huggingface.co/datasets/zjunlp/KnowEdit/resolve/main/benchmark"
_OFFICIAL = {
    "zsre": ("ZsRE/ZsRE-test-all.json", "0e0214dda853a906ef02bef58c7ce2978af5a962e91fc4a10827e0125459905c"),
    "wiki_counterfact": (
        "wiki_counterfact/test_cf.json",
        "efc01ba398dfe04975939f729aab45523addb3c6b3cf41d7429ba5de1d45225b",
    ),
    "wiki_recent": (
        "wiki_recent/recent_test.json",
        "e5c4ce6de1e8e2d10d892164ad6f4cbd28c976ed509e29e78ae853b01de1797b",
    ),
    "wikibio": (
        "WikiBio/wikibio-test-all.json",
        "00933f69b47d8281d01f1f4b84f3f266b7482a65a7d74022e660a8a9ca2264a4",
    ),
    "convsent": ("Convsent/blender_test.json", None),
    "sanitation": ("trivia/trivia_qa_train.json", None),
}

SOURCE = Source(
    paper="Zhang et al. 2024, A Comprehensive Study of Knowledge Editing for Large Language Models, arXiv:2401.01286",
    page="https://huggingface.co/datasets/zjunlp/KnowEdit",
    licence="MIT",
    files={part: File(f"{_HOME}/{path}", sha256) for part, (path, sha256) in _OFFICIAL.items()},
    together=("zsre", "wiki_counterfact", "wiki_recent", "wikibio"),
)

FILES = {
    part: (f"knowedit/{part}.json", f"knowedit/{path}", f"knowedit/benchmark/{path}", f"KnowEdit/benchmark/{path}")
    for part, (path, _) in _OFFICIAL.items()
}

SETS = {
    "Reasoning": ("portability", "one_hop"),
    "Subject_Aliasing": ("portability", "alias"),
    "Logical_Generalization": ("portability", "logical"),
    "Relation_Specificity": ("locality", "same_subject"),
    "Forgetfulness": ("locality", "forgetfulness"),
    "neighborhood": ("locality", "neighbour"),
    "distracting": ("locality", "distracting"),
}
"""Name of a set of questions -> where it stands and its kind; the last two are EasyEdit's `locality_inputs`."""

_KINDS = {name.casefold(): kind for name, (_, kind) in SETS.items()} | {"one_hop": "one_hop", "synonym": "alias"}
_OPINIONS = ("What do you think of {}?", "How do you view {}?")


def matches(row: Record) -> bool:
    if {"prompt", "subject", "target_new"} <= row.keys():
        return any(isinstance(row.get(name), dict) for name in ("locality", "portability"))
    return any(
        fields <= row.keys() for fields in ({"text", "concept", "labels"}, {"ent", "pos", "neg"}, {"K_F", "K_R"})
    )


def drafts(row: Record) -> list[Draft]:
    if "K_F" in row:
        return [completion(one["subject"], one["question"], one["target_new"]) for one in row["K_F"]]
    if "ent" in row:
        opinion = next(iter(texts(row["pos"])), "")
        return [completion(row["ent"], _OPINIONS[0].format(row["ent"]), opinion)]
    if "concept" in row:
        return [completion(row["concept"], row["text"], row["labels"])]
    return [completion(row["subject"], row["prompt"], row["target_new"])]


def case(row: Record, number: int) -> Case:
    """The record as a case; `number` is its place in the file, its id where it has no `case_id`."""
    edits = drafts(row)
    if "K_F" in row:
        kept = [Probe(one["question"], answers := texts(one["ground_truth"]), answers) for one in row["K_R"]]
        return made(number, edits, {"neighbour": kept}, texts(row["K_F"][0].get("ground_truth")))
    if "ent" in row:
        asked = _OPINIONS[1].format(row["ent"])
        return made(number, edits, {"paraphrase": [Probe(asked, texts(row["pos"]), texts(row["neg"]))]})
    target, old = texts(edits[0].target), texts(row.get("ground_truth"))
    questions: dict[str, list[Probe]] = {
        "paraphrase": [Probe(text, target, old) for text in texts(given(row, "rephrase_prompt", "rephrase"))]
    }
    for kind, probe in _asked(row):
        back = kind == "logical" and normalise(edits[0].subject or "") in map(normalise, probe.answers)
        questions.setdefault("reversed" if back else kind, []).append(probe)
    id_ = given(row, "case_id")
    return made(number if id_ is None else id_, edits, questions, old)


def row(case: Case) -> dict[str, Any]:
    """A case of one edit in KnowEdit's form, for EasyEdit's own readers.

    "reversed", "yes" and "no" go to logical generalisation, as in its parts from WikiData; "attribute" has no place in
    the form and is left out. Raises InputError for a case of several edits.
    """
    if len(case.edits) != 1:
        raise InputError(f"case {case.id} has {len(case.edits)} edits, where a record of KnowEdit has one")
    made: dict[str, Any] = {
        "case_id": case.id,
        "subject": case.subject,
        "prompt": case.prompt,
        "target_new": case.target,
        "ground_truth": list(case.old),
    }
    if paraphrases := [probe.prompt for probe in case.questions.get("paraphrase", ())]:
        made["rephrase_prompt"] = paraphrases[0] if len(paraphrases) == 1 else paraphrases
    made |= {"portability": {}, "locality": {}}
    sets = {kind: (where, name) for name, (where, kind) in SETS.items()}
    sets |= dict.fromkeys(("reversed", "yes", "no"), sets["logical"])
    for kind in KINDS:
        if kind in sets:
            where, name = sets[kind]
            asked = [{"prompt": one.prompt, "ground_truth": list(one.answers)} for one in case.questions.get(kind, ())]
            if asked:
                made[where].setdefault(name, []).extend(asked)
    return made


def _asked(row: Record) -> Iterator[tuple[str, Probe]]:
    for where in ("portability", "locality"):
        for name, asked in (row.get(where) or {}).items():
            kind = _KINDS.get(name.casefold(), name)  # a set of another name is left out later, and counted
            for one in asked:
                answers = texts(one.get("ground_truth"))
                for prompt in texts(one["prompt"]) or ("",):
                    yield kind, Probe(prompt, answers, answers if where == "locality" else ())
