"""Cold start of the verbs: each is run in fresh processes and its median wall time is taken.

Beside seconds stand the processor's seconds, which tell a busy machine from a slow start, and the ratio to
`python -c pass` of the same run, which is what can be compared between machines.
The memory is a temporary one with ten made-up facts; encoder and model are those in force (MEMEDIT_ENCODER,
MEMEDIT_MODEL).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import click

from memedit import terminal
from memedit.errors import InputError, MemEditError

FACTS = tuple(f"The capital of Ruritania's province {name} is Fort {name}" for name in "ABCDEFGHIJ")
VERBS: dict[str, tuple[str, ...]] = {
    "--help": ("--help",),
    "list": ("list",),
    "add": ("add", "The capital of Syldavia is Klow"),
    "explain": ("explain", "Which city is the capital of Syldavia?"),
    "ask": ("ask", "Which city is the capital of Syldavia?"),
}


def run(*, runs: int = 5, verbs: Sequence[str] = tuple(VERBS)) -> dict[str, object]:
    """Median seconds of `runs` fresh processes per verb.

    {"runs", "python_s", "verbs": [{"verb", "seconds", "cpu_seconds", "ratio"}]}; ratio is of seconds, to
    `python -c pass`. Raises MemEditError where a verb fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"MEMEDIT_MEMORY": str(Path(folder) / "facts"), "MEMEDIT_NAMESPACE": "default"}
        drafts = Path(folder) / "facts.csv"
        drafts.write_text("\n".join(["statement", *FACTS]) + "\n", encoding="utf-8")
        _once([sys.executable, "-m", "memedit", "import", str(drafts)], environment)
        for verb in ("explain", "ask"):
            if verb in verbs:  # once for the vectors and the file cache; cold means a fresh process, not a cold disk
                _once([sys.executable, "-m", "memedit", *VERBS[verb]], environment)
        python, _ = _median([sys.executable, "-c", "pass"], environment, runs)
        rows = []
        for verb in verbs:
            seconds, cpu = _median([sys.executable, "-m", "memedit", *VERBS[verb]], environment, runs)
            ratio = round(seconds / python, 1)
            rows.append({"verb": verb, "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "ratio": ratio})
    return {"runs": runs, "python_s": round(python, 4), "verbs": rows}


def _median(command: list[str], environment: dict[str, str], runs: int) -> tuple[float, float]:
    _once(command, environment)
    took = [_once(command, environment) for _ in range(runs)]
    return statistics.median(wall for wall, _ in took), statistics.median(cpu for _, cpu in took)


def _once(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    before, began = os.times(), perf_counter()
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    seconds, after = perf_counter() - began, os.times()
    if done.returncode:
        raise MemEditError(f"`{' '.join(command[2:])}` failed with exit code {done.returncode}: {done.stderr.strip()}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used


@click.command(epilog="\b\nExample:\n  memedit bench startup --runs 5 --json")
@click.option("--runs", type=click.IntRange(min=1), default=5, metavar="N", help="Fresh processes per verb [5].")
@click.option("--verbs", metavar="NAMES", help=f"Which, with commas between [{','.join(VERBS)}].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(runs: int, verbs: str | None, as_json: bool) -> None:
    """Measure the cold start of --help, list, add, explain and ask."""
    chosen = verbs.split(",") if verbs else list(VERBS)
    if unknown := [verb for verb in chosen if verb not in VERBS]:
        raise InputError(f"no cold start is known for {', '.join(unknown)}; there are: {', '.join(VERBS)}")
    found = run(runs=runs, verbs=chosen)
    if as_json:
        terminal.emit(found)
        return
    rows = found["verbs"]
    assert isinstance(rows, list)
    terminal.table(("verb", "seconds", "of processor", "x python"), [tuple(row.values()) for row in rows])
    terminal.notice(f"`python -c pass` takes {found['python_s']} s; median of {runs} fresh processes each")
