"""Every dataset that scopes are measured on, read into one form: an edit, what asks it, what only seems to.

A `Record` is one edit with its questions by kind ("prompt", "paraphrase", "yes" …) and with those that stand beside it
("neighbour", "same-subject", "general") and that it does not answer. Multi-hop questions stand apart, since one may
need several edits. Data has faults: questions of a kind that cannot be what the kind says (an alias question that asks
nothing the edit says, a multi-hop question that gives its first hop away) are left out here and counted; what a
*loaded* edit answers is found out later, in `_probes.py`, when it is known which are loaded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from memedit.bench._questions import (
    counterfact_draft,
    counterfact_rows,
    names,
    nq_questions,
    simplequestions,
    webquestions,
    words,
)
from memedit.datasets import reader
from memedit.datasets._sift import asks_back
from memedit.edits import Draft
from memedit.errors import InputError, NotFoundError
from memedit.parsing import normalise, parse


@dataclass(frozen=True, slots=True)
class Beside:
    """A question that a record's edit does not answer, and what does, where the data says so (as `answers` makes)."""

    text: str
    answers: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Record:
    """One edit of a dataset; `edit.subject` is always there.

    `answers` are those that it gives and, where known, those that were true before. Records whose `backwards` is the
    same (and not empty) are all right answers to one another's reversed question. `kind` is the subject's: "person",
    "place", "thing", or "" where the data does not say; `plainly` a well-worded question, where the edit's own is not.
    """

    edit: Draft
    asked: Mapping[str, tuple[str, ...]]
    beside: Mapping[str, tuple[Beside, ...]] = field(default_factory=dict)
    answers: frozenset[str] = frozenset()
    backwards: str = ""
    kind: str = ""
    plainly: str = ""

    @property
    def subject(self) -> str:
        return self.edit.subject or ""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Records in the file's order, and what belongs to none of them alone.

    `hops` are multi-hop questions with the numbers of the records that they need; `spare` are questions of facts that
    are never loaded, in the words of the records (so neighbours of them); `general` are ordinary questions, of which
    `more_general` serve for the smallest rate only. `left_out` counts by kind. `talk`: follow-ups and long messages are
    made of it. `at` is how many edits are loaded unless the user says so.
    """

    name: str
    records: tuple[Record, ...]
    hops: tuple[tuple[str, tuple[int, ...]], ...] = ()
    spare: tuple[str, ...] = ()
    general: tuple[str, ...] = ()
    more_general: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    talk: bool = False
    at: int = 2_000


def load(folder: Path, wanted: Iterable[str] = ()) -> Iterator[Dataset]:
    """The datasets of a folder that are wanted (all, if none is named) and that are there, one at a time.

    Raises InputError for an unknown name or a file of another form, NotFoundError where nothing is there.
    """
    asked = list(wanted) or list(DATASETS)
    if unknown := [name for name in asked if name not in DATASETS]:
        raise InputError(f"there is no dataset {', '.join(unknown)}; there are: {', '.join(DATASETS)}")
    there = [name for name in asked if any((folder / path).is_file() for path in DATASETS[name][1])]
    if not there:
        files = ", ".join(dict.fromkeys(path for name in asked for path in DATASETS[name][1]))
        raise NotFoundError(f"there is none of {files} in {folder}; give the folder of datasets with --data")
    for name in there:
        try:
            yield DATASETS[name][0](folder)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            what = " or ".join(DATASETS[name][1])
            raise InputError(f"{what} in {folder} is not of the dataset's form: {error!r}") from error


def answers(*given: object) -> frozenset[str]:
    """Answers as they are compared, from texts and lists in lists of texts."""
    found: set[str] = set()
    for one in given:
        if isinstance(one, str):
            found.add(normalise(one))
        elif isinstance(one, (list, tuple)):
            found |= answers(*one)
    return frozenset(found - {""})


SYNONYMS = ({"human", "homo sapiens"},)
"""Answers that datasets write in two ways, neither of which stands in the other."""


def agree(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether two sets of answers, as `answers` makes them, have one in common, be it in a fuller form on one side.

    "Blue Note" is Blue Note Records, "Joseph Vernet" Claude Joseph Vernet. Of one word no fuller form is looked for:
    the University of Paris is not Paris.
    """
    return any(_same_answer(one, other) for one in some for other in others)


