"""How `scope/recipe.json` was made: RECIPE's null prototype, learned for one encoder from held-out pairs.

    python -m memedit.training.recipe --data DIR

DIR is laid out as the project's data folder; read are `counterfact/train.json` (no subject of which is in the files
that scopes are evaluated on) and, where it is there, `questions/nq_open_dev.jsonl`. Pairs are a record's paraphrase and
its statement; queries that no edit answers are the records' neighbours and ordinary questions. Only the vector and
figures are written, no text of the data. The last quarter of the records is kept out of the learning, and measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memedit.encoders import load_encoder
from memedit.errors import InputError, NotFoundError
from memedit.scope.recipe import Vectors, fit

QUESTIONS = 1000
"""Ordinary questions that are read, at most."""


def learn(
    rows: Sequence[dict[str, Any]], questions: Sequence[str], encoder: str, *, steps: int = 2000
) -> dict[str, Any]:
    """What the file holds: the prototype, learned on three quarters of the rows, and what it does on the others.

    Raises InputError for fewer than 8 rows.
    """
    if len(rows) < 8:
        raise InputError(f"{len(rows)} records are too few to learn a prototype from; at least 8 are needed")
    made = load_encoder(encoder)
    edits = made.encode([f"{row['prompt']} {row['target_new']}" for row in rows])
    queries = made.encode([row["rephrase_prompt"] for row in rows])
    near = made.encode([row["locality_prompt"] for row in rows])
    far = made.encode(list(questions))
    cut, half = 3 * len(rows) // 4, 3 * len(far) // 4
    prototype = fit(np.concatenate([near[:cut], far[:half]]), queries[:cut], edits[:cut], steps=steps)
    held = edits[cut:]
    found = held_out(prototype, held, queries[cut:], near[cut:], far[half:])
    return {
        "scope": "recipe",
        "encoder": made.identity,
        "made_by": "python -m memedit.training.recipe",
        "records": len(rows),
        "held_out": {"edits": len(held), **found},
        "prototype": [round(float(number), 5) for number in prototype],
    }


def held_out(prototype: Vectors, edits: Vectors, queries: Vectors, near: Vectors, far: Vectors) -> dict[str, float]:
    """Shares in [0, 1]: paraphrases that find their edit, neighbours and ordinary questions on which it fires."""
    right = (queries @ edits.T).argmax(axis=1) == np.arange(len(edits))
    shares = {
        "recall": right & _fires(prototype, edits, queries),
        "false_fires_neighbour": _fires(prototype, edits, near),
    }
    if len(far):
        shares["false_fires_general"] = _fires(prototype, edits, far)
    return {name: round(float(share.mean()), 4) for name, share in shares.items()}


def _fires(prototype: Vectors, edits: Vectors, queries: Vectors) -> NDArray[np.bool_]:
    return np.asarray((queries @ edits.T).max(axis=1) > queries @ prototype)


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn and write the prototype; what it does on the records kept out is printed."""
    parser = argparse.ArgumentParser(prog="python -m memedit.training.recipe", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of datasets")
    parser.add_argument("--records", type=int, default=2000, help="records that are read")
    parser.add_argument("--encoder", default="onnx", help="encoder, name or name:argument")
    parser.add_argument("--steps", type=int, default=2000, help="steps of learning")
    shipped = Path(str(files("memedit.scope") / "recipe.json"))
    parser.add_argument("--out", type=Path, default=shipped, help="file to write")
    given = parser.parse_args(arguments)
    path = given.data / "counterfact" / "train.json"
    if not path.is_file():
        raise NotFoundError(f"there is no {path}; --data must name a folder laid out as the project's data")
    rows = json.loads(path.read_text(encoding="utf-8"))[: given.records]
    ordinary = given.data / "questions" / "nq_open_dev.jsonl"
    lines = ordinary.read_text(encoding="utf-8").splitlines()[:QUESTIONS] if ordinary.is_file() else []
    made = learn(rows, [json.loads(line)["question"] for line in lines], given.encoder, steps=given.steps)
    given.out.write_text(json.dumps(made) + "\n", encoding="utf-8")
    print(json.dumps(made["held_out"]), file=sys.stderr)


if __name__ == "__main__":
    main()
