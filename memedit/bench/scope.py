"""How well a gate decides: does it find the right edit, and does it leave everything else alone?

The edits of a dataset are loaded into a temporary memory, filled up with others to the number wanted, and the gate is
asked as the editor asks it. Rows are per scope, dataset, kind of query, kind of negative and number of edits. Recall at
a false-fire rate asks what the gate could do: its threshold is picked on those negatives. The figures "shipped" ask
what it does: the threshold is its own. With one edit, each stands alone in a memory of its own, against its own
questions and negatives, and all are pooled.

What is asked is made in `_records.py` (the datasets' forms), `_talk.py` (follow-ups and long messages), `_fillers.py`
(edits that nobody asks about) and `_probes.py` (which negatives count).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import IO, Any

import click
import numpy as np

from memedit import terminal
from memedit.bench import _metrics as metrics
from memedit.bench._curves import Curve, need_matplotlib, write_report
from memedit.bench._fillers import Fillers
from memedit.bench._probes import Probe, Question, Text, messages, plain, probe
from memedit.bench._questions import Prepared
from memedit.bench._records import DATASETS, Dataset, load
from memedit.edits import DEFAULT_NAMESPACE, Decision, Message
from memedit.encoders import Encoder, load_encoder
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.parsing import normalise
from memedit.scope import Scope, load_scope
from memedit.settings import load_settings

Row = dict[str, Any]
Progress = Callable[[int, int | None], None]

SAMPLES = 100
"""Questions per kind whose latency is taken."""
SINGLES = 300
"""Edits that stand alone with edits = 1."""
GENERAL_EACH = 10
"""Ordinary questions that each of these is asked."""
GROUPS = 10
"""Memories, at most, over which a size below `limit` is pooled."""
CHUNK = 1_000
"""Questions that a scope is asked in bulk at once."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a gate said: its best candidate, the seqs of all edits that it put in scope, and the label."""

    text: Text
    probability: float
    score: float
    seq: int
    fired: frozenset[int]
    label: str

    @classmethod
    def of(cls, text: Text, decision: Decision) -> Said:
        best = max(decision.candidates, key=lambda hit: (hit.probability or 0.0, hit.score), default=None)
        fired = frozenset(hit.edit.seq for hit in decision.hits)
        if best is None:
            return cls(text, 0.0, -1.0, -1, fired, decision.label)
        return cls(text, best.probability or 0.0, best.score, best.edit.seq, fired, decision.label)


@dataclass
class _Asked:
    """All that a gate said about a probe; of a positive also the seqs of the edits that are right."""

    dataset: str
    edits: int
    positives: dict[str, list[tuple[Said, frozenset[int]]]] = field(default_factory=dict)
    negatives: dict[str, list[Said]] = field(default_factory=dict)
    own: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