def _same_answer(one: str, other: str) -> bool:
    if one == other or any(one in both and other in both for both in SYNONYMS):
        return True
    short, long = sorted((one, other), key=len)
    return len(words(short)) > 1 and says(long, short)


def says(text: str, name: str) -> bool:
    """Whether a text has a name in it, as whole words."""
    return names([name])(text)


def counterfact(folder: Path) -> Dataset:
    rows = counterfact_rows(folder)
    train = _json(folder / "counterfact" / "train.json")
    spare = [row[key] for row in train for key in ("locality_prompt", "prompt") if key in row]
    return Dataset(
        name="counterfact",
        records=tuple(map(_counterfact, rows)),
        spare=tuple(spare),
        general=tuple(_ordinary(folder)),
        more_general=tuple(dict.fromkeys([*webquestions(folder), *simplequestions(folder)])),
        talk=True,
    )


def _counterfact(row: Mapping[str, Any]) -> Record:
    asked = {"prompt": (row["prompt"],), "paraphrase": _given(row.get("rephrase_prompt"))}
    near = tuple(Beside(text) for text in _given(row.get("locality_prompt")))
    old = answers(row.get("ground_truth"), row["target_new"])
    return Record(edit=counterfact_draft(row), asked=asked, beside={"neighbour": near}, answers=old)


def zsre(folder: Path) -> Dataset:
    draft = reader("zsre").drafts
    records: list[Record] = []
    hops: list[tuple[str, tuple[int, ...]]] = []
    left: Counter[str] = Counter()
    # KnowEdit's zsRE has other relations of some of these subjects.
    others = {row["subject"]: row for row in _json(folder / "knowedit" / "zsre.json")}
    for row in [*_json(folder / "zsre" / "train.json"), *_json(folder / "zsre" / "portability.json")]:
        loc = (row.get("loc") or "").removeprefix("nq question: ")
        record = Record(
            edit=draft(row)[0],
            asked={"prompt": (row["src"],), "paraphrase": _given(row.get("rephrase"))},
            beside={
                "general": tuple(map(Beside, _given(loc))),
                "same-subject": _other_relations(others.get(row["subject"], {})),
            },
            answers=answers(
                row.get("pred"), row.get("answers"), row["alt"], others.get(row["subject"], {}).get("ground_truth")
            ),
        )
        hop = (row.get("portability") or {}).get("New Question")
        if hop:
            _hop(hop, record, len(records), hops, left)
        records.append(record)
    general = tuple(_ordinary(folder))
    return Dataset(
        name="zsre", records=tuple(records), hops=tuple(hops), more_general=general, left_out=left, talk=True
    )


def knowedit_zsre(folder: Path) -> Dataset:
    left: Counter[str] = Counter()
    rows = _json(folder / "knowedit" / "zsre.json")
    records = tuple(_knowedit(row, left, strict=True) for row in rows)
    return Dataset(name="knowedit-zsre", records=records, general=tuple(_ordinary(folder)), left_out=left)


def knowedit_wiki(folder: Path) -> Dataset:
    left: Counter[str] = Counter()
    rows = [row for part in ("wiki_counterfact", "wiki_recent") for row in _json(folder / "knowedit" / f"{part}.json")]
    records = tuple(_knowedit(row, left, strict=False) for row in rows)
    return Dataset(name="knowedit-wiki", records=records, general=tuple(_ordinary(folder)), left_out=left)


