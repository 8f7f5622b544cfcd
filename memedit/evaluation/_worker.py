"""One process of a run: it has a group's edits put in and asks about its cases. Several may share the work.

What is written where is no concern of theirs: they hand their lines to the one process that writes (`run.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from memedit.edits import Case, Draft
from memedit.errors import InputError, MemEditError, ModelError, NotFoundError
from memedit.evaluation import asking
from memedit.evaluation._peak import peak
from memedit.evaluation.protocols import Bearing, Drawn, Group
from memedit.evaluation.rows import Line, lines
from memedit.evaluation.side_effects import SIDE_EFFECTS
from memedit.evaluation.systems import Base, Options, System, load_system
from memedit.matching import gives

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

TOGETHER = 16
"""Cases that are asked about in one go where their edits are in force together."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is evaluated and how: everything that a result depends on but the methods.

    `edits` are in force together, None: as many as there are cases (1 for protocol single). `side_effects` is how many
    items are asked of each side effect, 0 for none. `judge` is a model spec. `untrained` asks only about subjects that
    neither trained nor calibrated the shipped gate, of a dataset that it has learned a share of; all edits stay.
    """

    dataset: str
    data: Path | None = None
    model: str = "pocket"
    protocol: str = "single"
    cases: int = 100
    edits: int | None = None
    seed: int = 0
    side_effects: int = 100
    judge: str | None = None
    untrained: bool = False
    options: Options = field(default_factory=Options)

    @property
    def label(self) -> str:
        """The dataset's name; of a file its own without the folder, since a result goes where the folder does not."""
        return Path(self.dataset).name

    def asks(self, case: Case) -> bool:
        """Whether a case may be asked about."""
        if not self.untrained:
            return True
        from memedit.training.scope_asked import trained_on

        return not any(trained_on(draft.subject or "") for draft in case.edits)

    @property
    def in_force(self) -> int:
        return 1 if self.protocol == "single" else self.edits or self.cases


@dataclass(frozen=True)
class Task:
    """Cases of one group (places in its `edits`) to ask about, in one process."""

    group: int
    cases: tuple[int, ...]


class Worker:
    """What one process holds: the base model, the systems asked for so far, and which group is in force in them."""

    def __init__(self, plan: Plan, drawn: Drawn, split: Sequence[Group], known: Path | None = None) -> None:
        from memedit.evaluation.judge import Judge
        from memedit.evaluation.metrics import document_frequencies
        from memedit.evaluation.references import references

        self.plan = plan
        self.drawn = drawn
        self.split = split
        self.base = Base(plan.model)
        self._known = known
        self._judge = Judge(plan.judge) if plan.judge else None
        self._systems: dict[str, System] = {}
        self._in_force: dict[str, _InForce] = {}
        given = references(plan.dataset, plan.data)
        self._references = {case.id: given[case.id] for case in drawn.cases if case.id in given}
        self._frequencies = document_frequencies(text for texts in self._references.values() for text in texts)

    def know(self) -> None:
        """Read what the unedited model has said, which by now is all on the disk."""
        if self._known is not None:
            self.base.known.replies.update({line["prompt"]: line["reply"] for line in lines(self._known)})
            self._known = None

    def system(self, name: str) -> System:
        if name not in self._systems:
            self._systems[name] = load_system(name, self.base, self.plan.options)
        return self._systems[name]

    def close(self) -> None:
        """Let go of all systems."""
        self._in_force.clear()
        while self._systems:
            close = getattr(self._systems.popitem()[1], "close", None)
            if close is not None:
                close()

    def put(self, name: str, number: int, done: frozenset[str] = frozenset()) -> _InForce:
        """Have a group's edits in force, and only those. Cases in `done` are not asked right after their edit."""
        held = self._in_force.get(name)
        if held is not None and held.group == number:
            return held
        system, group = self.system(name), self.split[number]
        if held is None and (warm_up := getattr(system, "warm_up", None)) is not None:
            warm_up()
        system.reset()
        held = _InForce(number, Bearing(group.edits) if len(group.edits) > 1 else None)
        if self.plan.protocol == "sequential":
            asked = set(group.asked)
            for at, case in enumerate(group.edits):
                held.seconds += self._edit(system, [case], held)
                if at in asked and case.id not in done and case.id not in held.failed:
                    asking.tell(system, [case])
                    reply = system.answer([case.prompt])[0]
                    held.immediate[case.id] = gives(reply, (case.target,))
        else:
            held.seconds = self._edit(system, group.edits, held)
        self._in_force[name] = held
        return held

    def _edit(self, system: System, cases: Sequence[Case], held: _InForce) -> float:
        """Seconds that it took. Facts that the system refuses are noted, and the others written without them; what else
        fails is not survived."""
        drafts = self._written(system, cases, held)
        began = perf_counter()
        try:
            with peak() as memory:
                system.edit(drafts)
        except ModelError:
            raise
        except InputError as error:
            held.failed.update({case.id: str(error) for case in cases})
            drafts = []
        held.written += len(drafts)
        held.peak = max((held.peak, memory.peak), key=lambda found: found or 0)
        return perf_counter() - began

    def _written(self, system: System, cases: Sequence[Case], held: _InForce) -> list[Draft]:
        """The drafts that the system can write; those that it says it cannot are noted."""
        refuses: Callable[[Draft], str | None] = getattr(system, "refuses", lambda draft: None)
        kept = []
        for case in cases:
            for draft in case.edits:
                if (reason := refuses(draft)) is None:
                    kept.append(draft)
                else:
                    held.failed[case.id] = reason
        return kept

    def work(self, name: str, task: Task, done: frozenset[str] = frozenset()) -> Iterator[list[Line]]:
        """The task's lines, some cases at a time."""
        held, group = self.put(name, task.group, done), self.split[task.group]
        for at in range(0, len(task.cases), TOGETHER):
            cases = [group.edits[place] for place in task.cases[at : at + TOGETHER]]
            made = asking.ask(
                self.system(name), self.base, cases, bearing=held.bearing, judge=self._judge, dataset=self.plan.dataset,
                references=self._references, frequencies=self._frequencies,
            )  # fmt: skip
            for line in made:
                line["seconds"]["edit"] = round(held.seconds / max(1, held.written), 6)
                line["peak_bytes"] = held.peak
                if line["case"] in held.failed:
                    line["failed"] = held.failed[line["case"]]
                if line["case"] in held.immediate:
                    right = held.immediate[line["case"]]
                    free = line["metrics"]["free"]
                    free["reliability_immediate"] = float(right)
                    if right and "reliability" in free:
                        own = next(reply for reply in line["replies"] if reply["kind"] == "edit")
                        free["retention"] = float(own["right"])
            made[0]["notes"] = dict(getattr(self.system(name), "notes", {}))
            yield made

    def effects(self, name: str, done: frozenset[str]) -> Iterator[tuple[str, list[Line] | str]]:
        """(kind, its lines, or why there are none) for the side effects that are not in `done`."""
        if all(kind in done for kind in SIDE_EFFECTS):
            return
        self.put(name, 0, frozenset(case.id for case in self.drawn.cases))
        for kind, effect in SIDE_EFFECTS.items():
            if kind in done:
                continue
            try:
                found = list(
                    effect(self.system(name), self.base, self.drawn.beside, self.plan.data, self.plan.side_effects)
                )
            except NotFoundError as error:
                yield kind, str(error)
            else:
                yield kind, found

    def shared(self, name: str) -> bool:
        """Whether a group's edits can be put in by several processes at little cost, each asking about some cases."""
        from memedit.evaluation.systems import Weights

        return self.plan.protocol != "sequential" and not isinstance(self.system(name), Weights)


