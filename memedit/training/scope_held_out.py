"""How `scope/two_stage.json` was made: the shipped gate, calibrated on held-out pairs.

    python -m memedit.training.scope_held_out --data DIR [--gate DIR] [--out FILE]

The pairs are of the training files' tenth of subjects that nothing was trained on (`scope_text.read_sources`), in all
kinds of questions, and are judged by real memories of several sizes. A question that another edit of the same memory
answers, or may, is no negative there: those that name its subject are dropped. Only figures are written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from memedit.bench._questions import Prepared, names
from memedit.edits import Draft, Message
from memedit.memory import EditMemory
from memedit.parsing import normalise
from memedit.scope._calibration import TwoStageCalibration
from memedit.training.calibration import Measured, Scored, calibrate, measure, multi_hop_threshold
from memedit.training.scope_text import Case, ScopeWriter, read_sources

SIZES = (1, 100, 1000, 5000)
FEWEST = 400
"""Questions of a kind at a size, below which they set no threshold."""
JUDGED = {1: 800}
"""Edits whose questions are judged at a size, if not 2,000."""
OFF_TOPIC = 4
"""Ordinary questions beside each edit's own, which are cheap, and of which rare ones count."""
MULTI_HOP = 0.025
"""Share of questions of one hop that may be labelled multi-hop: the label only costs the planner's look at them."""
JUDGING = ("neighbour", "same_subject", "general")
"""Kinds of negatives that set thresholds. The others are told by their label (multi-hop), depend on how a message is
split (restated), or are now and then right: a name with one word more may be the same one, a target's question may fit.
"""


def figures(data: Path, gate: Path, edits: int = SIZES[-1], seed: int = 11) -> TwoStageCalibration:
    """The calibration of the gate in a folder; what it leaves is printed on stderr."""
    from memedit.encoders.onnx import Onnx, read_config
    from memedit.scope._verifier import Verifier
    from memedit.scope.two_stage import hops

    encoder, verifier = Prepared(Onnx(str(gate))), Verifier(gate)
    writer = ScopeWriter(read_sources(data, held_out=True), seed)
    cases = [_with_more(case, writer) for case in writer.cases(edits, queries=2, negatives=5)[:edits]]
    positives: dict[str, Scored] = {}
    negatives: dict[str, dict[int, Scored]] = defaultdict(dict)
    for size in [size for size in SIZES if size <= edits]:
        most = JUDGED.get(size, 2000)
        some = cases[: max(size, most)]
        groups = [some[start : start + size] for start in range(0, len(some) - size + 1, size)]
        encoder.prepare([text for case in some for text in (*case.keys, *_texts(case))])
        kinds, wanted, found = _judged(groups, encoder, verifier, most)
        scored = found.pairs
        at = np.array(kinds)
        for kind in sorted({kind for kind, own in zip(kinds, wanted, strict=True) if own is None}):
            chosen = (at == kind) & np.array([own is None for own in wanted])
            if kind in JUDGING and chosen.sum() >= FEWEST:
                negatives[kind][size] = scored.some(chosen)
        if size == 1000 or edits < 1000:
            for kind in sorted({kind for kind, own in zip(kinds, wanted, strict=True) if own is not None}):
                mine = [
                    own if own is not None and its == kind else None for its, own in zip(kinds, wanted, strict=True)
                ]
                positives[kind] = found.right(mine)
        print(f"{size} edits: {dict(Counter(kinds))}", file=sys.stderr, flush=True)
    head = read_config(gate).get("multi_hop")
    multi_hop = None
    if head:
        weights = np.array(head["weights"], np.float32)
        single = [writer.single_hop() for _ in range(3000)]
        several = [writer.multi_hop() for _ in range(1500)]
        odds = [[hops(row, weights, head["bias"]) for row in encoder.encode(texts)] for texts in (single, several)]
        multi_hop = multi_hop_threshold(odds[0], MULTI_HOP)
        share = np.mean(np.array(odds[1]) >= multi_hop)
        print(f"multi-hop questions recognised: {share:.4f} at {multi_hop}", file=sys.stderr)
    made = calibrate(
        positives,
        negatives,
        encoder=encoder.identity,
        verifier=verifier.identity,
        multi_hop=multi_hop,
        by_name=True,
        facts={"made_by": "python -m memedit.training.scope_held_out", "edits": edits, "seed": seed},
    )
    print(json.dumps(made.facts), file=sys.stderr)
    return made


def _with_more(case: Case, writer: ScopeWriter) -> Case:
    """The case with more questions about other things."""
    texts = [writer.off_topic(case.fact) for _ in range(OFF_TOPIC)]
    return replace(case, negatives=(*case.negatives, *(writer.as_negative(case.fact, text) for text in texts)))


def _texts(case: Case) -> list[str]:
    return [text for _, text in (*case.queries, *case.negatives)]


def _judged(
    groups: Sequence[Sequence[Case]], encoder: Any, verifier: Any, most: int
) -> tuple[list[str], list[str | None], Measured]:
    """Kind and right edit (None: out of scope) of each question, and its scores; one namespace for each group.

    Of each group the first `most` edits' questions are judged.
    """
    kinds: list[str] = []
    wanted: list[str | None] = []
    ids: list[tuple[str, ...]] = []
    parts: list[Scored] = []
    with tempfile.TemporaryDirectory() as folder, EditMemory.open(folder, encoder=encoder, store="exact") as memory:
        for number, group in enumerate(groups):
            namespace = f"group {number}"
            written = memory.add_many([_draft(case) for case in group], namespace=namespace)
            subjects = Counter(normalise(case.fact.subject) for case in group)
            named = names(case.fact.subject for case in group)
            texts: list[str] = []
            for case, id_ in list(zip(group, written, strict=True))[:most]:
                for kind, text in case.queries:
                    texts.append(text)
                    kinds.append(kind)
                    wanted.append(id_)
                lone = subjects[normalise(case.fact.subject)] == 1
                for negative, text in case.negatives:
                    other = text.replace(case.fact.subject, " ") if lone else text
                    if len(group) == 1 or not named(other):
                        texts.append(text)
                        kinds.append(negative)
                        wanted.append(None)
            found = measure(memory, [[Message("user", text)] for text in texts], verifier, namespace=namespace)
            ids += found.ids
            parts.append(found.pairs)
    pairs = Scored(
        np.concatenate([one.cosine for one in parts]),
        np.concatenate([one.logit for one in parts]),
        np.concatenate([one.named for one in parts]),
    )
    return kinds, wanted, Measured(tuple(ids), pairs)


def _draft(case: Case) -> Draft:
    fact = case.fact
    return Draft(statement=fact.statement, subject=fact.subject, target=fact.target, aliases=fact.aliases)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write the calibration."""
    from memedit.encoders.onnx import shipped

    parser = argparse.ArgumentParser(prog="python -m memedit.training.scope_held_out", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("MEMEDIT_DATA"), help="folder of datasets")
    parser.add_argument("--gate", type=Path, help="folder of the exported models [the shipped one]")
    parser.add_argument("--edits", type=int, default=SIZES[-1], help="edits in the largest memory")
    shipped_file = Path(str(files("memedit.scope") / "two_stage.json"))
    parser.add_argument("--out", type=Path, default=shipped_file, help="file to write")
    given = parser.parse_args(argv)
    if given.data is None:
        parser.error("--data (or MEMEDIT_DATA) must name the folder of the datasets")
    figures(Path(given.data), given.gate or shipped(), given.edits).write(given.out)


if __name__ == "__main__":
    main()