def _knowedit(row: Mapping[str, Any], left: Counter[str], *, strict: bool) -> Record:
    """`strict`: aliases stand in free questions, some of which ask for something else ("What is ALIAS?")."""
    edit = reader("knowedit").drafts(row)[0]
    subject, target = row["subject"], str(row["target_new"])
    portability = row.get("portability") or {}
    forms = [row["prompt"], *_given(row.get("rephrase_prompt"))]
    alias = []
    for one in portability.get("Subject_Aliasing", ()):
        text = one["prompt"]
        if text in forms or (strict and not stems(text) & set().union(*map(stems, forms)) - stems(subject)):
            left["alias"] += 1
        else:
            alias.append(text)
    # What KnowEdit calls logical generalisation is of many kinds; the reversed relation is among them.
    backwards = []
    for one in portability.get("Logical_Generalization", ()):
        if says(one["prompt"], target) and not says(one["prompt"], subject):
            if asks_back(one["prompt"], target, row["prompt"], subject):
                backwards.append(one["prompt"])
            else:
                left["reversed"] += 1
    asked = {
        "prompt": (row["prompt"],),
        "paraphrase": tuple(forms[1:]),
        "alias": tuple(alias),
        "reversed": tuple(backwards),
    }
    return Record(
        edit=edit,
        asked=asked,
        beside={"same-subject": _other_relations(row)},
        answers=answers(row.get("ground_truth"), row["target_new"]),
    )


def _other_relations(row: Mapping[str, Any]) -> tuple[Beside, ...]:
    given = (row.get("locality") or {}).get("Relation_Specificity", ())
    return tuple(Beside(one["prompt"], answers(one["ground_truth"])) for one in given)


def hallueditbench(folder: Path) -> Dataset:
    records: list[Record] = []
    hops: list[tuple[str, tuple[int, ...]]] = []
    left: Counter[str] = Counter()
    for row in _json(folder / "hallueditbench" / "questions.json"):
        subject, target = row["subject"], row["object"]
        asked: dict[str, tuple[str, ...]] = {"prompt": (row["question"],)}
        for kind, key in (
            ("paraphrase", "paraphrased_question"),
            ("yes", "yes_question"),
            ("no", "no_question"),
            ("reversed", "reversed_relation_question"),
        ):
            asked[kind] = _given(row.get(key))
            # Asked backwards it names the target, and the subject is what is looked for.
            for text in asked[kind]:
                if says(text, subject) == (kind == "reversed") or (kind == "reversed" and not says(text, target)):
                    left[kind] += 1
                    asked[kind] = ()
        record = Record(
            edit=Draft(
                statement=f"{row['question']} {target}", subject=subject, target=target, question=row["question"]
            ),
            asked=asked,
            beside={"same-subject": tuple(map(Beside, _given(row.get("locality_question"))))},
            answers=answers(target),
            backwards=f"{normalise(row['relation'])}|{normalise(target)}",
            kind={"human": "person", "places": "place", "geography": "place"}.get(row["topic"].split("_")[0], "thing")
            if row.get("topic")
            else "",
            plainly=next(iter(asked["paraphrase"]), ""),  # the edit's own is put together: "What is the located in of"
        )
        for count in range(2, 7):
            if text := row.get(f"question_{count}hop"):
                _hop(text, record, len(records), hops, left)
        records.append(record)
    return Dataset(
        name="hallueditbench",
        records=tuple(records),
        hops=tuple(hops),
        general=tuple(_ordinary(folder)),
        left_out=left,
        talk=True,
    )


def pokemqa(folder: Path) -> Dataset:
    left: Counter[str] = Counter()
    records: dict[str, Record] = {}
    for row in _json(folder / "pokemqa" / "edit-questions.json"):
        if row["edit"] in records:  # written out several times, with the same questions
            continue
        read = parse(row["edit"])
        if read.subject is None or read.target is None or not any(says(one, read.subject) for one in row["questions"]):
            left["edits"] += 1
            continue
        # A question that holds the answer asks for something else ("What has Ann to do with baseball?").
        asked = tuple(dict.fromkeys(text for text in row["questions"] if not says(text, read.target)))
        left["paraphrase"] += len(set(row["questions"])) - len(asked)
        records[row["edit"]] = Record(
            edit=Draft(statement=row["edit"], subject=read.subject, target=read.target),
            asked={"paraphrase": asked},
            answers=answers(read.target),
        )
    return Dataset(name="pokemqa", records=tuple(records.values()), general=tuple(_ordinary(folder)), left_out=left)


