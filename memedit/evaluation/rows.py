"""Rows: what the lines of a run's folder come to, figure by figure, with 95 % bootstrap intervals. Nothing is asked.

A row is {"method", "model", "dataset", "protocol", "edits", "cases", "known", "scoring", "metric", "value", "low",
"high"} and, besides, "over" ("all" cases, or those whose old answer the unedited model "known"), "n" (how many cases or
items the figure is of) and "unit". `cases` and `known` count all cases of the run; without any old answer `known` is
None. A metric that no case has anything for has no row; `left_out` says why.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memedit.errors import InputError, NotFoundError
from memedit.evaluation import metrics
from memedit.evaluation.metrics import Metric, Scoring

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Line = dict[str, Any]
Row = dict[str, Any]

RUN, CASES, EFFECTS, ROWS = "run.json", "cases.jsonl", "side_effects.jsonl", "rows.json"


def lines(path: Path) -> list[Line]:
    """The whole lines of a JSONL file, none where there is none; a last line that a kill has torn is no line.

    Raises InputError for a line that is no JSON object.
    """
    if not path.is_file():
        return []
    *whole, _ = path.read_bytes().split(b"\n")
    try:
        found = [json.loads(line) for line in whole]
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; remove the folder and run again") from error
    return found


def rows(folder: Path) -> list[Row]:
    """The rows of one method's folder in a run. Raises NotFoundError where it is none."""
    if not (folder / RUN).is_file():
        raise NotFoundError(f"{folder} is no folder of a run: it has no {RUN}")
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    cases, effects = lines(folder / CASES), lines(folder / EFFECTS)
    known = [line for line in cases if line["known"]]
    head = {key: run[key] for key in ("method", "model", "dataset", "protocol", "edits")}
    asked = any(line["known"] is not None for line in cases)
    head |= {"cases": len(cases), "known": len(known) if asked else None}
    seed, found = int(run["seed"]), []
    for over, chosen in (("all", cases), ("known", known)):
        for metric in metrics.table().values():
            if over == "known" and metric.unit in ("seconds", "bytes"):
                continue  # what an edit takes has nothing to do with what was known before
            made = _row(metric, chosen, seed)
            if made is not None:
                found.append(
                    head | _named(metric) | made | {"over": over, "unit": metric.unit} | _judged(metric, chosen)
                )
    for metric in metrics.FURTHER:
        made = _effect(metric, effects, seed)
        if made is not None:
            found.append(head | _named(metric) | made | {"over": "all", "unit": metric.unit})
    return found


def left_out(folder: Path, found: Sequence[Row]) -> dict[str, str]:
    """Why there are no rows, by "scoring metric": what it would need; and how many "questions" were not asked."""
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    there = {(row["scoring"], row["metric"]) for row in found}
    if not run.get("settings", {}).get("judge"):
        there |= {(metric.scoring, metric.name) for metric in metrics.judged()}  # nobody misses what nobody asked for
    reasons = {
        f"{metric.scoring} {metric.name}": f"needs {metric.needs}"
        for key, metric in metrics.table().items()
        if key not in there and (not metric.datasets or run["dataset"].startswith(metric.datasets))
    }
    dropped = sum(line.get("left_out", 0) for line in lines(folder / CASES))
    if dropped:
        reasons["questions"] = f"{dropped} that must not change name the subject of another edit in force"
    reasons.update(run.get("left_out", {}))  # what an import left out, it says itself
    return reasons


def _named(metric: Metric) -> Row:
    return {"scoring": metric.scoring, "metric": metric.name}


def _judged(metric: Metric, cases: Sequence[Line]) -> Row:
    if not metric.name.endswith(metrics.JUDGED):
        return {}
    counts: Counter[str] = Counter()
    for line in cases:
        counts.update(line.get("judge", {}))
    return {"verdicts": counts["asked"], "unparsable": counts["unparsable"]}


def _row(metric: Metric, cases: Sequence[Line], seed: int) -> Row | None:
    """A figure over cases: a mean, except S, which is the harmonic mean of three means."""
    import numpy as np

    if metric.name == "S":
        parts = np.stack([_column(cases, metric.scoring, name) for name in ("ES", "PS", "NS")], axis=1)
        if not len(parts) or bool(np.isnan(parts).all(axis=0).any()):
            return None
        value = metrics.harmonic_mean(np.nanmean(parts, axis=0).tolist())
        low, high = metrics.interval(parts, seed=seed, name=metric.name, of=_harmonic)
        return _figures(value, low, high, int((~np.isnan(parts)).all(axis=1).sum()))
    values = _column(cases, metric.scoring, metric.name)
    values = values[~np.isnan(values)]
    return _mean(values, metric, seed)


def _mean(values: NDArray[np.float64], metric: Metric, seed: int) -> Row | None:
    if not len(values):
        return None
    low, high = metrics.interval(values, seed=seed, name=metric.name)
    return _figures(float(values.mean()), low, high, len(values))


def _figures(value: float, low: float, high: float, n: int) -> Row:
    return {"value": round(value, 6), "low": round(low, 6), "high": round(high, 6), "n": n}


def _harmonic(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draws, 3) -> (draws,), as `metrics.harmonic_mean` of each row."""
    import numpy as np

    whole = (means > 0).all(axis=1)
    made = np.where(np.isnan(means).any(axis=1), np.nan, 0.0)
    made[whole] = means.shape[1] / (1 / means[whole]).sum(axis=1)
    return made


def _column(cases: Sequence[Line], scoring: Scoring, name: str) -> NDArray[np.float64]:
    import numpy as np

    values = [_value(line, scoring, name) for line in cases]
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _value(line: Line, scoring: Scoring, name: str) -> float | None:
    efficiency = {
        "seconds_per_edit": line["seconds"]["edit"],
        "seconds_per_query": line["seconds"]["query"],
        "passes_per_edit": line["seconds"].get("passes"),
        "peak_bytes": line.get("peak_bytes"),
        "bytes_per_edit": line["memory_bytes"],
    }
    value: float | None = efficiency[name] if name in efficiency else line["metrics"][scoring].get(name)
    return value


def _effect(metric: Metric, effects: Sequence[Line], seed: int) -> Row | None:
    import numpy as np

    if metric.name.startswith("perplexity"):
        return _perplexity(metric, [line for line in effects if line["kind"] == "text"], seed)
    values = [line["metrics"][metric.scoring].get(metric.name) for line in effects]
    return _mean(np.array([value for value in values if value is not None], np.float64), metric, seed)


def _perplexity(metric: Metric, texts: Sequence[Line], seed: int) -> Row | None:
    import numpy as np

    if not texts:
        return None
    when = "before" if metric.name.endswith("_before") else "after"
    sums, tokens = [line["log_probability"][when] for line in texts], [line["tokens"] for line in texts]
    low, high = metrics.interval(
        np.stack([sums, tokens], axis=1), seed=seed, name=metric.name, of=lambda m: np.exp(-m[:, 0] / m[:, 1])
    )
    return _figures(metrics.perplexity(sums, tokens), low, high, len(texts))
