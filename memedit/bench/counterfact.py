"""What a user gets with many edits loaded: CounterFact's first cases, free greedy generation, before and after.

For each case the unedited model is asked the prompt, its paraphrase and its neighbour; then all edits go into one
temporary memory and the same is asked again, through the gate as it ships: no oracle retrieval, no teacher forcing. A
reply counts as an answer where it says the target and then stops or goes on to something else.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import click
import numpy as np

from memedit import terminal
from memedit.bench import _metrics as metrics
from memedit.bench._questions import Prepared, counterfact_draft, counterfact_rows
from memedit.editor import Editor
from memedit.edits import Answer
from memedit.encoders import Encoder, load_encoder
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.models import load_model
from memedit.settings import load_settings

QUESTIONS = {"prompt": "prompt", "paraphrase": "rephrase_prompt", "neighbourhood": "locality_prompt"}


@dataclass(frozen=True)
class Case:
    """One record's replies by kind of question, before any edit and after all."""

    target: str
    old: str
    neighbour: str
    before: dict[str, str]
    after: dict[str, Answer]
    edit: str
    """The id of its edit."""


def says(reply: str, target: str) -> bool:
    """Whether a reply's answer is the target: it begins with it, as whole words, whatever case and punctuation.

    A leading article is passed over. What follows does not count against it ("English, since 1920").
    """
    words, wanted = _words(reply), _words(target)
    return bool(wanted) and words[: len(wanted)] == wanted


def _words(text: str) -> list[str]:
    words = re.findall(r"\w+", text.casefold())
    return words[1:] if words[:1] in (["the"], ["a"], ["an"]) and len(words) > 1 else words


def run(
    data: Path,
    *,
    cases: int = 500,
    model: object = "pocket",
    scope: str = "two_stage",
    answerer: str = "ike",
    encoder: str | Encoder = "onnx",
    store: str = "faiss",
    false_fire: float | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> dict[str, object]:
    """Shares in [0, 1] over the first `cases` records, all edits loaded at once; free greedy generation.

    {"model", "scope", "answerer", "false_fire", "cases", "edits", "known", "neighbours_known", "reliability",
    "paraphrase", "neighbourhood_unchanged", "over_known": {the same three}, "in_scope": {per kind of question},
    "right_edit": {"prompt", "paraphrase"}, "seconds_per_question": {"before", "after"}}. `known` counts the cases whose
    old answer the unedited model gave; over_known has None where there are none.
    """
    rows = counterfact_rows(data)[:cases]
    base = load_model(model)
    prepared = Prepared(load_encoder(encoder) if isinstance(encoder, str) else encoder)
    total = 2 * len(QUESTIONS) * len(rows)
    with tempfile.TemporaryDirectory() as folder, EditMemory.open(folder, encoder=prepared, store=store) as memory:
        prepared.prepare(row[key] for row in rows for key in QUESTIONS.values())
        editor = Editor(memory, base, scope=scope, answerer=answerer, false_fire=false_fire)
        began = perf_counter()
        before = []
        for number, row in enumerate(rows):
            before.append({kind: editor.ask(row[key]).text for kind, key in QUESTIONS.items()})
            if progress is not None:
                progress(len(QUESTIONS) * (number + 1), total)
        middle = perf_counter()
        ids = memory.add_many([counterfact_draft(row) for row in rows])
        memory.sync("default")
        started = perf_counter()
        found = []
        for number, (row, old, id_) in enumerate(zip(rows, before, ids, strict=True)):
            after = {kind: editor.ask(row[key]) for kind, key in QUESTIONS.items()}
            found.append(
                Case(
                    target=row["target_new"],
                    old=row["ground_truth"],
                    neighbour=row["locality_ground_truth"],
                    before=old,
                    after=after,
                    edit=id_,
                )
            )
            if progress is not None:
                progress(len(QUESTIONS) * (len(rows) + number + 1), total)
        ended = perf_counter()
        held = memory.count()
    asked = max(1, len(QUESTIONS) * len(rows))
    return {
        "model": base.name,
        "scope": scope,
        "answerer": answerer,
        "false_fire": false_fire,
        "cases": len(found),
        "edits": held,
        "known": sum(says(case.before["prompt"], case.old) for case in found),
        "neighbours_known": sum(says(case.before["neighbourhood"], case.neighbour) for case in found),
        **summary(found),
        "over_known": summary(
            [case for case in found if says(case.before["prompt"], case.old)],
            [case for case in found if says(case.before["neighbourhood"], case.neighbour)],
        ),
        "in_scope": {kind: _share([case.after[kind].in_scope for case in found]) for kind in QUESTIONS},
        "right_edit": {
            kind: _share([case.edit in {hit.edit.id for hit in case.after[kind].edits} for case in found])
            for kind in ("prompt", "paraphrase")
        },
        "seconds_per_question": {
            "before": round((middle - began) / asked, 4),
            "after": round((ended - started) / asked, 4),
        },
    }


def summary(cases: list[Case], neighbours: list[Case] | None = None) -> dict[str, float | None]:
    """The three figures; `neighbours` are the cases whose neighbour counts, where they are others."""
    return {
        "reliability": _share([says(case.after["prompt"].text, case.target) for case in cases]),
        "paraphrase": _share([says(case.after["paraphrase"].text, case.target) for case in cases]),
        "neighbourhood_unchanged": _share(
            [
                case.after["neighbourhood"].text == case.before["neighbourhood"]
                for case in (cases if neighbours is None else neighbours)
            ]
        ),
    }


def _share(flags: list[bool]) -> float | None:
    return metrics.finite(float(np.mean(flags))) if flags else None


@click.command(epilog="\b\nExample:\n  memedit bench counterfact --data DIR --cases 500 --model pocket --json")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Folder of datasets [env: MEMEDIT_DATA].")
@click.option("--cases", type=click.IntRange(min=1), default=500, metavar="N", help="The first N records [500].")
@click.option("--model", metavar="SPEC", help="Base model [env: MEMEDIT_MODEL].")
@click.option("--scope", metavar="NAME", help="Scope [env: MEMEDIT_SCOPE].")
@click.option("--answerer", metavar="NAME", help="Answerer [env: MEMEDIT_ANSWERER].")
@click.option("--encoder", metavar="NAME", help="Encoder [env: MEMEDIT_ENCODER].")
@click.option("--false-fire", type=float, metavar="SHARE", help="False-fire rate [env: MEMEDIT_FALSE_FIRE].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(data: Path | None, cases: int, as_json: bool, **given: object) -> None:
    """Measure edits as a user gets them: reliability, paraphrase, neighbours unchanged."""
    settings = load_settings(data=data, **given)
    if settings.data is None:
        raise InputError("say where the datasets are, with --data DIR or MEMEDIT_DATA")
    with terminal.progress("asking") as report:
        found = run(
            settings.data,
            cases=cases,
            model=settings.model,
            scope=settings.scope,
            answerer=settings.answerer,
            encoder=settings.encoder,
            store=settings.store,
            false_fire=settings.false_fire,
            progress=report,
        )
    if as_json:
        terminal.emit(found)
    else:
        terminal.facts(terminal.flat(found))
