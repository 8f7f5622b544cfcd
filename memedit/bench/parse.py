"""How often a sentence is taken apart rightly, and how often a write retires the wrong edit.

Everyday pairs (`everyday_pairs.jsonl`, whose card is beside it) are two messages told one after the other to one
memory; of each it is known whether the second contradicts the first. A third is sealed: nobody reads it, and its
figures are those to publish. Where a folder of datasets is given it reads CounterFact, MQuAKE, KnowEdit, zsRE and
HalluEditBench as they are, too. Each edit becomes one sentence. Subject and target are given by the data. Whether two
edits are of one fact slot is given as well: by the relation's number in MQuAKE, its name in HalluEditBench, and
elsewhere by the answer that was true before any edit (one slot had one answer).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from memedit import terminal
from memedit.errors import NotFoundError
from memedit.memory import EditMemory
from memedit.parsing import Parse, normalise, parse


@dataclass(frozen=True)
class _Edit:
    """One edit of a dataset as a sentence, with what the data says of it."""

    source: str
    sentence: str
    subject: str
    target: str
    relation: str | None
    """The data's own name of the relation, where it gives one."""
    old: str | None
    """The answer that was true before."""


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _edits(data: Path) -> Iterator[_Edit]:
    for part in ("edit", "train"):
        for row in _read(data / f"counterfact/{part}.json"):
            sentence = f"{row['prompt']} {row['target_new']}"
            yield _Edit("counterfact", sentence, row["subject"], row["target_new"], None, row["ground_truth"])
    for case in _read(data / "mquake/cf-3k.json"):
        for edit in case["requested_rewrite"]:
            target, old = edit["target_new"]["str"], edit["target_true"]["str"]
            sentence = f"{edit['prompt'].replace('{}', edit['subject'])} {target}"
            yield _Edit("mquake", sentence, edit["subject"], target, edit["relation_id"], old)
    for name in ("zsre", "wiki_counterfact", "wiki_recent"):
        for row in _read(data / f"knowedit/{name}.json"):
            truth = row.get("ground_truth")
            old = truth[0] if isinstance(truth, list) and truth and isinstance(truth[0], str) else truth
            sentence = f"{row['prompt']} {row['target_new']}"
            known = old if isinstance(old, str) else None
            yield _Edit("knowedit", sentence, row["subject"], str(row["target_new"]), None, known)
    for part in ("train", "portability"):
        for row in _read(data / f"zsre/{part}.json"):
            yield _Edit("zsre", f"{row['src']} {row['alt']}", row["subject"], row["alt"], None, row["pred"])
    for row in _read(data / "hallueditbench/questions.json"):
        sentence = f"{row['question']} {row['object']}"
        yield _Edit("hallueditbench", sentence, row["subject"], row["object"], row["relation"], None)


def _same_slot(one: _Edit, other: _Edit) -> bool | None:
    """Whether the data says that both are of one slot; None where it does not say."""
    if normalise(one.subject) != normalise(other.subject):
        return False
    if one.source == other.source and one.relation is not None:
        return one.relation == other.relation
    if one.old is not None and other.old is not None:
        return normalise(one.old) == normalise(other.old)
    return None


def run(data: Path) -> dict[str, Any]:
    """Figures, ready to be printed as JSON.

    data: the folder of the datasets. Shares are of edit sentences; `wrong_supersedes` counts edits of all files that
    would retire an earlier edit of another slot if all were added to one memory.
    """
    edits = list(_edits(data))
    begin = time.perf_counter()
    parses = [parse(edit.sentence) for edit in edits]
    seconds = time.perf_counter() - begin
    judged = len(_read(data / "counterfact/edit.json"))  # these come first
    right = [_right(edit, read) for edit, read in zip(edits, parses, strict=True)]
    head: dict[str, _Edit] = {}
    supersedes = wrong = unjudged = 0
    examples: list[tuple[str, str]] = []
    for edit, read in zip(edits, parses, strict=True):
        if read.frame is None or read.cardinality != "single":
            continue
        older = head.get(read.frame)
        head[read.frame] = edit
        if older is None or normalise(older.sentence) == normalise(edit.sentence):
            continue
        supersedes += 1
        same = _same_slot(older, edit)
        if same is None:
            unjudged += 1
        elif not same:
            wrong += 1
            examples.append((older.sentence, edit.sentence))
    return {
        "sentences": judged,
        "right": sum(right[:judged]) / judged,
        "all_sentences": len(edits),
        "all_right": sum(right) / len(edits),
        "supersedes": supersedes,
        "supersedes_not_judged": unjudged,
        "wrong_supersedes": wrong,
        "wrong_supersedes_share": wrong / len(edits),
        "wrong_supersedes_examples": examples[:200],
        "parse_ms": 1000 * seconds / len(edits),
    }


def everyday() -> dict[str, Any]:
    """Figures of the everyday pairs, of the sealed part and of the rest; `wrong` are wrong retirements of the rest."""
    text = files("memedit.bench").joinpath("everyday_pairs.jsonl").read_text(encoding="utf-8")
    pairs = [json.loads(line) for line in text.splitlines()]
    parts: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    wrong: list[tuple[str, str]] = []
    with TemporaryDirectory() as folder, EditMemory.open(folder, encoder="letters") as memory:
        for number, pair in enumerate(pairs):
            namespace = f"pair {number}"
            first = memory.add(pair["first"], namespace=namespace)
            second = memory.add(pair["second"], namespace=namespace)
            retired = memory.get(first.id, namespace=namespace).state != "current"
            told = bool(second.superseded or second.possible_conflicts)
            kind = "contradicting" if pair["contradicts"] else "compatible"
            part = parts[bool(pair.get("sealed"))]
            part.update({kind: 1, f"{kind}_retired": int(retired), f"{kind}_told": int(told)})
            if retired and not pair["contradicts"] and not pair.get("sealed"):
                wrong.append((pair["first"], pair["second"]))
    figures = {name: {**dict.fromkeys(_COUNTS, 0), **parts[sealed]} for name, sealed in _PARTS.items()}
    return {**figures, "wrong": wrong}


_COUNTS = tuple(f"{kind}{what}" for kind in ("contradicting", "compatible") for what in ("", "_retired", "_told"))
_PARTS = {"sealed": True, "open": False}


def _right(edit: _Edit, read: Parse) -> bool:
    if read.subject is None or read.target is None:
        return False
    return normalise(read.subject) == normalise(edit.subject) and normalise(read.target) == normalise(edit.target)


@click.command(epilog="\b\nExample:\n  memedit bench parse --data DIR --json")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(data: Path | None, as_json: bool) -> None:
    """Measure how often a write retires what it does not contradict, and how often edit sentences are parsed right.

    Without a folder of datasets only the everyday pairs are measured, which come along.
    """
    from memedit.settings import load_settings

    folder = load_settings(data=data).data
    found: dict[str, Any] = {"everyday": everyday()}
    try:
        found |= run(folder) if folder is not None else {}
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {error.filename}; --data names a folder of datasets") from error
    if as_json:
        terminal.emit(found)
        return
    terminal.facts(terminal.flat({name: figure for name, figure in found.items() if not isinstance(figure, list)}))
