"""How `answerers/language_patch.json` and `mem_prompt.json` were made: bounds for conditions and for feedback.

    python -m memedit.training.patches --data DIR

Conditions, with messages that meet them and near misses, are those of `patch_pairs.json` beside this file. Ordinary
questions are every second one of NQ-open and WebQuestions, by a hash of the question; `memedit bench patches` measures
on the others. For memories of several sizes the bound at a rate is the score that this share of ordinary questions
reaches against any of so many conditions. Some ordinary questions do meet a condition (“who won the match”), so that
the true rate is lower. Only figures are written, no text of the data.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from memedit.answerers._conditions import bare, ordinary_messages
from memedit.answerers.mem_prompt import worded
from memedit.bench._questions import nq_questions, webquestions
from memedit.encoders import Encoder, load_encoder
from memedit.errors import NotFoundError
from memedit.training.similarity import RATES, _logistic

SIZES = (1, 3, 10, 30)
DRAWS = 20
LIKE = 0.001
"""Share of pairs of ordinary questions that may be taken for questions of one kind."""

Scores = NDArray[np.float64]


def pairs() -> list[dict[str, Any]]:
    """{"condition", "in": messages that meet it, "out": near misses}, one for each condition."""
    read: list[dict[str, Any]] = json.loads((files("memedit.training") / "patch_pairs.json").read_text("utf-8"))
    return read


def half(questions: Iterable[str], which: int) -> list[str]:
    """Every second question, by its hash: 0 for calibration, 1 for measuring."""
    return [question for question in questions if crc32(question.encode()) % 2 == which]


def standing_out(texts: Sequence[str], conditions: Sequence[str], encoder: Encoder) -> Scores:
    """(texts, conditions): the scores of `memedit.answerers._conditions`, all at once."""
    wordings = encoder.encode([bare(condition) for condition in conditions])
    usual = encoder.encode(ordinary_messages()) @ wordings.T
    scores: Scores = (encoder.encode(list(texts)) @ wordings.T - usual.mean(0)) / np.maximum(usual.std(0), 1e-3)
    return scores


def measure(questions: Sequence[str], encoder: Encoder, random: np.random.Generator) -> dict[str, Any]:
    """The figures for conditions, on ordinary questions."""
    rows = pairs()
    conditions = [row["condition"] for row in rows]
    apart = standing_out(questions, conditions, encoder)
    met = np.concatenate([standing_out(row["in"], [row["condition"]], encoder)[:, 0] for row in rows])
    thresholds: dict[str, dict[str, float]] = {}
    for size in SIZES:
        drawn = (
            [random.permutation(len(rows))[:size] for _ in range(DRAWS)]
            if size > 1
            else [[at] for at in range(len(rows))]
        )
        best = np.concatenate([apart[:, some].max(1) for some in drawn])
        thresholds[str(size)] = {str(rate): round(float(np.quantile(best, 1 - rate)), 3) for rate in RATES}
    slope, intercept = _logistic(met.astype(np.float32), apart.ravel()[::17].astype(np.float32))
    return {
        "scope": "language_patch",
        "encoder": encoder.identity,
        "made_by": "python -m memedit.training.patches",
        "questions": len(questions),
        "slope": round(slope, 4),
        "intercept": round(intercept, 4),
        "thresholds": thresholds,
        "recall": {rate: round(float((met >= bound).mean()), 3) for rate, bound in thresholds["1"].items()},
    }


def measure_likeness(questions: Sequence[str], encoder: Encoder) -> dict[str, Any]:
    """The cosine that one in a thousand pairs of ordinary questions exceeds: from there on two are of a kind."""
    vectors = encoder.encode([worded(question) for question in questions])
    pairs_ = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    return {
        "answerer": "mem_prompt",
        "encoder": encoder.identity,
        "made_by": "python -m memedit.training.patches",
        "questions": len(questions),
        "rate": LIKE,
        "cosine": round(float(np.quantile(pairs_, 1 - LIKE)), 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the calibration; the recall that it leaves is printed."""
    parser = argparse.ArgumentParser(prog="python -m memedit.training.patches", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of datasets")
    parser.add_argument("--encoder", default="onnx", help="encoder, name or name:argument")
    shipped = Path(str(files("memedit.answerers")))
    parser.add_argument("--out", type=Path, default=shipped, help="folder to write to")
    given = parser.parse_args(arguments)
    questions = half([*nq_questions(given.data), *webquestions(given.data)], 0)
    if not questions:
        raise NotFoundError(f"there are no questions in {given.data}; --data names a folder laid out as the project's")
    encoder = load_encoder(given.encoder)
    figures = measure(questions, encoder, np.random.default_rng(0))
    for name, made in (("language_patch", figures), ("mem_prompt", measure_likeness(questions, encoder))):
        (given.out / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures["recall"]), file=sys.stderr)


if __name__ == "__main__":
    main()
