"""How `scope/similarity.json` was made: thresholds and a probability map, measured on held-out pairs.

    python -m memedit.training.similarity --data DIR

DIR is laid out as the project's data folder; read are `counterfact/train.json` (no subject of which is in the files
that scopes are evaluated on) and `questions/nq_open_dev.jsonl`. Edits go into a real memory, so that they are judged by
the very keys that a user's edits have. Unrelated questions are of two kinds: neighbours (an edit's relation asked of
another subject; dropped where another edit in the same memory names that subject) and ordinary questions. For memories
of several sizes the threshold at a rate is the score which that share of the harder kind exceeds. Right questions are
the data's paraphrases. Only figures are written, no text of the data.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memedit.edits import Draft
from memedit.errors import NotFoundError
from memedit.memory import EditMemory

SIZES = (1, 10, 100, 1000)
RATES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)

Scores = NDArray[np.float32]


def measure(rows: Sequence[dict[str, Any]], questions: Sequence[str], encoder: str) -> dict[str, Any]:
    """The figures for rows of CounterFact's flat form and ordinary questions.

    A neighbour's score against a memory is the highest over all keys of all its edits.
    """
    with tempfile.TemporaryDirectory() as folder, EditMemory.open(folder, encoder=encoder, store="exact") as memory:
        drafts = [_draft(row) for row in rows]
        ids = memory.add_many(drafts)
        memory.sync("default", progress=None)
        edits = [memory.get(id_) for id_ in ids]
        kept = [at for at, edit in enumerate(edits) if edit.state == "current"]  # some contradict one another
        rows = [rows[at] for at in kept]
        keys, starts = _keys(memory, [edits[at].seq for at in kept])
        encode = memory.encoder.encode
        right = _against(encode([row["rephrase_prompt"] for row in rows]), keys, starts)
        near = _against(encode([row["locality_prompt"] for row in rows]), keys, starts)
        apart = _against(encode(list(questions)), keys, starts)
        identity = memory.encoder.identity
    covered = _covered([row["locality_prompt"] for row in rows], [row["subject"] for row in rows])
    thresholds: dict[str, dict[str, float]] = {}
    recall: dict[str, dict[str, float]] = {}
    fit: tuple[Scores, Scores] | None = None
    for size in (*(size for size in SIZES if size < len(rows)), len(rows)):
        groups = [slice(start, start + size) for start in range(0, len(rows) - size + 1, size)]
        neighbours = np.concatenate([_best(near[group, group][~covered[group, group].any(axis=1)]) for group in groups])
        ordinary = np.concatenate([_best(apart[:, group]) for group in groups[:100]])
        found = np.concatenate([np.diag(right[group, group]) for group in groups])
        table = {rate: max(_exceeded(neighbours, rate), _exceeded(ordinary, rate)) for rate in RATES}
        thresholds[str(size)] = {str(rate): round(score, 4) for rate, score in table.items()}
        recall[str(size)] = {str(rate): round(float((found >= score).mean()), 4) for rate, score in table.items()}
        if size <= 1000:
            fit = found, np.concatenate([neighbours, ordinary[:: max(1, len(ordinary) // max(len(neighbours), 1))]])
    assert fit is not None
    slope, intercept = _logistic(*fit)
    return {
        "scope": "similarity",
        "encoder": identity,
        "made_by": "python -m memedit.training.similarity",
        "edits": len(rows),
        "questions": len(questions),
        "slope": round(slope, 4),
        "intercept": round(intercept, 4),
        "thresholds": thresholds,
        "recall_of_paraphrases": recall,
    }


def _draft(row: dict[str, Any]) -> Draft:
    statement = f"{row['prompt']} {row['target_new']}"
    return Draft(statement=statement, subject=row["subject"], target=row["target_new"], prompt=row["prompt"])


def _keys(memory: EditMemory, seqs: Sequence[int]) -> tuple[Scores, NDArray[np.int64]]:
    """All key vectors, edit after edit, and the row where each edit begins."""
    blobs = memory.journal.vectors(memory.encoder.identity, seqs)
    dimension = memory.encoder.dimension
    each = [np.frombuffer(blobs[seq], np.float16).reshape(-1, dimension) for seq in seqs]
    starts = np.cumsum([0, *(len(vectors) for vectors in each[:-1])])
    return np.concatenate(each).astype(np.float32), starts


def _against(queries: Scores, keys: Scores, starts: NDArray[np.int64]) -> Scores:
    """(queries, edits): the best score over each edit's keys."""
    parts = [np.maximum.reduceat(queries[at : at + 500] @ keys.T, starts, axis=1) for at in range(0, len(queries), 500)]
    return np.concatenate(parts)


def _covered(queries: Sequence[str], subjects: Sequence[str]) -> NDArray[np.bool_]:
    """(queries, subjects): whether the query names the subject."""
    folded = [subject.casefold() for subject in subjects]
    return np.array([[subject in query for subject in folded] for query in map(str.casefold, queries)], dtype=bool)


def _best(scores: Scores) -> Scores:
    return scores.max(axis=1) if len(scores) else np.empty(0, np.float32)


def _exceeded(scores: Scores, rate: float) -> float:
    return float(np.quantile(scores, 1 - rate))


def _logistic(right: Scores, wrong: Scores) -> tuple[float, float]:
    """Slope and intercept of P(right | score), both kinds weighing the same, by Newton's method."""
    x = np.concatenate([right, wrong]).astype(np.float64)
    y = np.concatenate([np.ones(len(right)), np.zeros(len(wrong))])
    weight = np.concatenate([np.full(len(right), 0.5 / len(right)), np.full(len(wrong), 0.5 / len(wrong))])
    design = np.stack([x, np.ones_like(x)], axis=1)
    beta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (y - p)) - 1e-6 * beta
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        beta = beta + np.linalg.solve(curvature, gradient)
    return float(beta[0]), float(beta[1])


def _read(path: Path) -> str:
    if not path.is_file():
        raise NotFoundError(f"there is no {path}; --data must name a folder laid out as the project's data")
    return path.read_text(encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the calibration; the recall that it leaves is printed."""
    parser = argparse.ArgumentParser(prog="python -m memedit.training.similarity", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of datasets")
    parser.add_argument("--edits", type=int, default=5000, help="edits in the largest memory")
    parser.add_argument("--encoder", default="onnx", help="encoder, name or name:argument")
    shipped = Path(str(files("memedit.scope") / "similarity.json"))
    parser.add_argument("--out", type=Path, default=shipped, help="file to write")
    given = parser.parse_args(arguments)
    rows = json.loads(_read(given.data / "counterfact" / "train.json"))[: given.edits]
    lines = _read(given.data / "questions" / "nq_open_dev.jsonl").splitlines()
    figures = measure(rows, [json.loads(line)["question"] for line in lines], given.encoder)
    given.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures["recall_of_paraphrases"]), file=sys.stderr)


if __name__ == "__main__":
    main()