def run(
    data: Path,
    *,
    scope: Sequence[str] = ("two_stage",),
    edits: Sequence[int] | None = None,
    dataset: Sequence[str] = (),
    encoder: str | Encoder = "onnx",
    store: str = "faiss",
    false_fire: float | None = None,
    limit: int = 2_000,
    sample: int = 2_000,
    negatives: int = 10_000,
    stages: bool = False,
    latency_only: bool = False,
    untrained: bool = False,
    report: Path | None = None,
    errors: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, list[Row]]:
    """{"rows": […], "latency": […]}, one row per scope, dataset, kind of query, kind of negative and number of edits.

    `edits` are the sizes of the memory (None: 2,000, and 10,000 for nq and webquestions), of which at most `limit` are
    the dataset's own; a smaller size is measured on as many memories as that makes, at most ten, and pooled. At most
    `sample` questions per kind are asked. A row's `negatives` are those at 1 %; at 0.1 % the `negatives_0.1pct` serve,
    which include questions of records that are not loaded. A figure is None where too little is there to observe it.
    `stages` adds times by stage, for a scope with `timings`; with `latency_only` nothing else is measured. `untrained`
    asks nothing of the subjects that trained the shipped gate, where `data` is the folder that it learned from (of
    another folder it would leave out the same share for nothing). `report` is
    a folder for curves, `errors` a file for what the gate got wrong, a JSON object a line. Raises NotFoundError where
    `data` holds nothing that is known or a scope is not there.
    """
    if report is not None:
        need_matplotlib()
    gates = [load_scope(name, false_fire=false_fire) for name in scope]
    prepared = Prepared(load_encoder(encoder) if isinstance(encoder, str) else encoder)
    fillers = Fillers(data)
    rows: list[Row] = []
    latency: list[Row] = []
    curves: list[Curve] = []
    ticking = _Ticking(progress)
    with ExitStack() as stack:
        wrong = None if errors is None else stack.enter_context(_writing(errors))
        for read in load(data, dataset):
            if untrained:
                from memedit.training import scope_asked  # reads the training split

                read = scope_asked.untrained(read, data)
            for number in edits or (read.at,):
                if latency_only and any(row["edits"] == number for row in latency):
                    continue  # times do not depend on the dataset
                parts: list[list[_Asked]] = [[] for _ in gates]
                for what in _probes(read, fillers, number, limit, sample, negatives, latency_only):
                    alone = number == 1
                    with (
                        tempfile.TemporaryDirectory() as folder,
                        EditMemory.open(folder, encoder=prepared, store=store) as memory,
                    ):
                        seqs = _fill(memory, what, alone, number if latency_only else 0)
                        if not latency_only:
                            prepared.prepare(_texts(what))
                        for gate, said in zip(gates, parts, strict=True):
                            if not latency_only:
                                said.append((_ask_alone if alone else _ask_all)(gate, memory, what, seqs, ticking))
                                if wrong is not None:
                                    _note_errors(wrong, gate.name, said[-1], what, seqs)
                            if not any((row["scope"], row["edits"]) == (gate.name, number) for row in latency):
                                space = "edit-0" if alone else DEFAULT_NAMESPACE
                                latency += _latency(gate, memory, what, prepared, number, space, stages)
                for gate, said in zip(gates, parts, strict=True):
                    made = list(_rows(gate.name, _pooled(said))) if said else []
                    rows += [curve.row for curve in made]
                    curves += made if report is not None else []
    if report is not None:
        write_report(report, rows, latency, curves)
    return {"rows": rows, "latency": latency}