def mquake(folder: Path) -> Dataset:
    draft = reader("mquake").drafts
    records: list[Record] = []
    numbers: dict[tuple[str, str], int] = {}
    hops: list[tuple[str, tuple[int, ...]]] = []
    for row in _json(folder / "mquake" / "cf-3k.json"):
        needed = []
        for rewrite, edit in zip(row["requested_rewrite"], draft(row), strict=True):
            slot = rewrite["subject"], rewrite.get("relation_id", rewrite["prompt"])
            if slot not in numbers:
                numbers[slot] = len(records)
                old = answers((rewrite.get("target_true") or {}).get("str"), edit.target)
                asked = {"prompt": _given(edit.prompt), "paraphrase": _given(edit.question)}
                records.append(Record(edit=edit, asked=asked, answers=old))
            needed.append(numbers[slot])
        hops += [(text, tuple(dict.fromkeys(needed))) for text in row["questions"]]
    spare = [row[key] for row in _json(folder / "mquake" / "single_hop_facts.json") for key in ("question", "cloze")]
    return Dataset(
        name="mquake",
        records=tuple(records),
        hops=tuple(dict(reversed(hops)).items()),
        spare=tuple(spare),
        general=tuple(_ordinary(folder)),
    )


def nq(folder: Path) -> Dataset:
    return Dataset(name="nq", records=_edits_only(folder), general=tuple(nq_questions(folder)), at=10_000)


def web(folder: Path) -> Dataset:
    return Dataset(name="webquestions", records=_edits_only(folder), general=tuple(webquestions(folder)), at=10_000)


def _edits_only(folder: Path) -> tuple[Record, ...]:
    """CounterFact's edits where they are there; else the memory is filled with others."""
    if not (folder / "counterfact" / "edit.json").is_file():
        return ()
    return tuple(replace(record, asked={}, beside={}) for record in map(_counterfact, counterfact_rows(folder)))


DATASETS: dict[str, tuple[Callable[[Path], Dataset], tuple[str, ...]]] = {
    "counterfact": (counterfact, ("counterfact/edit.json",)),
    "zsre": (zsre, ("zsre/train.json", "zsre/portability.json")),
    "knowedit-zsre": (knowedit_zsre, ("knowedit/zsre.json",)),
    "knowedit-wiki": (knowedit_wiki, ("knowedit/wiki_counterfact.json", "knowedit/wiki_recent.json")),
    "hallueditbench": (hallueditbench, ("hallueditbench/questions.json",)),
    "pokemqa": (pokemqa, ("pokemqa/edit-questions.json",)),
    "mquake": (mquake, ("mquake/cf-3k.json",)),
    "nq": (nq, ("questions/nq_open_dev.jsonl",)),
    "webquestions": (web, ("questions/webquestions_train.json",)),
}
"""By name: how it is read, and the files of which at least one is needed."""


def _json(path: Path) -> list[Any]:
    """The rows of a file; none where it is missing."""
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def _ordinary(folder: Path) -> list[str]:
    return nq_questions(folder) or webquestions(folder) or simplequestions(folder)


def _given(text: str | None) -> tuple[str, ...]:
    return (text,) if text and text.strip() else ()


def _hop(text: str, record: Record, number: int, hops: list[tuple[str, tuple[int, ...]]], left: Counter[str]) -> None:
    """Keep a multi-hop question, if the edit is needed: its subject is named, and its target is not given away."""
    if says(text, record.subject) and not says(text, record.edit.target or ""):
        hops.append((text, (number,)))
    else:
        left["multihop"] += 1


_STOP = frozenset(
    words(
        "a an the of in on at to by for from with and or is was are were be been being do does did has have had what "
        "which who whom whose when where why how that this it its their his her name called s"
    )
)


def stems(text: str) -> set[str]:
    """The beginnings of a text's words, for saying whether two texts speak of one thing."""
    return {word[:5] for word in words(text) if word not in _STOP}
