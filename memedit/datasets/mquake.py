"""MQuAKE: the edits of multi-hop cases, and the file of single-hop facts.

A case holds up to four edits and one question that needs them all, in three wordings; each edit's own question is kept
as a paraphrase of it. With all edits of a file loaded at once a case is contaminated where another case edits one of
the hops that it relies on (a third of CF-3k: Wang et al. 2024, arXiv:2401.10471). The part "clean" is CF-3k without
those, found anew in whatever the file holds; "2002" is the selection that these authors published.
"""

from __future__ import annotations

from collections.abc import Sequence

from memedit.datasets._form import File, Record, Source, completion, given, made, texts
from memedit.edits import Case, Draft, Probe

_HOME = "https://raw.githubusercontent.com/princeton-nlp/MQuAKE/main/datasets"
_DEEPEDIT = "https://raw.githubusercontent.com/wangywUST/DeepEdit/main/datasets"

SOURCE = Source(
    paper="Zhong et al. 2023, MQuAKE, arXiv:2305.14795; hard and 2002: Wang et al. 2024, arXiv:2401.10471",
    page="https://github.com/princeton-nlp/MQuAKE",
    licence="MIT",
    files={
        "cf-3k": File(f"{_HOME}/MQuAKE-CF-3k.json", "ce27a39c39f2983512b9b5578fadea5fbe352e5368f49d64f38d37ce304edc80"),
        "clean": File(f"{_HOME}/MQuAKE-CF-3k.json", "ce27a39c39f2983512b9b5578fadea5fbe352e5368f49d64f38d37ce304edc80"),
        "cf-3k-v2": File(
            f"{_HOME}/MQuAKE-CF-3k-v2.json", "f82091cbb668cef8f2537f79f1768af1840184450b347ff8c344336090ddc71e"
        ),
        "cf": File(f"{_HOME}/MQuAKE-CF.json", "fbf1ab9e5243e52da429f7636990096ae0b5f8fbf60f1d4d3a4bf0c9214cd6ea"),
        "t": File(f"{_HOME}/MQuAKE-T.json", "58500a1d4aaf9e036c23a1d9dd6be2d73d693e35a695614842f211ea5aff59f2"),
        "hard": File(f"{_DEEPEDIT}/MQuAKE-hard.json"),
        "2002": File(f"{_DEEPEDIT}/MQuAKE-2002.json"),
    },
)

_OFFICIAL = {"cf-3k": "CF-3k", "cf-3k-v2": "CF-3k-v2", "cf": "CF", "t": "T", "hard": "hard", "2002": "2002"}
_PLACES = {
    part: (f"mquake/{part}.json", f"mquake/MQuAKE-{name}.json", f"MQuAKE/datasets/MQuAKE-{name}.json")
    for part, name in _OFFICIAL.items()
}
FILES = _PLACES | {"clean": _PLACES["cf-3k"], "single_hop": ("mquake/single_hop_facts.json",)}


def matches(row: Record) -> bool:
    return isinstance(row.get("requested_rewrite"), list) or {"triple", "question", "cloze", "answer"} <= row.keys()


def drafts(row: Record) -> list[Draft]:
    if "triple" in row:
        subject, _, target = row["triple"]
        return [completion(subject, row["cloze"], target, question=row["question"])]
    return [
        completion(
            one["subject"],
            one["prompt"].replace("{}", one["subject"], 1),
            one["target_new"]["str"],
            question=one.get("question"),
        )
        for one in row["requested_rewrite"]
    ]


def case(row: Record, number: int) -> Case:
    """The record as a case; `number` is its place in the file, its id where it has no `case_id`."""
    edits = drafts(row)
    if "triple" in row:
        answers = texts(row["answer"], row.get("answer_alias"))
        return made(number, edits, {"paraphrase": [Probe(row["question"], answers, answers)]}, answers)
    new, before = _by_question(row.get("new_single_hops")), _by_question(row.get("single_hops"))
    paraphrases = []
    for one, edit in zip(row["requested_rewrite"], edits, strict=True):
        question = one.get("question", "")
        answers = texts(edit.target, new.get(question))
        old = texts((one.get("target_true") or {}).get("str"), before.get(question))
        paraphrases.append(Probe(question, answers, old))
    hop = texts(row["new_answer"], row.get("new_answer_alias"))
    hop_old = texts(row.get("answer"), row.get("answer_alias"))
    questions = {
        "paraphrase": paraphrases,
        "one_hop": [Probe(text, hop, hop_old) for text in texts(row["questions"])],
    }
    id_ = given(row, "case_id")
    return made(number if id_ is None else id_, edits, questions, paraphrases[0].old)


def select(part: str, rows: Sequence[Record]) -> list[bool]:
    """Which records of a file belong to a part."""
    if part != "clean":
        return [True] * len(rows)
    bad = contaminated(rows)
    return [at not in bad for at in range(len(rows))]


def contaminated(rows: Sequence[Record]) -> set[int]:
    """Places of the cases whose answer would be another if the edits of all were made.

    A hop (subject, relation) of a case's chain after its edits counts as broken where any case of `rows` edits it to
    another object. Raises KeyError for records without `orig` (their triples).
    """
    edited: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        for subject, relation, target in _edits(row):
            edited.setdefault((subject, relation), set()).add(target)
    return {
        at
        for at, row in enumerate(rows)
        if any(edited.get((s, r), set()) - {o} for s, r, o in [*row["orig"]["new_triples"], *_edits(row)])
    }


def _edits(row: Record) -> list[tuple[str, str, str]]:
    return [tuple(triple) for triple in row["orig"]["edit_triples"]]


def _by_question(hops: object) -> dict[str, tuple[str, ...]]:
    """Answer and aliases by question."""
    rows = hops if isinstance(hops, list) else []
    return {hop["question"]: texts(hop["answer"], hop.get("answer_alias")) for hop in rows}