@dataclass
class _InForce:
    """A group whose edits a system holds: what it took, what was refused, what was right right after its edit.

    `written` counts the facts, of which a case may have several.
    """

    group: int
    bearing: Bearing | None
    seconds: float = 0.0
    written: int = 0
    peak: int | None = None
    failed: dict[str, str] = field(default_factory=dict)
    immediate: dict[str, bool] = field(default_factory=dict)


# ----------------------------------------------------------------------------------------- several processes

_worker: Worker | None = None  # of this process, where it is one of several


def pool_of(jobs: int, plan: Plan, drawn: Drawn, split: Sequence[Group], known: Path) -> ProcessPoolExecutor:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Not forked: a copy of a process with threads (torch, faiss, onnxruntime) may hang.
    return ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(plan, drawn, split, known),
    )


def _begin_worker(plan: Plan, drawn: Drawn, split: Sequence[Group], known: Path) -> None:
    global _worker
    from multiprocessing.util import Finalize

    _die_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"  # for what is loaded from here on: the processes are the parallelism
    _worker = Worker(plan, drawn, split, known)
    Finalize(None, _worker.close, exitpriority=1)  # such a process runs no atexit functions
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _die_with_parent() -> None:
    """End this process when its parent is gone, killed or not: nobody would read what it finds."""
    from multiprocessing import parent_process
    from threading import Thread

    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()


def answered(prompts: list[str]) -> list[str]:
    assert _worker is not None
    return _worker.base.answer(prompts)


def _work(name: str, task: Task, done: frozenset[str]) -> list[Line]:
    assert _worker is not None
    _worker.know()
    return [line for part in _worker.work(name, task, done) for line in part]


def spread(pool: ProcessPoolExecutor, name: str, tasks: Sequence[Task], done: frozenset[str]) -> Iterator[list[Line]]:
    """Lines as they come, in any order."""
    from concurrent.futures import as_completed
    from concurrent.futures.process import BrokenProcessPool

    futures = [pool.submit(_work, name, task, done) for task in tasks]
    try:
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise MemEditError(
            "a process of the run was killed, for want of memory perhaps; run again with fewer --jobs: it goes on "
            "where it was"
        ) from error
    finally:
        for future in futures:
            future.cancel()
