"""EasyEdit's and KnowEdit's result files, to and from run folders, so that results can be laid beside theirs.

A file of theirs is a list with an object per case: {"case_id", "requested_rewrite": {"prompt", "target_new",
"ground_truth", "subject", "rephrase_prompt", "locality", "portability"}, "time", "pre": {…}, "post": {…}}, where `pre`
and `post` hold "rewrite_acc", "rephrase_acc", "locality" and "portability" (objects of NAME_acc), and "fluency".

Their accuracies are **teacher-forced**: the target's tokens are fed to the model and those counted that are the most
probable (`rewrite_acc`), or, for locality, those that are what the model said before. They land among the
teacher-forced figures and nowhere else; newer files name the protocol of each part in "metric_meta", and a part that
was freely generated is then read as free. Only "ngram_entropy" is of generated text by its nature: it is read as GE,
in bits as they write it; theirs is of 100 sampled tokens behind the edit's prompt, where memedit's is of greedy text. A
figure that memedit has no like of is left out, and the run says so. "ground_truth" is the dataset's own answer, never
what the model said: of the rewrite the old one ("<|endoftext|>" without any, as they write it).

Source: EasyEdit, Wang et al. 2024; KnowEdit, Zhang et al. 2024; the form is that of their `editors/editor.py` and
`evaluate/evaluate.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from memedit.errors import InputError, NotFoundError
from memedit.evaluation.metrics import mean
from memedit.evaluation.rows import CASES, ROWS, RUN, lines, rows

Record = Mapping[str, Any]

BASE = "base"
"""The method whose run holds the `pre` figures: the unedited model."""

NO_TRUTH = "<|endoftext|>"
"""What stands for an old answer where the dataset has none."""

METRICS = {
    ("rewrite_acc",): "reliability",
    ("rephrase_acc",): "generalisation",
    ("locality", "neighborhood_acc"): "locality",
    ("locality", "Relation_Specificity_acc"): "same_subject",
    ("locality", "distracting_acc"): "distracting",
    ("portability", "Subject_Aliasing_acc"): "subject_alias",
    ("portability", "inverse_relation_acc"): "reversed",
    ("portability", "one_hop_acc"): "one_hop",
    ("portability", "Logical_Generalization_acc"): "logical",
}
"""Where a figure stands in `pre` and `post` -> what memedit calls it. Written so; read by any case of letters."""

ALSO = {
    ("portability", "reasoning_acc"): "one_hop",
    ("locality", "other_attribution_acc"): "same_subject",
    ("portability", "reversed_relation_acc"): "reversed",
    ("locality", "distracting_neighbor_acc"): "distracting",
}
"""Other names of the same, that are read and not written."""

_KINDS = {
    "locality": {"neighbour": "neighborhood", "same_subject": "Relation_Specificity", "distracting": "distracting"},
    "portability": {"alias": "Subject_Aliasing", "reversed": "inverse_relation", "one_hop": "one_hop",
                    "logical": "Logical_Generalization"},
}  # fmt: skip

_READ = {tuple(part.lower() for part in path): metric for path, metric in (METRICS | ALSO).items()}


def read(file: Path) -> list[Record]:
    """The records of a result file. Raises NotFoundError, or InputError where it is not of this form."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {file}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) and "post" in one for one in found):
        raise InputError(f'{file} is no result of EasyEdit: that is a list of objects with "pre" and "post"')
    return found


def import_results(
    records: Sequence[Record], out: Path, *, method: str, model: str, dataset: str, protocol: str = "single"
) -> list[Path]:
    """Write records as runs of `method` and, from their `pre`, of the unedited model; -> the runs' folders.

    Their files do not name method, model and dataset: to stand in one table with runs of memedit these must be the
    same words. `known` is not told, hence None. Raises InputError where a run is already there.
    """
    written = []
    edits = len(records) if protocol != "single" else 1
    for name, side in ((method, "post"), (BASE, "pre")):
        there = [one for one in records if isinstance(one.get(side), Mapping) and one[side]]
        if not there:
            continue
        folder = out / name.replace(":", "-") / f"{dataset}-{protocol}-{edits}"
        cases = [_case(one, side) for one in there]
        left = sorted({path for one in there for path in _unread(one, side)})
        settings = {
            "format": 1,
            "method": name,
            "model": model,
            "dataset": dataset,
            "protocol": protocol,
            "edits": edits,
            "cases": len(cases),
            "seed": 0,
            "settings": {"imported_from": "EasyEdit"},
            "versions": {},
            "left_out": {f"teacher_forced {path}": "no metric or protocol of memedit's is the same" for path in left},
        }
        _write_run(folder, settings, cases)
        written.append(folder)
    return written


def _write_run(folder: Path, settings: Record, cases: Iterable[Record]) -> None:
    try:
        folder.mkdir(parents=True)
        (folder / RUN).write_text(json.dumps(settings, indent=1, ensure_ascii=False), encoding="utf-8")
        text = "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases)
        (folder / CASES).write_text(text, encoding="utf-8")
        (folder / ROWS).write_text(json.dumps({"rows": rows(folder)}, ensure_ascii=False), encoding="utf-8")
    except FileExistsError as error:
        raise InputError(f"there is a run at {folder}; name another folder, or remove it") from error
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from error


