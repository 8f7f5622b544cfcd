"""Runs as the report reads them from their folders: what was set, every case's line, every row.

`run.py` writes them; here they become values that say what two of them must share to be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from memedit.errors import InputError, NotFoundError
from memedit.evaluation.rows import CASES, ROWS, RUN, left_out, lines
from memedit.evaluation.rows import rows as rows_of

Row = Mapping[str, Any]
Over = Literal["all", "known"]

BASE = "base"


@dataclass(frozen=True)
class Run:
    """One method on one setting: `settings` are its run.json, `cases` its lines, `rows` its scores.

    `left_out` says of each score that was not taken why it was not. `called` is what the report calls its method, where
    that is another name (`told_apart`).
    """

    folder: str
    settings: Row
    cases: tuple[Row, ...]
    rows: tuple[Row, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    called: str | None = None

    @property
    def method(self) -> str:
        return self.called or str(self.settings["method"])

    @property
    def unedited(self) -> bool:
        """Whether it is of the unedited model, whatever the report calls it."""
        return bool(self.settings["method"] == BASE)

    @property
    def setting(self) -> Setting:
        said = self.settings
        return Setting(str(said["model"]), str(said["dataset"]), str(said["protocol"]), int(said["edits"]))


@dataclass(frozen=True, order=True)
class Setting:
    """What two methods must share to be compared."""

    model: str
    dataset: str
    protocol: str
    edits: int

    def __str__(self) -> str:
        edits = "1 edit" if self.edits == 1 else f"{self.edits:,} edits"
        return f"{self.dataset}, {self.protocol}, {edits}, {self.model}"


@dataclass(frozen=True, slots=True)
class Cell:
    """A score with its 95 % interval, over how many cases; `best` among the methods of its column."""

    value: float
    low: float | None = None
    high: float | None = None
    cases: int | None = None
    best: bool = False


def read(path: Path) -> list[Run]:
    """Every run in a folder or below it, sorted by place.

    A last line that a kill cut short is passed over, as resuming does. Raises NotFoundError where there is no run,
    InputError where one is damaged.
    """
    found = sorted(file.parent for file in path.rglob(CASES)) if path.is_dir() else []
    if not found:
        raise NotFoundError(f"there is no run at {path}: a run is a folder that `memedit eval --out {path}` writes")
    return [_run(folder) for folder in found]


def _run(folder: Path) -> Run:
    settings = _object(folder / RUN)
    missing = [key for key in ("method", "model", "dataset", "protocol", "edits") if key not in settings]
    if missing:
        raise InputError(f"{folder / RUN} does not say {', '.join(missing)}; it is not a run of `memedit eval`")
    # A run that was stopped has no rows yet: what there is of it is counted here.
    kept: dict[str, Any] = _object(folder / ROWS) if (folder / ROWS).is_file() else {"rows": rows_of(folder)}
    reasons = kept.get("left_out") or left_out(folder, kept["rows"])
    return Run(str(folder), settings, tuple(lines(folder / CASES)), tuple(kept["rows"]), reasons)


def read_scope_rows(file: Path) -> list[Row]:
    """The rows of what `memedit bench scope --json` printed. Raises NotFoundError, InputError."""
    found = _object(file).get("rows")
    if not isinstance(found, list) or not all(isinstance(row, dict) and "scope" in row for row in found):
        raise InputError(f"{file} has no rows of a scope; `memedit bench scope --json > {file}` writes them")
    return found


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {file}; `memedit eval` with the same options completes a run") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{file} holds no object; it is not a file of `memedit eval`")
    return found


def widest(runs: Sequence[Run]) -> list[Run]:
    """Of each model, dataset and protocol the runs on one number of edits: what most methods have, else the most."""
    settings = [run.setting for run in runs]
    found = {}
    for setting in sorted(set(settings), key=lambda setting: (settings.count(setting), setting.edits)):
        found[setting.model, setting.dataset, setting.protocol] = setting
    return [run for run in runs if run.setting in found.values()]


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """A second run of one method on one setting is called "METHOD (2)", and so on."""
    seen: dict[tuple[str, Setting], int] = {}
    named = []
    for run in runs:
        key = run.method, run.setting
        seen[key] = seen.get(key, 0) + 1
        if seen[key] > 1:
            run = replace(run, called=f"{run.method} ({seen[key]})")
        named.append(run)
    return named


def scored(row: Row) -> Cell:
    return Cell(row["value"], row.get("low"), row.get("high"), row.get("n", row["cases"]))


def over(row: Row) -> Over:
    """Whether a row is over all cases or over known ones."""
    return "known" if row.get("over") == "known" else "all"


def scores(run: Run, scoring: str, metric: str) -> dict[str, float]:
    """Case -> score, of the cases that have one."""
    found = {str(case["case"]): case["metrics"].get(scoring, {}).get(metric) for case in run.cases}
    return {case: float(value) for case, value in found.items() if value is not None}


def score(run: Run, scoring: str, metric: str) -> Cell | None:
    """A score over all cases, from the run's rows."""
    for row in run.rows:
        if (row["scoring"], row["metric"], over(row)) == (scoring, metric, "all") and row["value"] is not None:
            return scored(row)
    return None
