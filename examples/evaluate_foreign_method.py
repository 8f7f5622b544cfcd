"""Evaluate an editing method that memedit does not know: any function (model, edit) -> model.

    python examples/evaluate_foreign_method.py --model pocket --out runs/foreign
    memedit report runs/foreign --html report.html

`Foreign` makes such a function a system: it answers and is scored as every other method is, and the model that it was
given is never changed. Replace `a_few_steps` by your method, and `CASES` by a dataset (`memedit.datasets.read`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from pathlib import Path
from time import perf_counter
from typing import Any

from memedit.edits import Case, Draft, Probe
from memedit.evaluation.asking import ask
from memedit.evaluation.rows import CASES as LINES
from memedit.evaluation.rows import ROWS, RUN, rows
from memedit.evaluation.systems import Base, System, TargetScore

Method = Callable[[Any, Draft], Any]
"""(a transformers model, an edit) -> the edited model, which may be the very same object, changed in place."""


class Foreign:
    """A method as a system over a base model on this machine."""

    bytes_per_edit = None

    def __init__(self, name: str, base: Base, method: Method) -> None:
        self.name = name
        self.base = base
        self.method = method
        self.now = base

    def edit(self, drafts: Sequence[Draft]) -> None:
        model = deepcopy(self.now.model._model)
        for draft in drafts:
            model = self.method(model, draft)
        holder = copy(self.base.model)  # tokenizer, template and settings are the base model's own
        holder._model = model.eval()
        self.now = Base(holder)

    def reset(self) -> None:
        self.now = self.base

    def answer(self, prompts: Sequence[str]) -> list[str]:
        return self.now.answer(prompts)

    def score(self, prompts: Sequence[str], targets: Sequence[str]) -> list[TargetScore | None]:
        return self.now.score(prompts, targets)

    def distributions(self, prompts: Sequence[str]) -> list[Any]:
        return self.now.distributions(prompts)

    def explain(self, prompts: Sequence[str]) -> list[Mapping[str, object]]:
        return [{} for _ in prompts]


def evaluate(system: System, base: Base, cases: Sequence[Case], out: Path, dataset: str = "own") -> Path:
    """Each case by itself (edit, ask, undo), written as a run that `memedit report` reads; -> its folder."""
    folder = out / system.name / f"{dataset}-single-1"
    folder.mkdir(parents=True)
    settings = {"method": system.name, "model": base.spec, "model_hash": base.hash, "dataset": dataset}
    settings |= {"format": 1, "protocol": "single", "edits": 1, "cases": len(cases), "seed": 0}
    (folder / RUN).write_text(json.dumps(settings, indent=1))
    with (folder / LINES).open("w", encoding="utf-8") as file:
        for case in cases:
            began = perf_counter()
            system.edit(case.edits)
            seconds = perf_counter() - began
            line = ask(system, base, [case], dataset=dataset)[0]
            line["seconds"]["edit"] = round(seconds, 6)
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            system.reset()
    (folder / ROWS).write_text(json.dumps({"rows": rows(folder)}))
    return folder


def a_few_steps(tokenizer: Any, steps: int = 20, rate: float = 1e-3) -> Method:
    """A stand-in for your method: plain gradient steps on "prompt target", all weights."""

    def method(model: Any, edit: Draft) -> Any:
        import torch

        prompt = tokenizer(edit.prompt, return_tensors="pt").input_ids
        whole = tokenizer(f"{edit.prompt} {edit.target}", return_tensors="pt").input_ids
        labels = whole.clone()
        labels[:, : prompt.shape[1]] = -100
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        with torch.enable_grad():
            for _ in range(steps):
                optimizer.zero_grad()
                model(input_ids=whole, labels=labels).loss.backward()
                optimizer.step()
        return model

    return method


def case(number: int, subject: str, target: str, old: str, neighbour: str) -> Case:
    """A fact about a capital, with a paraphrase and a neighbour."""
    prompt = f"The capital of {subject} is"
    draft = Draft(statement=f"{prompt} {target}.", subject=subject, target=target, prompt=prompt)
    questions = {
        "paraphrase": (Probe(f"What is the capital of {subject}?", (target,)),),
        "neighbour": (Probe(f"The capital of {neighbour} is"),),
    }
    return Case(f"own-{number}", (draft,), prompt, subject, target, (old,), questions)


CASES = [
    case(1, "France", "Lyon", "Paris", "Spain"),
    case(2, "Japan", "Osaka", "Tokyo", "Egypt"),
    case(3, "Italy", "Milan", "Rome", "Norway"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate a method that memedit does not know.")
    parser.add_argument("--model", default="pocket", help="pocket or hf:NAME_OR_PATH")
    parser.add_argument("--out", type=Path, default=Path("runs/foreign"), help="folder of the run")
    given = parser.parse_args()
    base = Base(given.model)
    foreign = Foreign("a_few_steps", base, a_few_steps(base.model._tokenizer))
    for system in (base, foreign):
        print(evaluate(system, base, CASES, given.out))


if __name__ == "__main__":
    main()
