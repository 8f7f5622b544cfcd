"""A run: methods put to the same cases, one JSON line per case, and a folder that any kill leaves able to go on.

    RUN/run.json                                  the model and when it began
    RUN/unedited/HASH.jsonl                       the unedited model's replies by prompt, asked first
    RUN/METHOD/DATASET-PROTOCOL-EDITS/run.json    every setting in force, version, hash and checksum; a fit's notes
                                     cases.jsonl  a line per case, each whole and on the disk before the next begins
                                     side_effects.jsonl
                                     rows.json    what these come to (`rows`), made anew from them each time

Going on: lines that are there are kept and their cases not asked again; a torn last line is cut off. A folder that was
made with anything else is refused. Only this process writes; with several `jobs` the others send it their lines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memedit.evaluation import asking
from memedit.evaluation._record import (
    FORMAT,
    alone,
    appending,
    base_file,
    begin,
    file_name,
    head,
    mend,
    note,
    replacing,
    write,
)
from memedit.evaluation._worker import TOGETHER, Plan, Task, Worker, answered, pool_of, spread
from memedit.evaluation.protocols import Drawn, Group, draw, groups, questions
from memedit.evaluation.rows import CASES, EFFECTS, ROWS, Row, left_out, lines, rows
from memedit.evaluation.systems import Base, Options, System

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from memedit.terminal import Progress

__all__ = ["Plan", "Result", "evaluate", "lines", "rows"]

PROMPTS = 256
"""Prompts that the unedited model is asked in one go."""

Bar = Callable[[str], "AbstractContextManager[Progress | None]"]


@dataclass(frozen=True)
class Result:
    """`rows` of all methods; `left_out` and `failed` (edits that could not be written) by method.

    `known` counts the cases whose old answer the unedited model gave; None where the dataset has no old answers.
    """

    rows: list[Row]
    left_out: Mapping[str, Mapping[str, str]]
    failed: Mapping[str, Sequence[str]]
    cases: int
    known: int | None


def evaluate(
    methods: Sequence[str],
    plan: Plan,
    out: Path,
    *,
    jobs: int = 1,
    progress: Bar | None = None,
    notice: Callable[[str], None] | None = None,
) -> Result:
    """Evaluate the methods one after another into the folder `out`, going on where an earlier run of it stopped.

    `jobs` processes share the work where the protocol allows it (a group of sequential edits, and one that a method
    writes into weights, stays in one process). `progress` makes a bar of a label; `notice` is told what is known.

    Raises NotFoundError for an unknown method or data that is not there, InputError for a folder of other settings or a
    protocol that does not fit, ModelError where the model cannot be asked.
    """
    from memedit.datasets import read

    bar = progress or (lambda label: nullcontext())
    cases = list(read(plan.dataset, plan.data))
    drawn = draw(cases, plan.cases, edits=plan.edits, seed=plan.seed, beside=plan.side_effects, asks=plan.asks)
    split = groups(plan.protocol, drawn, plan.in_force)
    worker = Worker(plan, drawn, split)
    with ExitStack() as stack:
        stack.callback(worker.close)
        made = [worker.system(name) for name in methods]  # an unknown method, or one that cannot run, ends it here
        kept, parts = facts(plan, worker.base, drawn, split), [_parts(system) for system in made]
        stack.enter_context(alone(out))
        head(out, kept)
        pool = (
            stack.enter_context(pool_of(jobs, plan, drawn, split, base_file(out, worker.base.hash)))
            if jobs > 1
            else None
        )
        _ask_base(worker, pool, out, bar)
        known, words = _known([asking.is_known(case, worker.base) for case in drawn.cases[: drawn.asked]], plan.label)
        if notice is not None:
            notice(words)
        found: list[Row] = []
        reasons, failed = {}, {}
        for name, system, said in zip(methods, made, parts, strict=True):
            folder = out / file_name(system.name) / file_name(f"{plan.label}-{plan.protocol}-{plan.in_force}")
            begin(folder, {"format": FORMAT, "method": system.name, **kept, "system": said}, jobs)
            noted = _evaluate(worker, name, folder, pool, bar)
            here = rows(folder)
            reasons[system.name] = left_out(folder, here) | noted
            write(folder / ROWS, {"rows": here, "left_out": reasons[system.name]})
            failed[system.name] = [line["failed"] for line in lines(folder / CASES) if "failed" in line]
            found += here
    return Result(found, reasons, failed, drawn.asked, known)


def _known(found: Sequence[bool | None], dataset: str) -> tuple[int | None, str]:
    """How many cases the unedited model knows, and that in words."""
    told = [known for known in found if known is not None]
    if not told:
        return None, f"{dataset} has no old answers, so nothing tells which facts the unedited model knows"
    more = f" ({len(found) - len(told)} have no old answer)" if len(told) < len(found) else ""
    return sum(told), f"the unedited model knows {sum(told)} of {len(found)} cases{more}"


def facts(plan: Plan, base: Base, drawn: Drawn, split: Sequence[Group]) -> dict[str, Any]:
    """All that a result depends on, JSON-ready: a folder goes on only where all of it is the same."""
    from memedit.datasets import checksum, parts
    from memedit.evaluation import references, side_effects

    beside = [
        *references.files(plan.dataset, plan.data),
        *(side_effects.files(plan.data) if _effects(plan, split) else ()),
    ]
    sums = [checksum(path) for part in parts(plan.dataset, plan.data) for path in part.paths]
    options = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(plan.options).items()}
    return {
        "model": base.spec,
        "model_hash": base.hash,
        "dataset": plan.label,
        "dataset_sha256": sums[0] if len(sums) == 1 else sha256("".join(sums).encode()).hexdigest(),
        "files_sha256": {path.name: checksum(path) for path in beside},
        "protocol": plan.protocol,
        "edits": plan.in_force,
        "cases": plan.cases,
        "seed": plan.seed,
        "passed_over": drawn.passed_over,
        "settings": {
            "side_effects": plan.side_effects,
            "judge": plan.judge,
            "untrained": plan.untrained,
            **options,
            **_defaults(plan.options),
        },
        "versions": _versions(),
    }


def _parts(system: System) -> dict[str, Any]:
    """What a system says of its own parts and settings: those of a method, the files that a gate was read from."""
    said = getattr(system, "parts", None)
    return {} if said is None else dict(said())


def _defaults(options: Options) -> dict[str, Any]:
    """What the options that are not given stand for, so that another default is another setting."""
    from memedit.settings import load_settings

    settings = load_settings()
    names = ("scope", "answerer", "encoder", "store", "false_fire")
    found = {name: getattr(settings, name) for name in names if getattr(options, name) is None}
    return found | {"calibration": str(options.calibration or settings.calibration or "") or None}


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in ("memedit", "numpy", "onnxruntime", "torch", "transformers", "peft", "langchain-core"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def _tasks(worker: Worker, name: str, done: frozenset[str], jobs: int) -> list[Task]:
    """What is left to do: as many cases at a time as may be lost to a kill, or a group where it stays together."""
    made = []
    for number, group in enumerate(worker.split):
        left = [at for at in group.asked if group.edits[at].id not in done]
        size = TOGETHER if jobs > 1 and worker.shared(name) else max(1, len(left))
        made += [Task(number, tuple(left[at : at + size])) for at in range(0, len(left), size)]
    return made


def _evaluate(worker: Worker, name: str, folder: Path, pool: ProcessPoolExecutor | None, bar: Bar) -> dict[str, str]:
    """Ask what is left to ask. -> What was left out and why, by metric."""
    done = frozenset(str(line["case"]) for line in lines(folder / CASES))
    total = sum(len(group.asked) for group in worker.split)
    jobs = getattr(pool, "_max_workers", 1)
    tasks = _tasks(worker, name, done, jobs)
    finished = len(done)
    with bar(f"{worker.system(name).name}, {worker.plan.protocol}") as report, appending(folder / CASES) as append:
        made = (
            spread(pool, name, tasks, done)
            if pool is not None and len(tasks) > 1
            else (part for task in tasks for part in worker.work(name, task, done))
        )
        for part in made:
            for notes in [line.pop("notes", None) for line in part]:
                if notes:
                    note(folder, notes)
            append(part)
            finished += len(part)
            if report is not None:
                report(finished, total)
    return _side_effects(worker, name, folder)


def _effects(plan: Plan, split: Sequence[Group]) -> bool:
    """Whether side effects are asked about."""
    return plan.side_effects > 0 and len(split) == 1


def _side_effects(worker: Worker, name: str, folder: Path) -> dict[str, str]:
    noted: dict[str, str] = {}
    if not _effects(worker.plan, worker.split):
        together = "asked where all edits are in force together, so not by this protocol"
        return {"side effects": together if worker.plan.side_effects else "--side-effects 0"}
    there = lines(folder / EFFECTS)
    # A kind is written in one go; one that a kill has cut short is asked again as a whole.
    done = frozenset(line["kind"] for line in there if line.get("last"))
    whole = [line for line in there if line["kind"] in done]
    if len(whole) < len(there):
        with replacing(folder / EFFECTS) as append:
            append(whole)
    with appending(folder / EFFECTS) as append:
        for kind, found in worker.effects(name, done):
            if isinstance(found, str):
                noted[f"side effect {kind}"] = found
            elif found:
                found[-1]["last"] = True
                append(found)
    return noted


def _ask_base(worker: Worker, pool: ProcessPoolExecutor | None, out: Path, bar: Bar) -> None:
    """Ask the unedited model all that any system will be asked, and keep its replies."""
    path = base_file(out, worker.base.hash)
    path.parent.mkdir(exist_ok=True)
    mend(path)
    known = worker.base.known.replies
    known.update({line["prompt"]: line["reply"] for line in lines(path)})
    cases = [group.edits[at] for group in worker.split for at in group.asked]
    wanted = [one.prompt for case in cases for one in questions(case)]
    wanted += [case.prompt for case in worker.drawn.beside]
    new = [prompt for prompt in dict.fromkeys(wanted) if prompt not in known]
    parts = [new[at : at + PROMPTS] for at in range(0, len(new), PROMPTS)]
    replied = map(worker.base.answer, parts) if pool is None else pool.map(answered, parts)
    done = 0
    with bar("asking the unedited model") as report, appending(path) as append:
        for part, replies in zip(parts, replied, strict=True):
            append({"prompt": prompt, "reply": reply} for prompt, reply in zip(part, replies, strict=True))
            known.update(zip(part, replies, strict=True))
            done += len(part)
            if report is not None:
                report(done, len(new))