def _case(record: Record, side: str) -> dict[str, Any]:
    """A line of cases.jsonl; what was asked for is kept whole, so that it can be written back."""
    found: dict[str, dict[str, float]] = {"free": {}, "teacher_forced": {}}
    for path, values in _figures(record, side):
        scoring, metric = _scoring(record[side], path), _READ.get(tuple(part.lower() for part in path))
        value = mean(values)
        if scoring is not None and metric is not None and value is not None:
            found[scoring][metric] = value
    entropy = (record[side].get("fluency") or {}).get("ngram_entropy")
    if entropy is not None:
        found["free"]["GE"] = float(entropy)
    return {
        "case": str(record.get("case_id", "")),
        "known": None,
        "metrics": found,
        "replies": [],
        "seconds": {"edit": record.get("time") if side == "post" else None, "query": None},
        "memory_bytes": None,
        "requested_rewrite": record.get("requested_rewrite", {}),
    }


def _figures(record: Record, side: str) -> Iterable[tuple[tuple[str, ...], list[float]]]:
    """(path, values) of every accuracy; tokens before and after become the share of those that are the same."""
    said = record[side]
    for name, value in said.items():
        if name.endswith("_acc"):
            yield (name,), _flat(value)
    for group in ("locality", "portability"):
        for name, value in (said.get(group) or {}).items():
            if name.endswith("_acc"):
                yield (group, name), _flat(value)
            elif name.endswith("_output"):
                before = (record.get("pre") or {}).get(group, {}).get(name)
                after = (record.get("post") or {}).get(group, {}).get(name)
                # The unedited model agrees with itself; without both sides there is nothing to compare.
                pairs = list(zip(before, value if side == "pre" else after, strict=False)) if before and after else []
                same = [_agreement(*pair) for pair in pairs]
                yield (group, f"{name.removesuffix('_output')}_acc"), [one for one in same if one is not None]


def _agreement(before: Any, after: Any) -> float | None:
    """Share of positions with the same token; None where the two are not of one length."""
    old, new = (one if isinstance(one, list) else [one] for one in (before, after))
    return mean(one == other for one, other in zip(old, new, strict=True)) if len(old) == len(new) else None


def _flat(value: Any) -> list[float]:
    if isinstance(value, (list, tuple)):
        return [number for one in value for number in _flat(one)]
    return [float(value)] if isinstance(value, (int, float)) else []


def _scoring(said: Mapping[str, Any], path: tuple[str, ...]) -> str | None:
    """Which protocol a figure was taken by: as the file says of its part, or of the rewrite, else teacher-forced."""
    meta = said.get("metric_meta") or {}
    part = path[0].removesuffix("_acc")
    protocol = (meta.get(part) or meta.get("rewrite") or {}).get("protocol", "teacher_forcing")
    if "teacher_forcing" in protocol:
        return "teacher_forced"
    return "free" if protocol.startswith("free_generation") else None


def _unread(record: Record, side: str) -> Iterable[str]:
    for path, _ in _figures(record, side):
        if _scoring(record[side], path) is None or tuple(part.lower() for part in path) not in _READ:
            yield "/".join(path)


def export_results(folder: Path, base: Path | None = None) -> list[dict[str, Any]]:
    """A run's cases as records of EasyEdit; `base`, a run of the unedited model on the same cases, gives `pre`.

    Only teacher-forced figures and GE are written, since that is what theirs are; a case's mean stands where theirs
    list one figure per question.
    """
    before = {line["case"]: line for line in lines(base / CASES)} if base is not None else {}
    made = []
    for number, line in enumerate(lines(folder / CASES)):
        record: dict[str, Any] = {
            "case_id": int(line["case"]) if line["case"].isdecimal() else line["case"] or number,
            "requested_rewrite": line.get("requested_rewrite") or _requested(line),
            "time": (line.get("seconds") or {}).get("edit"),
            "post": _side(line),
        }
        if line["case"] in before:
            record["pre"] = _side(before[line["case"]])
        made.append(record)
    return made


def _side(line: Record) -> dict[str, Any]:
    forced = line["metrics"].get("teacher_forced", {})
    said: dict[str, Any] = {"locality": {}, "portability": {}}
    for (*group, name), metric in METRICS.items():
        if forced.get(metric) is not None:
            (said[group[0]] if group else said)[name] = [forced[metric]]
    entropy = line["metrics"].get("free", {}).get("GE")
    return said | ({"fluency": {"ngram_entropy": entropy}} if entropy is not None else {})


def _requested(line: Record) -> dict[str, Any]:
    """What a case asked, from its replies, in their form."""
    by_kind: dict[str, list[Record]] = {}
    for reply in line.get("replies", ()):
        by_kind.setdefault(reply["kind"], []).append(reply)
    asked: dict[str, Any] = {"locality": {}, "portability": {}}
    for reply in by_kind.get("edit", ())[:1]:
        asked |= {"prompt": reply["prompt"], "target_new": _first(reply.get("expected"))}
        asked |= {"ground_truth": _first(line.get("old")) or NO_TRUTH, "subject": line.get("subject", "")}
    for reply in by_kind.get("paraphrase", ())[:1]:
        asked["rephrase_prompt"] = reply["prompt"]
    for group, kinds in _KINDS.items():
        for kind, name in kinds.items():
            if replies := by_kind.get(kind):
                truth = "answers" if group == "locality" else "expected"
                prompts, truths = [one["prompt"] for one in replies], [_first(one.get(truth)) for one in replies]
                asked[group][name] = {"prompt": prompts, "ground_truth": truths}
    return asked


def _first(answers: Sequence[str] | str | None) -> str:
    return answers if isinstance(answers, str) else str(answers[0]) if answers else ""
