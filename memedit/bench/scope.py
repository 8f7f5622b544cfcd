"""How well a gate decides: does it find the right edit, and does it leave everything else alone?

The edits of a dataset are loaded into a temporary memory and the gate is asked as the editor asks it. Rows are per
dataset, kind of query and kind of negative. Recall at a false-fire rate asks what the gate could do: its threshold is
picked on those negatives. The figures "shipped" ask what it does: the threshold is its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import click
import numpy as np

from memedit import terminal
from memedit.bench import _metrics as metrics
from memedit.bench._questions import Prepared, Probe, counterfact, nq_questions
from memedit.edits import Message
from memedit.encoders import Encoder, load_encoder
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.scope import Scope, scopes
from memedit.settings import load_settings

Asked = tuple[float, float, int, bool]
"""What a gate said: probability, score and seq of its best candidate, and whether it fired."""

SAMPLES = 100
"""Questions per kind whose latency is taken."""


def run(
    data: Path,
    *,
    scope: Sequence[str] = ("similarity",),
    edits: Sequence[int] = (2000,),
    encoder: str | Encoder = "sentence_transformers",
    store: str = "faiss",
    false_fire: float | None = None,
    negatives: int = 10_000,
    progress: Callable[[int, int | None], None] | None = None,
) -> dict[str, object]:
    """{"rows": […], "latency": […]}, one row per scope, dataset, kind of query, kind of negative and number of edits.

    A row's `negatives` are those at 1 %; at 0.1 % the `negatives_0.1pct` serve, which include questions of records that
    are not loaded. A figure is None where too few negatives are there to observe its rate. Raises NotFoundError where
    `data` holds nothing that is known or a scope is not there.
    """
    prepared = Prepared(load_encoder(encoder) if isinstance(encoder, str) else encoder)
    rows: list[dict[str, object]] = []
    latency: list[dict[str, object]] = []
    for number in edits:
        probe = counterfact(data, number, negatives)
        with tempfile.TemporaryDirectory() as folder, EditMemory.open(folder, encoder=prepared, store=store) as memory:
            ids = memory.add_many(probe.edits)
            seqs = [memory.get(id_).seq for id_ in ids]
            memory.sync("default")
            texts = [text for asked in probe.positives.values() for text, _ in asked]
            texts += [text for kind in probe.negatives.values() for text in kind]
            prepared.prepare(texts)
            for name in scope:
                gate: Scope = scopes.get(name)() if false_fire is None else scopes.get(name)(false_fire=false_fire)
                rows += _quality(gate, memory, probe, seqs, progress, len(texts))
                latency += _latency(gate, memory, probe, data, prepared)
    return {"rows": rows, "latency": latency}


def _quality(
    gate: Scope,
    memory: EditMemory,
    probe: Probe,
    seqs: Sequence[int],
    progress: Callable[[int, int | None], None] | None,
    total: int,
) -> list[dict[str, object]]:
    done = 0

    def ask(text: str) -> tuple[Asked, frozenset[int]]:
        nonlocal done
        done += 1
        if progress is not None and done % 100 == 0:
            progress(done, total)
        return _ask(gate, memory, text)

    negatives = {kind: [ask(text)[0] for text in texts] for kind, texts in probe.negatives.items()}
    rows = []
    for query, asked in probe.positives.items():
        answers = [ask(text) for text, _ in asked]
        positives = [answer for answer, _ in answers]
        wanted = [seqs[number] for _, number in asked]
        top1 = [answer[2] == seq for answer, seq in zip(positives, wanted, strict=True)]
        fired = [seq in found for (_, found), seq in zip(answers, wanted, strict=True)]
        for negative, others in negatives.items():
            own = probe.own[negative]
            order = metrics.ranks([answer[:2] for answer in (*positives, *others)])
            pos, wide = order[: len(positives)], order[len(positives) :]
            neg = wide[:own]
            probabilities = [answer[0] for answer in (*positives, *others[:own])]
            rows.append(
                {
                    "scope": gate.name,
                    "dataset": probe.dataset,
                    "query": query,
                    "negative": negative,
                    "edits": len(seqs),
                    "positives": len(pos),
                    "negatives": len(neg),
                    "negatives_0.1pct": len(wide),
                    "dropped": probe.dropped[negative],
                    "top1": metrics.finite(float(np.mean(top1))),
                    "recall_at_1pct": metrics.finite(metrics.recall(pos, top1, metrics.threshold(neg, 0.01))),
                    "recall_at_0.1pct": metrics.finite(metrics.recall(pos, top1, metrics.threshold(wide, 0.001))),
                    "recall_shipped": metrics.finite(float(np.mean(fired))),
                    "false_fires_shipped": metrics.finite(float(np.mean([other[3] for other in others[:own]])), 5),
                    "auroc": metrics.finite(metrics.auroc(pos, neg)),
                    "eer": metrics.finite(metrics.equal_error_rate(pos, neg)),
                    "ece": metrics.finite(metrics.calibration_error(probabilities, [*top1, *([False] * len(neg))])),
                }
            )
    return rows


def _ask(gate: Scope, memory: EditMemory, text: str) -> tuple[Asked, frozenset[int]]:
    """What the gate says, and the seqs of all edits that it puts in scope."""
    decision = gate.decide([Message("user", text)], memory)
    fired = frozenset(hit.edit.seq for hit in decision.hits)
    best = max(decision.candidates, key=lambda hit: (hit.probability or 0.0, hit.score), default=None)
    if best is None:
        return (0.0, -1.0, -1, bool(fired)), fired
    return (best.probability or 0.0, best.score, best.edit.seq, bool(fired)), fired


def _latency(gate: Scope, memory: EditMemory, probe: Probe, data: Path, prepared: Prepared) -> list[dict[str, object]]:
    """Milliseconds of one decision, encoding included; each question a first time."""
    kinds = {
        "general": nq_questions(data)[:SAMPLES],
        "neighbour": list(probe.negatives["neighbour"][:SAMPLES]),
        "in_scope": [text for text, _ in probe.positives["paraphrase"][:SAMPLES]],
    }
    rows: list[dict[str, object]] = []
    with prepared.forgetting():
        for kind, texts in kinds.items():
            if not texts:
                continue
            _ask(gate, memory, "Is this the first question?")
            took = []
            for text in texts:
                began = perf_counter()
                gate.decide([Message("user", text)], memory)
                took.append(1000 * (perf_counter() - began))
            p50, p99 = np.percentile(took, [50, 99])
            rows.append(
                {
                    "scope": gate.name,
                    "edits": len(probe.edits),
                    "kind": kind,
                    "ms_p50": round(float(p50), 2),
                    "ms_p99": round(float(p99), 2),
                }
            )
    return rows


@click.command(epilog="\b\nExample:\n  memedit bench scope --data DIR --scope similarity --edits 2000 --json")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@click.option("--scope", "scope", default=None, metavar="NAMES", help="Scopes, with commas between [the one in force].")
@click.option("--edits", default="2000", metavar="NUMBERS", help="Edits in memory, with commas between [2000].")
@click.option("--encoder", metavar="NAME", help="Encoder [env: MEMEDIT_ENCODER].")
@click.option("--false-fire", type=float, metavar="SHARE", help="Measure the scope as set to this false-fire rate.")
@click.option(
    "--negatives",
    type=click.IntRange(min=1),
    default=10_000,
    metavar="N",
    help="Negatives for the 0.1 % figure, at most [10000].",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    data: Path | None,
    scope: str | None,
    edits: str,
    encoder: str | None,
    false_fire: float | None,
    negatives: int,
    as_json: bool,
) -> None:
    """Measure a scope: recall of the right edit, false fires, latency."""
    settings = load_settings(data=data, encoder=encoder)
    if settings.data is None:
        raise InputError("say where the datasets are, with --data DIR or MEMEDIT_DATA")
    try:
        numbers = [int(number) for number in edits.split(",")]
    except ValueError as error:
        raise InputError(f"--edits takes numbers with commas between, such as 1,100,2000, not {edits!r}") from error
    if min(numbers) < 1:
        raise InputError("--edits takes numbers from 1 on")
    with terminal.progress("asking") as report:
        found = run(
            settings.data,
            scope=(scope or settings.scope).split(","),
            edits=numbers,
            encoder=settings.encoder,
            store=settings.store,
            false_fire=false_fire,
            negatives=negatives,
            progress=report,
        )
    if as_json:
        terminal.emit(found)
        return
    for part in ("rows", "latency"):
        rows = found[part]
        assert isinstance(rows, list)
        for row in rows:
            terminal.facts(row.items())
            terminal.line("")