def _probes(
    dataset: Dataset, fillers: Fillers, number: int, limit: int, sample: int, negatives: int, latency_only: bool
) -> Iterator[Probe]:
    """What is asked of memories of one size: of several, where the dataset has edits for several."""
    if number == 1:
        most = min(limit, SINGLES)
        yield probe(dataset, fillers, edits=most, limit=most, sample=sample, negatives=negatives, alone=True)
        return
    if latency_only:
        yield probe(dataset, fillers, edits=min(number, limit), limit=limit, sample=sample, negatives=negatives)
        return
    there = min(limit, len({normalise(record.subject) for record in dataset.records}))
    groups = max(1, min(GROUPS, there // number))
    for group in range(groups):
        yield probe(
            dataset,
            fillers,
            edits=number,
            limit=limit,
            sample=-(-sample // groups),
            negatives=-(-negatives // groups),
            start=group * number,
        )


def _pooled(parts: Sequence[_Asked]) -> _Asked:
    """All that was said, as of one probe; of negatives those at 1 % first, as there."""
    if len(parts) == 1:
        return parts[0]
    positives = list(dict.fromkeys(kind for part in parts for kind in part.positives))
    negatives = list(dict.fromkeys(kind for part in parts for kind in part.negatives))
    own = {
        kind: [said for part in parts for said in part.negatives.get(kind, [])[: part.own.get(kind, 0)]]
        for kind in negatives
    }
    more = {
        kind: [said for part in parts for said in part.negatives.get(kind, [])[part.own.get(kind, 0) :]]
        for kind in negatives
    }
    return _Asked(
        parts[0].dataset,
        parts[0].edits,
        {kind: [one for part in parts for one in part.positives.get(kind, ())] for kind in positives},
        {kind: [*own[kind], *more[kind]] for kind in negatives},
        {kind: len(said) for kind, said in own.items()},
        {kind: sum(part.dropped.get(kind, 0) for part in parts) for kind in negatives},
        parts[0].left_out,
    )


def _fill(memory: EditMemory, what: Probe, alone: bool, size: int) -> list[int]:
    """Load the edits, each into a namespace of its own if alone; up to `size` with made-up vectors. -> their seqs."""
    if alone:
        return [
            memory.get(memory.add_many([draft], namespace=f"edit-{number}")[0], namespace=f"edit-{number}").seq
            for number, draft in enumerate(what.edits)
        ]
    ids = memory.add_many(what.edits)
    if size > len(ids):
        # As `bench store` makes them: encoding a million sentences would take an hour.
        from memedit.bench.store import POOL, Recipe, draft, statements

        recipe = Recipe(size - len(ids), 1, memory.encoder.encode(statements(min(size, POOL))))
        start = 0
        for vectors in recipe.blocks():
            memory.add_many([draft(start + at) for at in range(len(vectors))], vectors=vectors[:, 0])
            start += len(vectors)
    memory.sync(DEFAULT_NAMESPACE)
    return [memory.get(id_).seq for id_ in ids]


def _texts(what: Probe) -> Iterator[str]:
    for part in (what.positives, what.negatives):
        for asked in part.values():
            for one in asked:
                yield messages(one.text)[-1].content


class _Ticking:
    """Counts what was asked, and reports it now and then."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._done = 0

    def __call__(self, count: int) -> None:
        before, self._done = self._done, self._done + count
        if self._progress is not None and before // 100 != self._done // 100:
            self._progress(self._done, None)


def _ask_all(gate: Scope, memory: EditMemory, what: Probe, seqs: Sequence[int], tick: _Ticking) -> _Asked:
    """Everything, against one memory; in bulk where the scope has `decide_many(conversations, memory)`."""
    kinds = [*what.positives.values(), *what.negatives.values()]
    texts = list(dict.fromkeys(one.text for asked in kinds for one in asked))
    bulk = getattr(gate, "decide_many", None)
    known: dict[Text, Said] = {}
    for at in range(0, len(texts), CHUNK):
        part = texts[at : at + CHUNK]
        if bulk is not None:
            decisions = bulk([messages(text) for text in part], memory)
            known.update((text, Said.of(text, one)) for text, one in zip(part, decisions, strict=True))
            tick(len(part))
            continue
        for text in part:
            known[text] = Said.of(text, gate.decide(messages(text), memory))
            tick(1)
    return _Asked(
        what.dataset,
        len(what.edits),
        {
            kind: [(known[one.text], frozenset(seqs[edit] for edit in one.edits)) for one in asked]
            for kind, asked in what.positives.items()
        },
        {kind: [known[one.text] for one in asked] for kind, asked in what.negatives.items()},
        what.own,
        what.dropped,
        what.left_out,
    )


def _ask_alone(gate: Scope, memory: EditMemory, what: Probe, seqs: Sequence[int], tick: _Ticking) -> _Asked:
    """Each edit, alone in its namespace, is asked its own questions, its own negatives and a few ordinary ones."""

    def ask(one: Question, number: int) -> Said:
        tick(1)
        return Said.of(one.text, gate.decide(messages(one.text), memory, namespace=f"edit-{number}"))

    found = _Asked(what.dataset, 1, dropped=what.dropped, left_out=what.left_out)
    for kind, asked in what.positives.items():
        here = [
            (one, number)
            for one in asked
            for number in sorted(one.edits)[:1]
            if kind != "multihop" or len(one.edits) == 1
        ]
        if here:
            found.positives[kind] = [(ask(one, number), frozenset([seqs[number]])) for one, number in here]
    for kind, asked in what.negatives.items():
        own = [(one, number) for one in asked for number in one.edits]
        free = [one for one in asked if not one.edits] if kind == "general" else []
        if free and what.own_edits:
            each = min(GENERAL_EACH, len(free))
            own += [
                (free[(number * each + at) % len(free)], number)
                for number in range(what.own_edits)
                for at in range(each)
            ]
        if own:
            found.negatives[kind] = [ask(one, number) for one, number in own]
    found.own = {kind: len(said) for kind, said in found.negatives.items()}
    return found


def _rows(scope: str, asked: _Asked) -> Iterator[Curve]:
    """A row for each kind of query and negative, with what its curves are drawn from.

    Data that has negatives alone has one row per kind of them, whose query is None.
    """
    queries: list[tuple[str | None, list[tuple[Said, frozenset[int]]]]] = [*asked.positives.items()] or [(None, [])]
    for query, answered in queries:
        positives = [said for said, _ in answered]
        top1 = [said.seq in right for said, right in answered]
        fired = sum(bool(said.fired & right) for said, right in answered)
        for negative, others in asked.negatives.items():
            own = asked.own[negative]
            order = metrics.ranks([(said.probability, said.score) for said in (*positives, *others)])
            pos, wide = order[: len(positives)], order[len(positives) :]
            neg = wide[:own]
            false_fires = sum(bool(said.fired) for said in others[:own])
            probabilities = [said.probability for said in (*positives, *others[:own])]
            correct = [*top1, *([False] * own)]
            row = {
                "scope": scope,
                "dataset": asked.dataset,
                "query": query,
                "negative": negative,
                "edits": asked.edits,
                "positives": len(pos),
                "positives_left_out": asked.left_out.get(query or "", 0),
                "negatives": len(neg),
                "negatives_0.1pct": len(wide),
                "dropped": asked.dropped.get(negative, 0),
                "top1": _share(sum(top1), len(top1)),
                **_recall("recall_at_1pct", pos, top1, neg, 0.01),
                **_recall("recall_at_0.1pct", pos, top1, wide, 0.001),
                **_counted("recall_shipped", fired, len(pos), 4),
                **_counted("false_fires_shipped", false_fires, own, 5),
                "auroc": metrics.finite(metrics.auroc(pos, neg)),
                "eer": metrics.finite(metrics.equal_error_rate(pos, neg)),
                "ece": metrics.finite(metrics.calibration_error(probabilities, correct)) if positives else None,
                "labelled_multi_hop": _share(sum(said.label == "multi_hop" for said in positives), len(pos)),
                "negatives_labelled_multi_hop": _share(sum(said.label == "multi_hop" for said in others[:own]), own, 5),
            }
            fires, recalls = metrics.trade_off(pos, top1, wide)
            yield Curve(row, fires, recalls, metrics.reliability(probabilities, correct) if positives else [])


def _share(count: int, total: int, digits: int = 4) -> float | None:
    return round(count / total, digits) if total else None


def _recall(name: str, pos: Any, top1: Sequence[bool], neg: Any, rate: float) -> Row:
    low, high = metrics.recall_interval(pos, top1, neg, rate)
    return {
        name: metrics.finite(metrics.recall(pos, top1, metrics.threshold(neg, rate))),
        f"{name}_low": metrics.finite(low),
        f"{name}_high": metrics.finite(high),
    }


def _counted(name: str, count: int, total: int, digits: int) -> Row:
    low, high = metrics.wilson(count, total)
    return {
        name: _share(count, total, digits),
        f"{name}_low": metrics.finite(low, digits),
        f"{name}_high": metrics.finite(high, digits),
    }


@contextmanager
def _writing(path: Path) -> Iterator[IO[str]]:
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"errors cannot be written to {path}: {error.strerror}") from error
    with file:
        yield file


def _note_errors(file: IO[str], scope: str, asked: _Asked, what: Probe, seqs: Sequence[int]) -> None:
    """Write what is wrong at the shipped threshold: right edits not found, and fires on negatives, to be read."""
    statements = {seq: what.edits[number].statement for number, seq in enumerate(seqs)}

    def note(kind: str, error: str, said: Said, right: frozenset[int]) -> None:
        line = {
            "scope": scope,
            "dataset": asked.dataset,
            "edits": asked.edits,
            "kind": kind,
            "error": error,
            "asked": plain(said.text),
            "right": [statements[seq] for seq in sorted(right) if seq in statements],
            "best": statements.get(said.seq),
            "probability": round(said.probability, 4),
            "score": round(said.score, 4),
            "label": said.label,
        }
        file.write(json.dumps(line, ensure_ascii=False) + "\n")

    for kind, answered in asked.positives.items():
        for said, right in answered:
            if not said.fired & right and not (kind == "multihop" and said.label == "multi_hop"):
                note(kind, "missed" if not said.fired else "wrong edit", said, right)
    for kind, others in asked.negatives.items():
        for said in others[: asked.own[kind]]:
            if said.fired:
                note(kind, "false fire", said, frozenset())


def _latency(
    gate: Scope,
    memory: EditMemory,
    what: Probe,
    prepared: Prepared,
    edits: int,
    namespace: str,
    stages: bool,
) -> list[Row]:
    """Milliseconds of one decision, encoding included, on one thread; each question a first time."""
    own = {kind: [one.text for one in asked] for kind, asked in what.negatives.items()}
    in_scope = what.positives.get("paraphrase") or next(iter(what.positives.values()), ())
    kinds = {
        "general": own.get("general", ())[:SAMPLES],
        "neighbour": (own.get("neighbour") or own.get("same-subject") or [])[:SAMPLES],
        "in_scope": [one.text for one in in_scope if namespace == DEFAULT_NAMESPACE or 0 in one.edits][:SAMPLES],
    }
    rows: list[Row] = []
    with prepared.forgetting(), one_thread():
        for kind, texts in kinds.items():
            if not texts:
                continue
            gate.decide([Message("user", "Is this the first question?")], memory, namespace=namespace)
            took: list[float] = []
            by_stage: dict[str, list[float]] = {}
            for text in texts:
                conversation = messages(text)
                began = perf_counter()
                gate.decide(conversation, memory, namespace=namespace)
                took.append(1000 * (perf_counter() - began))
                for stage, seconds in (getattr(gate, "timings", None) or {}).items():
                    if seconds:  # 0: the stage did not run
                        by_stage.setdefault(stage, []).append(1000 * seconds)
            row: Row = {"scope": gate.name, "edits": edits, "kind": kind, **_times(took)}
            if stages:
                # The share of questions that came to a stage: a verifier's is the pass rate of what stands before it.
                row["stages"] = {
                    stage: {"share": round(len(times) / len(took), 4), **_times(times)}
                    for stage, times in by_stage.items()
                }
            rows.append(row)
    return rows


def _times(took: Sequence[float]) -> Row:
    p50, p99 = np.percentile(took, [50, 99])
    return {"ms_p50": round(float(p50), 2), "ms_p99": round(float(p99), 2)}


@contextmanager
def one_thread() -> Iterator[None]:
    """While this lasts FAISS, BLAS, OpenMP and, where it is loaded, torch use one thread."""
    import faiss

    torch = sys.modules.get("torch")
    before, torch_before = faiss.omp_get_max_threads(), torch.get_num_threads() if torch else 0
    try:
        with ExitStack() as stack:
            with suppress(ImportError):  # comes with scikit-learn; without it BLAS keeps its threads
                stack.enter_context(import_module("threadpoolctl").threadpool_limits(limits=1))
            faiss.omp_set_num_threads(1)
            if torch:
                torch.set_num_threads(1)
            yield
    finally:
        faiss.omp_set_num_threads(before)
        if torch:
            torch.set_num_threads(torch_before)


COLUMNS = {
    "scope": "scope",
    "dataset": "dataset",
    "query": "query",
    "negative": "negative",
    "edits": "edits",
    "top1": "top-1",
    "recall_at_1pct": "at 1 %",
    "recall_at_0.1pct": "at .1 %",
    "recall_shipped": "shipped",
    "false_fires_shipped": "false fires",
    "eer": "EER",
    "ece": "ECE",
    "labelled_multi_hop": "multi-hop",
}
"""Of a row, for people: the key and the heading."""


@click.command(epilog="\b\nExample:\n  memedit bench scope --data DIR --scope similarity --edits 2000 --json")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@click.option("--scope", "scope", default=None, metavar="NAMES", help="Scopes, with commas between [the one in force].")
@click.option("--dataset", metavar="NAMES", help=f"Datasets, with commas between, of {', '.join(DATASETS)} [all].")
@click.option(
    "--edits",
    metavar="NUMBERS",
    help="Edits in memory, with commas between; 1: each alone [2000; 10000 for nq and webquestions].",
)
@click.option("--encoder", metavar="NAME", help="Encoder [env: MEMEDIT_ENCODER].")
@click.option("--false-fire", type=float, metavar="SHARE", help="Measure the scope as set to this false-fire rate.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=2_000, metavar="N", help="Edits of a dataset, at most [2000]."
)
@click.option(
    "--sample", type=click.IntRange(min=1), default=2_000, metavar="N", help="Questions per kind, at most [2000]."
)
@click.option(
    "--negatives",
    type=click.IntRange(min=1),
    default=10_000,
    metavar="N",
    help="Negatives for the 0.1 % figure, at most [10000].",
)
@click.option("--stages", is_flag=True, help="Latency by stage too, where the scope tells.")
@click.option("--latency-only", is_flag=True, help="Only latency; a large memory is filled with made vectors.")
@click.option("--untrained", is_flag=True, help="Ask nothing of the subjects that the shipped gate was trained on.")
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Write curves and a page there.")
@click.option(
    "--errors", type=click.Path(path_type=Path), metavar="FILE", help="Write what it got wrong there (JSONL)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    data: Path | None,
    scope: str | None,
    dataset: str | None,
    edits: str | None,
    encoder: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure a scope: recall of the right edit, false fires, calibration, latency."""
    settings = load_settings(data=data, encoder=encoder)
    if settings.data is None:
        raise InputError("say where the datasets are, with --data DIR or MEMEDIT_DATA")
    with terminal.progress("asking") as progress:
        found = run(
            settings.data,
            scope=(scope or settings.scope).split(","),
            edits=_numbers(edits),
            dataset=dataset.split(",") if dataset else (),
            encoder=settings.encoder,
            store=settings.store,
            progress=progress,
            **given,
        )
    if as_json:
        terminal.emit(found)
        return
    rows = [tuple(row[key] for key in COLUMNS) for row in found["rows"]]
    terminal.table(tuple(COLUMNS.values()), rows)
    terminal.line("")
    times = [(row["scope"], row["edits"], row["kind"], row["ms_p50"], row["ms_p99"]) for row in found["latency"]]
    terminal.table(("scope", "edits", "kind", "ms p50", "ms p99"), times)
    if given["stages"]:
        for row in found["latency"]:
            terminal.facts(terminal.flat({f"{row['kind']}, {row['edits']} edits": row["stages"]}))


def _numbers(edits: str | None) -> list[int] | None:
    if edits is None:
        return None
    try:
        numbers = [int(number) for number in edits.split(",")]
    except ValueError as error:
        raise InputError(f"--edits takes numbers with commas between, such as 1,100,2000, not {edits!r}") from error
    if min(numbers) < 1:
        raise InputError("--edits takes numbers from 1 on")
    return numbers
